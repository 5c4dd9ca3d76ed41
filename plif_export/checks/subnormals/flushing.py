"""The check whether flushed subnormal numbers change a network's results: the graph, run on error bounds (drift.py)."""

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
    FlushEffect,
    Interval,
    Operand,
    as_drift,
    bound_product_sum,
    bound_union,
    find_reciprocal_unit,
    join_intervals,
    max_magnitude,
    round_drift,
)
from plif_export.core.proof.arithmetic.arrays import FUNCTIONS, Array, Sizes
from plif_export.core.proof.arithmetic.arrays import broadcast_like as repeated
from runtime.core.model.graph import Graph, Node, state_key
from runtime.core.model.neurons import get_equation
from runtime.core.model.ops import OPERATIONS
from runtime.core.model.symbol import Terms

MAX_INPUT = 2.0**24  # the largest input: larger counts are not whole in float32
DOUBLINGS = 40  # 2^40 steps are 35 years at 1000 a second
ROUNDS = 3  # passes, after which a growing range counts as infinite


def find_flush_effect(graph: Graph) -> str | None:
    """Return a sentence on how flushing subnormal numbers to zero changes a network, and in which layer.

    Returns None if no result changes.
    """
    ranges = {state_key(n.layer, name): (start, start) for n in graph.neurons for name, start in n.initial.items()}
    parameters: dict[str, dict[str, Drift]] = {}
    try:
        for iteration in range(ROUNDS + 2 * len(ranges) + 2):
            after = _run_step(graph, ranges, parameters)
            grown = {key: join_intervals(ends, (after[key].low, after[key].high)) for key, ends in ranges.items()}
            if grown == ranges:
                return _find_unstable_state(after)
            ranges = (
                grown
                if iteration < ROUNDS
                else {key: _extend_to_infinity(ends, grown[key]) for key, ends in ranges.items()}
            )
    except FlushEffect as effect:
        return str(effect)
    raise AssertionError("every end of a range moves to infinity once")


def _run_step(
    graph: Graph, ranges: Mapping[str, Interval], parameters: dict[str, dict[str, Drift]]
) -> dict[str, Drift]:
    """Run one step of a graph with flushing-error bounds as values; return those of the states, by state key.

    parameters: {node: its parameters as drifts}, filled at the first step.
    """
    values = {graph.input: Drift(-MAX_INPUT, MAX_INPUT, moved=TINY)}
    before = {key: Drift(*ends, gains={key: (1.0, 1.0)}, from_state=True) for key, ends in ranges.items()}
    after: dict[str, Drift] = {}
    shapes = graph.shapes
    for node in graph:
        params = parameters.setdefault(node.name, {k: _make_parameter(node, v) for k, v in node.params.items()})
        read = [values[name] for name in node.inputs]
        try:
            if node.op == "State":
                states = before if node.attrs["when"] == "before" else after
                values[node.name] = states[state_key(node.layer, node.attrs["variable"])]
            elif node.op == "Neuron":
                terms = Terms(node.attrs, params, lambda name, number: as_drift(number))
                variables = {name: before[state_key(node.layer, name)] for name in node.initial}
                x = read[0] if len(read) == 1 else tuple(read)
                _, values[node.name], following = get_equation(node.attrs["kind"]).step(
                    FlushMath(), terms, x, variables
                )
                after |= {state_key(node.layer, name): value for name, value in following.items()}
            else:
                meaning, shape = OPERATIONS[node.op].meaning, shapes[node.inputs[0]] if node.inputs else ()
                assert meaning is not None
                values[node.name] = meaning(FlushMath(shape), node, params, *read)
        except FlushEffect as effect:
            raise FlushEffect(f"layer {node.attrs.get('layer', node.name)} {effect}") from None
    return after


def _make_parameter(node: Node, value: Array) -> Drift:
    numbers = np.asarray(value, np.float32)
    return Drift.from_numbers(repeated(numbers, node.shape) if node.op == "Neuron" else numbers)


def _find_unstable_state(after: Mapping[str, Drift]) -> str | None:
    """Return a sentence on a network state whose flushing error grows over many steps, or None.

    The errors follow d' = G d + b, from TINY on, which is one matrix that is squared.
    """
    keys = list(after)
    step = np.eye(len(keys) + 1)
    step[:-1] = [[*(max_magnitude(after[k].gains.get(j, ZERO)) for j in keys), after[k].moved + TINY] for k in keys]
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(DOUBLINGS):
            step = np.nan_to_num(step @ step, nan=inf, posinf=inf)
        apart = np.nan_to_num(step[:-1] @ np.array([TINY] * len(keys) + [1.0]), nan=inf, posinf=inf)
    far = [key for key, d in zip(keys, apart, strict=True) if not d <= LARGEST]
    return f"state {far[0]} makes more of what is flushed from step to step" if far else None


class FlushMath:
    """The arithmetic that runs a graph on bounds of the error from flushed subnormal numbers, not on values.

    shape: of the first input of a node, without the batch.
    It is the argument `m` of equations and meanings (operation.py).
    """

    def __init__(self, shape: Sequence[int] = ()) -> None:
        self.shape, self.terms = shape, max(1, prod(shape))

    # --- of equations ---------------------------------------------------------------------------------------------------

    def spikes(self, fires: object) -> Drift:
        return Drift(0.0, 1.0, 1.0)

    def where(self, condition: object, a: Operand, b: Operand) -> Drift:
        return bound_union(as_drift(a), as_drift(b))

    def op(self, name: str, *operands: Any) -> Drift | None:
        """Return the flushing-error bound of one operation in a neuron's program; None if its result is a truth value.

        The operations are those of runtime.neurons.traced_program.program.OPS.
        """
        if name in ("Not", "And", "Or"):
            return None
        if name in ("Cast", "Where"):
            return self.spikes(None) if name == "Cast" else self.where(*operands)
        values = [as_drift(value) for value in operands]
        if all(v.numbers is not None for v in values):
            with np.errstate(all="ignore"):
                return Drift.from_numbers(np.asarray(FUNCTIONS[name](*(v.numbers for v in values)), np.float32))
        drift: Drift | None = RULES[name](*values)
        return drift

    # --- moved ----------------------------------------------------------------------------------------------------------

    def reshape(self, x: Drift, *options: object) -> Drift:
        return replace(x, numbers=None)

    permute = slice_axis = take = max = real = half = reshape

    def concat(self, values: Sequence[Drift], axis: int) -> Drift:
        return bound_union(*values)

    def windows(self, x: Drift, kernel: Sizes, *options: object) -> Drift:
        """Return the flushing-error bound of the windows that a convolution or pooling takes, with a border of zeros.

        A maximum has -infinity at the border, which is never its result.
        """
        self.terms *= prod(kernel)
        return self.insert_zeros(x)

    def insert_zeros(self, x: Drift, *options: object) -> Drift:
        return bound_union(x, as_drift(0.0))

    # --- added up -------------------------------------------------------------------------------------------------------

    def sum(self, x: Drift, *options: object) -> Drift:
        return bound_product_sum(x, (0.0, float(self.terms)), self.terms, ONE)

    def mean(self, x: Drift, *options: object) -> Drift:
        return bound_product_sum(x, (0.0, 1.0), self.terms, replace(ONE, unit=find_reciprocal_unit(self.terms)))

    def matmul_axis(self, x: Drift, axis: int, matrix: Callable[[int], Array], name: object = None) -> Drift:
        return self.linear(x, self.parameter(matrix(self.shape[axis - 1])))

    def linear(self, x: Drift, weight: Drift) -> Drift:
        """Return the flushing-error bound of the product of an input with a layer's weights [O, I, ...]."""
        assert weight.numbers is not None
        return bound_product_sum(x, weight.row_bounds, weight.numbers[0].size, weight)

    def im2col_matmul(self, windows: Drift, weight: Drift, groups: int) -> Drift:
        return self.linear(windows, weight)

    def matmul(self, a: Drift, b: Drift) -> Drift:
        factor, value = sorted((a, b), key=lambda d: (not d.is_exact, d.max_abs))
        if not factor.is_exact:
            raise FlushEffect("multiplies two values that move")
        most = self.terms * factor.max_abs
        return bound_product_sum(value, (-most, most), self.terms, factor)

    # --- reduced precision ----------------------------------------------------------------------------------------------

    def to_counts(self, x: Drift, area: int) -> Drift:
        return x if x.numbers is not None else round_drift(x * float(area), 0.5)

    # --- parameters -----------------------------------------------------------------------------------------------------

    def parameter(self, value: Array) -> Drift:
        return Drift.from_numbers(np.asarray(value, np.float32))

    def from_parameters(self, function: Callable[..., Array], *parameters: Drift) -> Drift:
        return self.parameter(function(*(p.numbers for p in parameters)))

    rearrange = from_parameters

    def broadcast_like(self, p: Drift, shape: Sizes) -> Drift:
        assert p.numbers is not None
        return replace(p, numbers=repeated(p.numbers, shape))

    def broadcast_trailing(self, p: Drift, axes: int) -> Drift:
        assert p.numbers is not None
        return replace(p, numbers=p.numbers[None])


def _extend_to_infinity(old: Interval, new: Interval) -> Interval:
    return old[0] if new[0] == old[0] else -inf, old[1] if new[1] == old[1] else inf
