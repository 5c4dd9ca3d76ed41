"""The golden model: the SNN graph in NumPy, independent of torch and of ONNX.

Passes and writers are checked against it. It runs in float32 or float64, one time-step at a time, and is written for
reading, not for speed. What an operation does is its meaning (runtime/core/model/ops), what a neuron does its equation
(runtime/core/model/neurons.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from plif_export.core.proof.arithmetic.arrays import Numpy, beside
from runtime.core.model.graph import Graph, Node, state_key
from runtime.core.model.neurons import equation_of
from runtime.core.model.ops import OPERATIONS
from runtime.core.model.symbol import Terms

Array = np.ndarray
State = dict[str, Array]
Inputs = Array | tuple[Array, ...]  # of a neuron: a tuple where it has several


@dataclass(frozen=True)
class LayerStep:
    """What one neuron layer does in one step, arrays [B, ...]: the membrane h before the reset, the spikes s, {0, 1} or bool,
    and every state variable after the step.

    values  what s holds: "spikes", "graded" or "membrane" (runtime.core.model.graph.Node.values)
    jumps   hair [B, ...] -> bool [B, ...]: where input and membrane that move h so much, up or down, change what the neuron
            decides; None where h and v_threshold say that
    """

    h: Array
    s: Array
    after: State
    values: str = "spikes"
    jumps: Callable[[Array], Array] | None = None

    @property
    def v(self) -> Array:
        """The membrane after the step, [B, ...]."""
        return self.after["v"]


def start(graph: Graph, batch: int, dtype: type = np.float32) -> State:
    """The state after a reset: {layer: v [B, ...]} of `dtype`, further variables by their key
    (runtime.core.model.graph.state_key)."""
    return {
        state_key(n.layer, variable): np.full((batch, *n.shape), value, dtype)
        for n in graph.neurons
        for variable, value in n.initial.items()
    }


def step(graph: Graph, x: Array, state: State, dtype: type = np.float32) -> tuple[Array, State, dict[str, LayerStep]]:
    """One time-step, computed in `dtype`: x [B, C, H, W] and a state {layer: v [B, ...]} -> (y [B, classes], the state after
    it, {layer: what its neurons did}). The given state is not changed."""
    layers: dict[str, LayerStep] = {}
    values: dict[str, Array] = {graph.input: np.asarray(x, dtype)}
    after: State = {}
    for node in graph:
        if node.op == "State":
            held = state if node.attrs["when"] == "before" else after
            values[node.name] = np.asarray(held[state_key(node.layer, node.attrs["variable"])], dtype)
            continue
        if node.op != "Neuron":
            values[node.name] = apply(Numpy(dtype), node, *(values[name] for name in node.inputs))
            continue
        before: State = {name: np.asarray(state[state_key(node.layer, name)], dtype) for name in node.initial}
        fired = layers[node.layer] = neuron(node, inputs_of(node, values.__getitem__), before, dtype)
        values[node.name] = fired.s
        after.update({state_key(node.layer, name): value for name, value in fired.after.items()})
    return values[graph.output], after, layers


def inputs_of(node: Node, value: Callable[[str], Array]) -> Inputs:
    """What a neuron reads: one array, or a tuple of several."""
    read = tuple(value(name) for name in node.inputs)
    return read[0] if len(read) == 1 else read


def apply(m: Numpy, node: Node, *inputs: Array) -> Array:
    """The output [B, ...] of a node that is no neuron by its meaning."""
    meaning = OPERATIONS[node.op].meaning
    assert meaning is not None
    made: Array = meaning(m, node, {key: m.parameter(value) for key, value in node.params.items()}, *inputs)
    return made


def run(graph: Graph, x: Array, state: State | None = None, dtype: type = np.float32) -> tuple[Array, State]:
    """T time-steps, computed in `dtype`: x [T, B, C, H, W] -> (y [T, B, classes], state {layer: v [B, ...]})."""
    state = start(graph, x.shape[1], dtype) if state is None else state
    outputs = []
    for x_t in x:
        y, state, _ = step(graph, x_t, state, dtype)
        outputs.append(y)
    return np.stack(outputs), state


def neuron(node: Node, x: Inputs, state: State, dtype: type = np.float32) -> LayerStep:
    """One step of a neuron layer by the equation of its kind, in NumPy and `dtype`: current x [B, ...], state {"v": [B, ...],
    ...}."""
    equation, shape = equation_of(node.attrs["kind"]), (1, *node.shape)
    inputs = x if isinstance(x, tuple) else (x,)

    def at(dtype: type, by: Array | None = None) -> LayerStep:
        """The step in `dtype`; by: how far all inputs and the membrane are moved."""

        def moved(value: Array) -> Array:
            return np.asarray(value, dtype) if by is None else np.asarray(value, dtype) + by

        values = {key: beside(np.asarray(value, dtype), node.shape) for key, value in node.params.items()}
        terms = Terms(node.attrs, values, lambda name, number: dtype(number))
        known: State = {name: np.asarray(value, dtype) for name, value in state.items()}
        known["v"] = moved(known["v"])
        read = tuple(moved(one) for one in inputs)
        with np.errstate(all="ignore"):
            fired = equation.step(Numpy(dtype), terms, read[0] if len(read) == 1 else read, known)
        return LayerStep(*fired, node.values)

    def jumps(hair: Array) -> Array:
        """A straight line has no second difference; a step, in the spikes or in any state, has one."""
        moves = np.abs(at(np.float64, hair).h - at(np.float64, -hair).h) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            by = hair * np.where(moves > 0, np.clip(hair / moves, 0.1, 10), 1)  # so that h moves by a hair
        below, here, above = ({"": step.s, **step.after} for step in (at(np.float64, one) for one in (-by, None, by)))
        found = np.zeros(shape, bool)
        with np.errstate(invalid="ignore"):
            for name, value in here.items():
                found = found | (np.abs(above[name] - 2 * value + below[name]) > 10 * hair)
        return found

    done = at(dtype)
    return done if equation.check is None or done.values == "membrane" else replace(done, jumps=jumps)


def with_h(node: Node, x: Inputs, state: State, wanted: Array) -> State:
    """The state with v moved so that the current x makes h what is wanted, where h depends on v."""
    wide = {name: value.astype(np.float64) for name, value in state.items()}

    def h_at(v: Array) -> Array:
        return neuron(node, x, {**wide, "v": v}, np.float64).h

    h = h_at(wide["v"])
    slope = h - h_at(wide["v"] - 1)  # downwards, where no kind of neuron resets
    with np.errstate(divide="ignore", invalid="ignore"):
        v = wide["v"] + (wanted - h) / slope
    usable = np.isfinite(v) & (np.abs(slope) > 1e-3)
    return {**state, "v": np.where(usable, v, wide["v"]).astype(np.float32)}
