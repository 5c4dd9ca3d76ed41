"""The golden model: a NumPy interpreter of the SNN graph, independent of torch and of ONNX.

Passes and writers are checked against it. It runs in float32 or float64, one time-step at a time, and is written for
clarity, not for speed. An operation computes its meaning (runtime/core/model/ops), a neuron its equation
(runtime/core/model/neurons.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from plif_export.core.proof.arithmetic.arrays import NumpyBackend, broadcast_like
from runtime.core.model.graph import Graph, Node, state_key
from runtime.core.model.neurons import get_equation
from runtime.core.model.ops import OPERATIONS
from runtime.core.model.symbol import Terms

Array = np.ndarray
State = dict[str, Array]
Inputs = Array | tuple[Array, ...]  # of a neuron: a tuple if it has several


@dataclass(frozen=True)
class LayerStep:
    """The result of one neuron layer in one time-step: membrane, spikes and states, arrays [B, ...].

    h       the membrane before the reset
    s       the spikes, {0, 1} or bool
    after   every state variable after the step
    values  the kind of s: "spikes", "graded" or "membrane" (runtime.core.model.graph.Node.values)
    flips_within  error [B, ...] -> bool [B, ...]: where the neuron's decision changes if input and membrane change so
                  that h moves by this error, up or down; None if h and v_threshold decide that
    """

    h: Array
    s: Array
    after: State
    values: str = "spikes"
    flips_within: Callable[[Array], Array] | None = None

    @property
    def v(self) -> Array:
        """The membrane potential v of a neuron layer after a time-step, [B, ...]."""
        return self.after["v"]


def initial_state(graph: Graph, batch: int, dtype: type = np.float32) -> State:
    """Return the state of a network graph after a reset: {layer: v [B, ...]} of `dtype`.

    Further variables have the keys of runtime.core.model.graph.state_key.
    """
    return {
        state_key(n.layer, variable): np.full((batch, *n.shape), value, dtype)
        for n in graph.neurons
        for variable, value in n.initial.items()
    }


def step(graph: Graph, x: Array, state: State, dtype: type = np.float32) -> tuple[Array, State, dict[str, LayerStep]]:
    """Run one time-step of a network graph in NumPy; return the output, the next state and each layer's results.

    x [B, C, H, W] and a state {layer: v [B, ...]} -> (y [B, classes], the state after the step, {layer: LayerStep}).
    The state argument is not changed.
    """
    layers: dict[str, LayerStep] = {}
    values: dict[str, Array] = {graph.input: np.asarray(x, dtype)}
    after: State = {}
    for node in graph:
        if node.op == "State":
            states = state if node.attrs["when"] == "before" else after
            values[node.name] = np.asarray(states[state_key(node.layer, node.attrs["variable"])], dtype)
            continue
        if node.op != "Neuron":
            values[node.name] = apply_node(NumpyBackend(dtype), node, *(values[name] for name in node.inputs))
            continue
        before: State = {name: np.asarray(state[state_key(node.layer, name)], dtype) for name in node.initial}
        fired = layers[node.layer] = step_neuron(node, gather_inputs(node, values.__getitem__), before, dtype)
        values[node.name] = fired.s
        after.update({state_key(node.layer, name): value for name, value in fired.after.items()})
    return values[graph.output], after, layers


def gather_inputs(node: Node, value: Callable[[str], Array]) -> Inputs:
    """Return the input arrays of a neuron node: one array, or a tuple of several."""
    read = tuple(value(name) for name in node.inputs)
    return read[0] if len(read) == 1 else read


def apply_node(m: NumpyBackend, node: Node, *inputs: Array) -> Array:
    """Compute the output [B, ...] of a graph node that is not a neuron."""
    meaning = OPERATIONS[node.op].meaning
    assert meaning is not None
    y: Array = meaning(m, node, {key: m.parameter(value) for key, value in node.params.items()}, *inputs)
    return y


def run(graph: Graph, x: Array, state: State | None = None, dtype: type = np.float32) -> tuple[Array, State]:
    """Run T time-steps of a network graph in NumPy, in `dtype`.

    x [T, B, C, H, W] -> (y [T, B, classes], state {layer: v [B, ...]})
    """
    state = initial_state(graph, x.shape[1], dtype) if state is None else state
    outputs = []
    for x_t in x:
        y, state, _ = step(graph, x_t, state, dtype)
        outputs.append(y)
    return np.stack(outputs), state


def step_neuron(node: Node, x: Inputs, state: State, dtype: type = np.float32) -> LayerStep:
    """Run one time-step of a neuron layer by the equation of its kind, in NumPy, in `dtype`.

    x      the input current [B, ...]
    state  {"v": [B, ...], ...}
    """
    equation, shape = get_equation(node.attrs["kind"]), (1, *node.shape)
    inputs = x if isinstance(x, tuple) else (x,)

    def run_moved(dtype: type, shift: Array | None = None) -> LayerStep:
        """Run the neuron layer's step with all inputs and the membrane moved by `shift`."""

        def move(value: Array) -> Array:
            return np.asarray(value, dtype) if shift is None else np.asarray(value, dtype) + shift

        values = {key: broadcast_like(np.asarray(value, dtype), node.shape) for key, value in node.params.items()}
        terms = Terms(node.attrs, values, lambda name, number: dtype(number))
        states: State = {name: np.asarray(value, dtype) for name, value in state.items()}
        states["v"] = move(states["v"])
        read = tuple(move(current) for current in inputs)
        with np.errstate(all="ignore"):
            fired = equation.step(NumpyBackend(dtype), terms, read[0] if len(read) == 1 else read, states)
        return LayerStep(*fired, node.values)

    def flips_within(error: Array) -> Array:
        """Return where an error of this size in the membrane h changes a neuron's decision to spike.

        A straight line has no second difference. A jump has one, in the spikes or in any state.
        """
        response = np.abs(run_moved(np.float64, error).h - run_moved(np.float64, -error).h) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            shift = error * np.where(
                response > 0, np.clip(error / response, 0.1, 10), 1
            )  # scaled so that h moves by `error`
        below, centre, above = (
            {"": step.s, **step.after} for step in (run_moved(np.float64, offset) for offset in (-shift, None, shift))
        )
        flips = np.zeros(shape, bool)
        with np.errstate(invalid="ignore"):
            for name, value in centre.items():
                flips = flips | (np.abs(above[name] - 2 * value + below[name]) > 10 * error)
        return flips

    layer_step = run_moved(dtype)
    return (
        layer_step
        if equation.check is None or layer_step.values == "membrane"
        else replace(layer_step, flips_within=flips_within)
    )


def solve_v_for_h(node: Node, x: Inputs, state: State, target: Array) -> State:
    """Solve a neuron's state for v, so that the current x gives the charged membrane h = target."""
    wide = {name: value.astype(np.float64) for name, value in state.items()}

    def h_at(v: Array) -> Array:
        return step_neuron(node, x, {**wide, "v": v}, np.float64).h

    h = h_at(wide["v"])
    slope = h - h_at(wide["v"] - 1)  # downwards, since no kind of neuron resets there
    with np.errstate(divide="ignore", invalid="ignore"):
        v = wide["v"] + (target - h) / slope
    usable = np.isfinite(v) & (np.abs(slope) > 1e-3)
    return {**state, "v": np.where(usable, v, wide["v"]).astype(np.float32)}
