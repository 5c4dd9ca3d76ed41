"""Rounding error bounds of each neuron layer: the graph as it was read, evaluated on measures (measure.py).

All spikes and states of a step are known, so each layer is bounded independently of the others. The meaning of an
operation says how measures follow from those of its inputs (measured.py). An operation that is marked `measured` is
measured by moving its inputs, and never counts as exact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from plif_export.core.proof.arithmetic import interpret
from plif_export.core.proof.arithmetic.arrays import NumpyBackend, broadcast_like
from plif_export.core.proof.arithmetic.interpret import Array, Inputs, LayerStep, State
from plif_export.core.proof.arithmetic.measure import Measure, MeasureMath, measure_by_moving
from plif_export.core.proof.arithmetic.measured import MeasureBackend
from runtime.core.model.graph import Graph, Node
from runtime.core.model.neurons import get_equation
from runtime.core.model.ops import OPERATIONS
from runtime.core.model.symbol import Terms


@dataclass(frozen=True)
class LayerBound:
    """The largest rounding error of a neuron layer's membrane h and of each state variable after one step.

    Arrays are float64 [1, ...]; 0 where arithmetic is exact.
    """

    h: Array
    after: State

    def __add__(self, bound: LayerBound) -> LayerBound:
        return LayerBound(self.h + bound.h, {name: error + bound.after[name] for name, error in self.after.items()})


class Bounds:
    """The rounding error bounds of all values of a network graph, computed step by step.

    half  a further relative rounding of sums by an engine with float16 kernels
    """

    def __init__(self, graph: Graph, half: float = 0.0) -> None:
        self.half = half
        self.input, self.output = graph.input, graph.output
        self.nodes = {node.name: node for node in graph}
        self.neurons = {node.layer: node for node in graph.neurons}
        m = MeasureBackend()  # each parameter is measured once, since there are many weights
        self.params = {n.name: {key: m.parameter(value) for key, value in n.params.items()} for n in graph}
        self.weights = sum(m.size.size for params in self.params.values() for m in params.values())
        self.largest: dict[str, float] = {}  # {layer: the largest bound computed so far}
        self.spiked: set[str] = set()  # layers in which a neuron spiked, in any step so far
        self.silent: set[str] = set()  # layers in which a neuron was silent, in any step so far
        self.last: tuple[object, dict[int, StepBounds]] = (None, {})  # a call, and the bounds of its steps

    def step(self, x: Array, fired: Mapping[str, Array], lookup: StateLookup | None = None) -> StepBounds:
        """Return the rounding error bounds of one time-step of a network on x [1, ...], given all layers' spikes.

        fired   {layer: spikes [1, ...]}; spikes may be added while they become known
        lookup  (layer, variable, "before" or "after") -> the state [1, ...]; not needed if no node reads a state
        """
        return StepBounds(self, x, fired, lookup)

    def record_coverage(self, layer: str, step: LayerStep) -> None:
        """Record whether a layer spiked and stayed silent in the reference model, for the proof's coverage."""
        if np.any(step.s):
            self.spiked.add(layer)
        if step.values != "spikes" or not np.all(step.s):
            self.silent.add(layer)

    @property
    def untested(self) -> list[str]:
        """The layers that never spiked, or always did, so that the proof did not test their thresholds."""
        return [layer for layer in self.neurons if layer not in self.spiked & self.silent]


class StepBounds:
    """The values and rounding bounds of one time-step of a network graph, computed on demand by node name."""

    def __init__(self, bounds: Bounds, x: Array, fired: Mapping[str, Array], lookup: StateLookup | None) -> None:
        self.bounds, self.x, self.fired = bounds, x, fired
        self.state_at: StateLookup = lookup or _refuse_lookup
        self._values: dict[str, Array] = {}
        self._measures: dict[str, Measure] = {}
        self._bounds: dict[tuple[str, bool], tuple[State, LayerBound]] = {}  # the last of each layer

    def value(self, name: str) -> Array:
        """Return the float32 value [1, ...] that a graph node has in this time-step, by its name."""
        node = self.bounds.nodes.get(name)
        if node is None or node.op == "Neuron":
            return np.asarray(self.x if node is None else self.fired[node.layer], np.float32)
        if node.op == "State":
            return self.state_at(node.layer, node.attrs["variable"], node.attrs["when"])
        if name not in self._values:
            self._values[name] = interpret.apply_node(
                NumpyBackend(np.float32), node, *(self.value(n) for n in node.inputs)
            )
        return self._values[name]

    def input_current(self, node: Node) -> Inputs:
        """Return the input current of a neuron layer, float32 [1, ...], or a tuple if it has several inputs."""
        return interpret.gather_inputs(node, self.value)

    def measure(self, name: str) -> Measure:
        """Return the rounding-error bound of a graph node's value in this time-step."""
        if name not in self._measures:
            node = self.bounds.nodes.get(name)
            if node is not None and node.op == "Neuron" and node.values == "spikes":
                computed = Measure.from_spikes(self.value(name))
            elif node is None or node.op == "Constant":
                computed = Measure.from_values(self.value(name))
            elif node.op == "Neuron" or (node.op == "State" and node.attrs["when"] == "after"):
                computed = self._measure_analog(node)
            elif node.op == "State":
                computed = Measure.from_values(self.value(name))
            else:
                computed = self._measure_operation(node, [self.measure(n) for n in node.inputs])
            self._measures[name] = computed
        return self._measures[name]

    def _measure_operation(self, node: Node, inputs: list[Measure]) -> Measure:
        operation = OPERATIONS[node.op]
        if operation.measured:
            return measure_by_moving(
                lambda *values: interpret.apply_node(NumpyBackend(np.float64), node, *values), inputs, rows=True
            )
        assert operation.meaning is not None
        m = operation.meaning(MeasureBackend(), node, self.bounds.params[node.name], *inputs)
        terms = np.broadcast_to(m.terms, m.size.shape)
        return Measure(m.size, terms, np.asarray(m.common_unit), partial(self.value, node.name))

    def neuron_bound(self, layer: str, state: State, exact: bool = True) -> LayerBound:
        """Return the rounding error bound of a neuron layer in this time-step, from its states {variable: [1, ...]}.

        exact  True: exact sums have the bound 0; False: they have the bound of an inexact sum of the same size
        """
        last = self._bounds.get((layer, exact))
        if last is not None and last[0] is state:
            return last[1]
        node = self.bounds.neurons[layer]
        shape = state["v"].shape
        h, _, after = self._measure_neuron(node, state)
        bound = LayerBound(
            self._bound(h, shape, exact), {name: self._bound(m, shape, exact) for name, m in after.items()}
        )
        largest = max((float(b.max(initial=0)) for b in (bound.h, *bound.after.values())), default=0.0)
        self.bounds.largest[layer] = max(self.bounds.largest.get(layer, 0.0), largest)
        self._bounds[layer, exact] = state, bound
        return bound

    def _measure_neuron(self, node: Node, state: State) -> tuple[Measure, Measure, dict[str, Measure]]:
        """Return the rounding-error bounds of a neuron layer's membrane h, spikes s and next states."""
        read = tuple(self.measure(name) for name in node.inputs)
        params = {k: Measure.from_values(broadcast_like(v, node.shape), factor=True) for k, v in node.params.items()}
        terms = Terms(node.attrs, params, lambda name, number: Measure.from_values(np.asarray(number, np.float32)))
        states = {name: Measure.from_values(value) for name, value in state.items()}
        with np.errstate(all="ignore"):
            x = read[0] if len(read) == 1 else read
            measures: tuple[Measure, Measure, dict[str, Measure]] = get_equation(node.attrs["kind"]).step(
                MeasureMath(), terms, x, states
            )
        return measures

    def _measure_analog(self, node: Node) -> Measure:
        """Return the rounding-error bound of a layer's output that is no spikes, or of its state after the step.

        An engine computes these itself, so they carry rounding errors; binary spikes do not.
        """
        neuron = self.bounds.neurons[node.layer]
        state = {variable: self.state_at(node.layer, variable, "before") for variable in neuron.initial}
        _, s, after = self._measure_neuron(neuron, state)
        m = s if node.op == "Neuron" else after[node.attrs["variable"]]
        size, terms = (np.broadcast_to(part, state["v"].shape) for part in (m.size, m.terms))
        return Measure(size, terms, m.unit, partial(self.value, node.name))

    def _bound(self, m: Measure, shape: tuple[int, ...], exact: bool) -> Array:
        return np.broadcast_to(m.bound(self.bounds.half, exact), shape)

    def output_bound(self) -> Array:
        """Return the rounding error bound of the network's output y in this time-step, float64 [1, classes]."""
        return self.measure(self.bounds.output).bound(self.bounds.half)


StateLookup = Callable[[str, str, str], Array]


def _refuse_lookup(layer: str, variable: str, when: str) -> Array:
    raise KeyError(f"state {variable} of {layer} {when} the step")
