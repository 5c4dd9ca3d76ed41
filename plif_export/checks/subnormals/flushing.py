"""Whether a network notices that subnormal numbers are flushed to zero: the graph, run on what that does to values (drift.py)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import inf, prod
from typing import Any

import numpy as np

from plif_export.checks.subnormals.drift import (
    LARGEST,
    ONE,
    RULES,
    TINY,
    ZERO,
    Drift,
    Interval,
    Notices,
    Operand,
    added,
    any_of,
    as_drift,
    hull,
    largest,
    reciprocal,
    rounded,
)
from plif_export.core.proof.arithmetic.arrays import FUNCTIONS, Array, Sizes
from plif_export.core.proof.arithmetic.arrays import beside as repeated
from runtime.core.model.graph import Graph, Node, state_key
from runtime.core.model.neurons import equation_of
from runtime.core.model.ops import OPERATIONS
from runtime.core.model.symbol import Terms

INPUT = 2.0**24  # beyond which counts are no longer whole in float32
DOUBLINGS = 40  # of steps: 2^40 of them are 35 years at 1000 a second
ROUNDS = 3  # after which a range that still grows is taken for endless


def notices(graph: Graph) -> str | None:
    """What notices that subnormal numbers are flushed, in a sentence that names the layer; None where nothing does."""
    ranges = {state_key(n.layer, name): (start, start) for n in graph.neurons for name, start in n.initial.items()}
    known: dict[str, dict[str, Drift]] = {}
    try:
        for turn in range(ROUNDS + 2 * len(ranges) + 2):
            after = _step(graph, ranges, known)
            grown = {key: hull(ends, (after[key].low, after[key].high)) for key, ends in ranges.items()}
            if grown == ranges:
                return _unstable(after)
            ranges = grown if turn < ROUNDS else {key: _endless(ends, grown[key]) for key, ends in ranges.items()}
    except Notices as found:
        return str(found)
    raise AssertionError("every end of a range moves to infinity once")


def _step(graph: Graph, ranges: Mapping[str, Interval], known: dict[str, dict[str, Drift]]) -> dict[str, Drift]:
    """The states after a step, by their keys. known: the parameters of each node, which are looked at once."""
    values = {graph.input: Drift(-INPUT, INPUT, moved=TINY)}
    before = {key: Drift(*ends, gains={key: (1.0, 1.0)}, held=True) for key, ends in ranges.items()}
    after: dict[str, Drift] = {}
    shapes = graph.shapes
    for node in graph:
        params = known.setdefault(node.name, {k: _parameter(node, v) for k, v in node.params.items()})
        read = [values[name] for name in node.inputs]
        try:
            if node.op == "State":
                held = before if node.attrs["when"] == "before" else after
                values[node.name] = held[state_key(node.layer, node.attrs["variable"])]
            elif node.op == "Neuron":
                terms = Terms(node.attrs, params, lambda name, number: as_drift(number))
                own = {name: before[state_key(node.layer, name)] for name in node.initial}
                x = read[0] if len(read) == 1 else tuple(read)
                _, values[node.name], following = equation_of(node.attrs["kind"]).step(Flushing(), terms, x, own)
                after |= {state_key(node.layer, name): value for name, value in following.items()}
            else:
                meaning, shape = OPERATIONS[node.op].meaning, shapes[node.inputs[0]] if node.inputs else ()
                assert meaning is not None
                values[node.name] = meaning(Flushing(shape), node, params, *read)
        except Notices as found:
            raise Notices(f"layer {node.attrs.get('layer', node.name)} {found}") from None
    return after


def _parameter(node: Node, value: Array) -> Drift:
    numbers = np.asarray(value, np.float32)
    return Drift.fixed(repeated(numbers, node.shape) if node.op == "Neuron" else numbers)


def _unstable(after: Mapping[str, Drift]) -> str | None:
    """What two runs differ by after all steps, from TINY on: d' = G d + b, as one matrix, which is squared."""
    keys = list(after)
    step = np.eye(len(keys) + 1)
    step[:-1] = [[*(largest(after[k].gains.get(j, ZERO)) for j in keys), after[k].moved + TINY] for k in keys]
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(DOUBLINGS):
            step = np.nan_to_num(step @ step, nan=inf, posinf=inf)
        apart = np.nan_to_num(step[:-1] @ np.array([TINY] * len(keys) + [1.0]), nan=inf, posinf=inf)
    far = [key for key, d in zip(keys, apart, strict=True) if not d <= LARGEST]
    return f"state {far[0]} makes more of what is flushed from step to step" if far else None


class Flushing:
    """The argument `m` of equations and meanings (operation.py). shape: of what a node reads first, without the batch."""

    def __init__(self, shape: Sequence[int] = ()) -> None:
        self.shape, self.terms = shape, max(1, prod(shape))

    # --- of equations ---------------------------------------------------------------------------------------------------

    def spikes(self, fires: object) -> Drift:
        return Drift(0.0, 1.0, 1.0)

    def where(self, condition: object, a: Operand, b: Operand) -> Drift:
        return any_of(as_drift(a), as_drift(b))

    def op(self, name: str, *operands: Any) -> Drift | None:
        """An operation of a program (runtime.neurons.traced_program.program.OPS); None of one that gives a truth value."""
        if name in ("Not", "And", "Or"):
            return None
        if name in ("Cast", "Where"):
            return self.spikes(None) if name == "Cast" else self.where(*operands)
        values = [as_drift(value) for value in operands]
        if all(v.numbers is not None for v in values):
            with np.errstate(all="ignore"):
                return Drift.fixed(np.asarray(FUNCTIONS[name](*(v.numbers for v in values)), np.float32))
        found: Drift | None = RULES[name](*values)
        return found

    # --- moved ----------------------------------------------------------------------------------------------------------

    def reshape(self, x: Drift, *where: object) -> Drift:
        return replace(x, numbers=None)

    permute = part = take = max = real = half = reshape

    def concat(self, values: Sequence[Drift], axis: int) -> Drift:
        return any_of(*values)

    def windows(self, x: Drift, kernel: Sizes, *where: object) -> Drift:
        """With zeros beside it; those of a maximum are -infinity, which is never what is left."""
        self.terms *= prod(kernel)
        return self.spread(x)

    def spread(self, x: Drift, *where: object) -> Drift:
        return any_of(x, as_drift(0.0))

    # --- added up -------------------------------------------------------------------------------------------------------

    def sum(self, x: Drift, *where: object) -> Drift:
        return added(x, (0.0, float(self.terms)), self.terms, ONE)

    def mean(self, x: Drift, *where: object) -> Drift:
        return added(x, (0.0, 1.0), self.terms, replace(ONE, unit=reciprocal(self.terms)))

    def along(self, x: Drift, axis: int, matrix: Callable[[int], Array], name: object = None) -> Drift:
        return self.linear(x, self.parameter(matrix(self.shape[axis - 1])))

    def linear(self, x: Drift, weight: Drift) -> Drift:
        """Each output is a sum of inputs, by one row of the weights [O, I, ...]."""
        assert weight.numbers is not None
        return added(x, weight.rows, weight.numbers[0].size, weight)

    def weighed(self, windows: Drift, weight: Drift, groups: int) -> Drift:
        return self.linear(windows, weight)

    def matmul(self, a: Drift, b: Drift) -> Drift:
        factor, value = sorted((a, b), key=lambda d: (not d.exact, d.most))
        if not factor.exact:
            raise Notices("multiplies two values that move")
        most = self.terms * factor.most
        return added(value, (-most, most), self.terms, factor)

    # --- reduced precision ----------------------------------------------------------------------------------------------

    def counts(self, x: Drift, area: int) -> Drift:
        return x if x.numbers is not None else rounded(x * float(area), 0.5)

    # --- parameters -----------------------------------------------------------------------------------------------------

    def parameter(self, value: Array) -> Drift:
        return Drift.fixed(np.asarray(value, np.float32))

    def once(self, function: Callable[..., Array], *parameters: Drift) -> Drift:
        return self.parameter(function(*(p.numbers for p in parameters)))

    arranged = once

    def beside(self, p: Drift, shape: Sizes) -> Drift:
        assert p.numbers is not None
        return replace(p, numbers=repeated(p.numbers, shape))

    def trailing(self, p: Drift, axes: int) -> Drift:
        assert p.numbers is not None
        return replace(p, numbers=p.numbers[None])


def _endless(old: Interval, new: Interval) -> Interval:
    return old[0] if new[0] == old[0] else -inf, old[1] if new[1] == old[1] else inf
