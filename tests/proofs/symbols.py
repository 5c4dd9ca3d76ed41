"""What is proved for all inputs: the product's own code, called with the terms of Z3 in place of numbers.

    FLOAT   float32 as IEEE 754 has it, all 2^32 patterns of each: what is equal here is equal to the bit
    REAL    real numbers, which nobody rounds: what passes and sentences say

An equation takes such terms as it takes arrays (runtime/core/model/neurons.py), a pass takes arrays of them (`Reals`), and so
does what the golden model does to a layer (plif_export/core/proof/arithmetic/interpret.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import z3

from plif_export.core.proof.arithmetic import interpret
from plif_export.core.proof.arithmetic.arrays import NumpyBackend
from runtime.core.model.graph import Graph, Node
from runtime.core.model.neurons import get_equation
from runtime.core.model.ops.operation import reshape_broadcast
from runtime.core.model.symbol import Terms

FLOAT, REAL = z3.Float32(), z3.RealSort()
KNOWN: list[z3.BoolRef] = []  # what holds for every square root that was asked for
ROUNDED: list[tuple[z3.ArithRef, z3.ArithRef]] = []  # (a real number, the whole number that is nearest)
SECONDS = 60  # of a proof that takes a hundredth of one, on a machine however busy

# What programs, ONNX and C call alike (runtime/neurons/traced_program); what is not here is no arithmetic: any function.
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": lambda a, b: a / b,
    "GreaterOrEqual": lambda a, b: a >= b,
    "Greater": lambda a, b: a > b,
    "Less": lambda a, b: a < b,
    "Equal": lambda a, b: z3.fpEQ(a, b) if z3.is_fp(a) else a == b,
    "Not": z3.Not,
    "And": z3.And,
    "Or": z3.Or,
    "Where": z3.If,
    "Identity": lambda a: a,
    "Neg": lambda a: -a,
}


class Symbolic:
    """The argument `m` of equations, for terms of one sort."""

    def __init__(self, sort: z3.SortRef) -> None:
        self.sort = sort

    def value(self, number: Any) -> Any:
        """A term as it is; a number as the term that it is exactly."""
        if z3.is_expr(number):
            return number
        return (
            z3.FPVal(float(number), FLOAT)
            if self.sort == FLOAT
            else z3.RealVal(float(number).as_integer_ratio()[0]) / (float(number).as_integer_ratio()[1])
        )

    def spikes(self, fires: Any) -> Any:
        return z3.If(fires, self.value(1), self.value(0))

    def where(self, condition: Any, a: Any, b: Any) -> Any:
        return z3.If(condition, self.value(a), self.value(b))

    def op(self, name: str, *operands: Any) -> Any:
        values = [self.value(one) for one in operands]
        if name == "Cast":
            return self.spikes(*values)
        if name == "Relu":
            return self.op("Max", *values, 0)
        if name in FUNCTIONS:
            return FUNCTIONS[name](*values)
        return z3.Function(name, *(self.sort for _ in values), self.sort)(*values)

    def step(self, node: Node, attrs: Mapping[str, Any], params: Mapping[str, Any], x: Any, state: Any) -> Any:
        """(h, s, next state) of one neuron; attrs: those of the node, with terms for numbers."""
        terms = Terms({**node.attrs, **attrs}, params, lambda name, number: self.value(number))
        return get_equation(node.attrs["kind"]).step(self, terms, x, state)


def prove(claim: Any, *given: Any) -> None:
    """Raises AssertionError, with numbers for which it does not hold, unless the claim holds for all there are."""
    solver = z3.Solver()
    solver.set("timeout", SECONDS * 1000)
    solver.add(*KNOWN, *given, z3.Not(claim))
    answer = solver.check()
    assert answer == z3.unsat, f"not for all inputs: {solver.model() if answer == z3.sat else 'undecided'}"


def same(a: Any, b: Any) -> Any:
    """Equal; of floats: to the bit, but for the sign of a zero and which NaN it is."""
    return z3.Or(a == b, z3.fpEQ(a, b)) if z3.is_fp(a) else a == b


# --- arrays of real numbers -----------------------------------------------------------------------------------------------


class Reals(np.ndarray):
    """Real numbers [...], of which none is known: a cast to float32 rounds nothing, and none is taken for 0 or 1."""

    def astype(self, *_: Any, **__: Any) -> Reals:  # type: ignore[override]
        return self

    def any(self, *_: Any, **__: Any) -> bool:  # type: ignore[override]
        return True

    def __ne__(self, other: object) -> Any:
        return np.ones(self.shape, bool)

    def clip(self, low: float, high: float) -> Reals:  # type: ignore[override]
        return each(lambda x: z3.If(x < low, low, z3.If(x > high, high, x)), self)


def each(function: Callable[..., Any], *arrays: Any) -> Reals:
    return np.frompyfunc(function, len(arrays), 1)(*arrays).view(Reals)  # type: ignore[no-any-return]


def reals(name: str, *shape: int) -> Reals:
    """An array of symbols."""
    made = np.empty(shape, object)
    for at in np.ndindex(*shape):
        made[at] = z3.Real("_".join([name, *map(str, at)]))
    return made.view(Reals)


def _root(term: z3.ArithRef) -> z3.ArithRef:
    root = z3.Real(f"root of {term}")
    KNOWN.append(z3.Implies(term > 0, z3.And(root > 0, root * root == term)))
    return root


def _nearest(term: z3.ArithRef) -> z3.ArithRef:
    whole = z3.ToReal(z3.Int(f"nearest to {term}"))
    ROUNDED.append((term, whole))
    return whole


def nearest(term: z3.ArithRef, whole: z3.ArithRef) -> z3.BoolRef:
    """What is known of a rounded number."""
    return z3.And(2 * (term - whole) <= 1, 2 * (whole - term) <= 1)


z3.ArithRef.sqrt, z3.ArithRef.rint = _root, _nearest  # NumPy asks an object for them


def run(graph: Graph, x: Any, state: Mapping[str, Any]) -> dict[str, Any]:
    """One step of a graph on x [1, ...] from {layer: v [1, ...]}: {node: its value}, and {"h LAYER", "s LAYER", "v LAYER":
    what its neurons do}. What reads neurons is given symbols: any spikes.

    It is interpret.step, which has no word for a comparison that nobody can answer.
    """
    m, found = Symbolic(REAL), {graph.input: x}
    for node in graph:
        inputs = [found[name] for name in node.inputs]
        if node.op != "Neuron":
            found[node.name] = interpret.apply_node(NumpyBackend(np.object_), node, *inputs)
            continue
        names = list(node.params)
        params = [
            np.broadcast_to(reshape_broadcast(np.asarray(p), node.shape), node.shape) for p in node.params.values()
        ]

        def neuron(x: Any, v: Any, *p: Any, node: Node = node, names: list[str] = names) -> Any:
            h, s, after = m.step(node, {}, dict(zip(names, p, strict=True)), x, {"v": v})
            return h, s, after["v"]

        fired = np.frompyfunc(neuron, 2 + len(params), 3)(inputs[0], state[node.layer], *params)
        found.update(zip((f"h {node.layer}", f"s {node.layer}", f"v {node.layer}"), fired, strict=True))
        found[node.name] = reals(node.name, 1, *node.shape)
    return found


def all_equal(a: Any, b: Any) -> Any:
    """The claim that two arrays of real numbers are equal."""
    a, b = np.broadcast_arrays(a, b)
    return z3.And(*(one == other for one, other in zip(a.flat, b.flat, strict=True)))
