"""The comparison of two neuron programs as terms: equal, operation by operation, up to a few proved rules.

A term is a name, a number, an array, or (operation, operands). Each rule rewrites a term to one with the same value for
all finite float32 numbers (0.0 and -0.0 count as the same); tests/proofs proves every one of them. Operations on
constants are computed. Two programs with the same terms in the end compute the same, whatever their input; if the
terms differ, they may still compute the same, and count as different.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from runtime.core.model.graph import Node
from runtime.core.model.neurons import get_equation
from runtime.core.model.ops.operation import reshape_broadcast
from runtime.core.model.symbol import Symbol, SymbolicMath, Terms, tensor_symbol

Term: TypeAlias = Any  # a name (str), a number (float), an array, or a tuple (operation, *terms)

# Pairs (term, the same value). Lower-case names: any finite number; upper-case names: any truth value.
RULES: tuple[tuple[Term, Term], ...] = (
    (("Identity", "a"), "a"),
    (("Add", "a", 0.0), "a"),
    (("Sub", "a", 0.0), "a"),
    (("Mul", "a", 1.0), "a"),
    (("Div", "a", 1.0), "a"),
    (("Sub", 0.0, "a"), ("Neg", "a")),
    (("Add", "a", ("Neg", "b")), ("Sub", "a", "b")),
    (("Sub", "a", ("Neg", "b")), ("Add", "a", "b")),
    (("Less", "a", "b"), ("Greater", "b", "a")),
    (("Greater", ("Sub", "a", "b"), 0.0), ("Greater", "a", "b")),
    (("GreaterOrEqual", ("Sub", "a", "b"), 0.0), ("GreaterOrEqual", "a", "b")),
    (("Where", ("Equal", "a", 0.0), 0.0, ("Cast", ("Greater", "a", 0.0))), ("Cast", ("Greater", "a", 0.0))),
    (("Where", ("Equal", "a", 0.0), 1.0, ("Cast", ("Greater", "a", 0.0))), ("Cast", ("GreaterOrEqual", "a", 0.0))),
    (("Greater", ("Cast", "P"), 0.0), "P"),
    (("Equal", ("Cast", "P"), 1.0), "P"),
    (("Not", ("Equal", ("Cast", "P"), 0.0)), "P"),
    (("Where", "P", "a", "a"), "a"),
    (("Where", "P", 1.0, 0.0), ("Cast", "P")),
    (("Where", "P", ("Sub", "a", "b"), "a"), ("Sub", "a", ("Where", "P", "b", 0.0))),
    (("Mul", ("Cast", "P"), "a"), ("Where", "P", "a", 0.0)),
    (("Mul", ("Cast", ("Not", "P")), "a"), ("Where", "P", 0.0, "a")),
    (("Mul", ("Sub", 1.0, ("Cast", "P")), "a"), ("Where", "P", 0.0, "a")),
    (("Add", ("Where", "P", 0.0, "a"), ("Where", "P", "b", 0.0)), ("Where", "P", "b", "a")),
    (("Add", ("Where", "P", 0.0, "a"), ("Cast", "P")), ("Where", "P", 1.0, "a")),
)
COMMUTATIVE = ("Add", "Mul", "Min", "Max", "Equal", "And", "Or")
ARITHMETIC = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide, "Neg": np.negative}


class ArrayTerm:
    """A constant array in a term, float32 [*shape of the layer]; equal arrays have the same text."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = np.ascontiguousarray(values, np.float32)

    def __repr__(self) -> str:
        return f"array {self.values.shape} {hashlib.sha256(self.values.tobytes()).hexdigest()}"


def _make_constant(values: np.ndarray) -> Term:
    """Return a number for an array of equal numbers, else an ArrayTerm."""
    is_number = values.size and bool((values == values.flat[0]).all())
    return float(values.flat[0]) if is_number else ArrayTerm(values)


def have_same_terms(known: Node, traced: Node, states: Mapping[str, str]) -> bool:
    """Return whether a neuron of a known kind and a traced one have the same spikes and next states, as terms.

    states: {state of the known kind: the same state of the traced program}.
    """
    known_terms = _write_terms(known, states)
    traced_terms = _write_terms(traced, {name: name for name in states.values()})
    pairs = [("s", "s"), *states.items()]
    return all(repr(known_terms[mine]) == repr(traced_terms[theirs]) for mine, theirs in pairs)


def _write_terms(node: Node, states: Mapping[str, str]) -> dict[str, Term]:
    """Return a neuron's spikes "s" and next states as simplified terms of its input "x" and the named states."""
    shape = tuple(node.shape)
    arrays = {name: _write_array(value, shape) for name, value in node.params.items()}
    terms = Terms(node.attrs, {name: tensor_symbol(f"={name}") for name in arrays}, lambda name, number: number)
    before = {name: tensor_symbol(alias) for name, alias in states.items()}
    _, spikes, after = get_equation(str(node.attrs["kind"])).step(SymbolicMath(), terms, tensor_symbol("x"), before)
    cache: dict[int, Term] = {}
    return {name: _simplify(value, arrays, cache) for name, value in {"s": spikes, **after}.items()}


def _write_array(value: np.ndarray, shape: tuple[int, ...]) -> Term:
    return _make_constant(np.broadcast_to(reshape_broadcast(np.asarray(value, np.float32), shape), shape))


def _simplify(value: Symbol | float, arrays: Mapping[str, Term], cache: dict[int, Term]) -> Term:
    """Return the term of a symbolic value, rewritten by the rules until none applies."""
    if not isinstance(value, Symbol):
        return float(np.float32(value))
    if value.op is None:
        name = str(value.name)
        return arrays[name[1:]] if name.startswith("=") else name
    if id(value) not in cache:
        operands = tuple(_simplify(operand, arrays, cache) for operand in value.inputs)
        cache[id(value)] = rewrite((value.op, *operands))
    return cache[id(value)]


def rewrite(term: Term) -> Term:
    """Rewrite a term whose operands are rewritten already, until no rule applies to it."""
    op, *operands = term
    if op in ARITHMETIC and all(isinstance(operand, float | ArrayTerm) for operand in operands):
        arrays = (operand.values if isinstance(operand, ArrayTerm) else np.float32(operand) for operand in operands)
        with np.errstate(all="ignore"):
            return _make_constant(np.asarray(ARITHMETIC[op](*arrays)))
    if op == "Div" and isinstance(operands[1], float) and abs(np.frexp(operands[1])[0]) == 0.5:
        return rewrite(("Mul", operands[0], 1.0 / operands[1]))  # both round the same quotient
    orders = [operands, operands[::-1]] if op in COMMUTATIVE else [operands]
    for pattern, result in RULES:
        for order in orders:
            found: dict[str, Term] = {}
            if match_term(pattern, (op, *order), found):
                return _substitute(result, found)
    if op == "Mul":
        for factor, other in (operands, operands[::-1]):
            if isinstance(factor, float) and factor < 0:
                return rewrite(("Neg", rewrite(("Mul", other, -factor))))  # a sign is exact
    return (op, *(sorted(operands, key=repr) if op in COMMUTATIVE else operands))


def match_term(pattern: Term, term: Term, found: dict[str, Term]) -> bool:
    """Return whether a term has the form of a pattern; enter the terms that its names stand for into `found`."""
    if isinstance(pattern, str):
        return repr(found.setdefault(pattern, term)) == repr(term)
    if not isinstance(pattern, tuple):
        return isinstance(term, float) and pattern == term
    if not isinstance(term, tuple) or term[0] != pattern[0] or len(term) != len(pattern):
        return False
    orders = [term[1:], term[:0:-1]] if pattern[0] in COMMUTATIVE else [term[1:]]
    for order in orders:
        trial = dict(found)
        if all(match_term(p, t, trial) for p, t in zip(pattern[1:], order, strict=True)):
            found.update(trial)
            return True
    return False


def _substitute(result: Term, found: Mapping[str, Term]) -> Term:
    if isinstance(result, str):
        return found[result]
    if isinstance(result, tuple):
        return rewrite((result[0], *(_substitute(part, found) for part in result[1:])))
    return result
