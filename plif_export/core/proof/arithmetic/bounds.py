"""How far rounding alone can move what a layer does: the graph as it was read, run on measures (measure.py).

All spikes and states of a step are known, so each layer stands for itself. An operation's meaning says how measures follow
from those of its inputs (measured.py); one that says `measured` is measured by moving its inputs, and never counts as exact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from plif_export.core.proof.arithmetic import interpret
from plif_export.core.proof.arithmetic.arrays import Numpy, beside
from plif_export.core.proof.arithmetic.interpret import Array, Inputs, LayerStep, State
from plif_export.core.proof.arithmetic.measure import Measure, Measuring, sensitive
from plif_export.core.proof.arithmetic.measured import MeasuringTensors
from runtime.core.model.graph import Graph, Node
from runtime.core.model.neurons import equation_of
from runtime.core.model.ops import OPERATIONS
from runtime.core.model.symbol import Terms


@dataclass(frozen=True)
class LayerBound:
    """How far rounding can move h and each state variable after a step, float64 [1, ...]; 0 where arithmetic is exact."""

    h: Array
    after: State

    def __add__(self, other: LayerBound) -> LayerBound:
        return LayerBound(self.h + other.h, {name: b + other.after[name] for name, b in self.after.items()})


class Bounds:
    """A graph that is measured; half: a further relative rounding of sums by an engine with float16 kernels."""

    def __init__(self, graph: Graph, half: float = 0.0) -> None:
        self.half = half
        self.input, self.output = graph.input, graph.output
        self.nodes = {node.name: node for node in graph}
        self.neurons = {node.layer: node for node in graph.neurons}
        m = MeasuringTensors()  # a parameter is measured once: weights are many
        self.params = {n.name: {key: m.parameter(value) for key, value in n.params.items()} for n in graph}
        self.weights = sum(m.size.size for params in self.params.values() for m in params.values())
        self.largest: dict[str, float] = {}  # {layer: of all bounds that were asked for}
        self.fired: set[str] = set()  # layers that had to fire, in any step that was asked for
        self.rested: set[str] = set()  # and those in which not all had to

    def step(self, x: Array, fired: Mapping[str, Array], held: Held | None = None) -> Step:
        """One step on x [1, ...] in which the layers fired {layer: [1, ...]}; spikes may be added while they become known.

        held  (layer, variable, "before" or "after") -> the state [1, ...]; not needed where no node reads a state
        """
        return Step(self, x, fired, held)

    def saw(self, layer: str, step: LayerStep) -> None:
        """Remembers whether a layer had to fire."""
        if np.any(step.s):
            self.fired.add(layer)
        if step.values != "spikes" or not np.all(step.s):
            self.rested.add(layer)

    @property
    def untested(self) -> list[str]:
        """Layers that never had to fire, or always: nothing was shown about their threshold."""
        return [layer for layer in self.neurons if layer not in self.fired & self.rested]


class Step:
    """One step in which all spikes are known: the values and the measures of what is asked for, by a node's name."""

    def __init__(self, of: Bounds, x: Array, fired: Mapping[str, Array], held: Held | None) -> None:
        self.of, self.x, self.fired = of, x, fired
        self.held: Held = held or _unknown
        self._values: dict[str, Array] = {}
        self._measures: dict[str, Measure] = {}

    def value(self, name: str) -> Array:
        """[1, ...] float32."""
        node = self.of.nodes.get(name)
        if node is None or node.op == "Neuron":
            return np.asarray(self.x if node is None else self.fired[node.layer], np.float32)
        if node.op == "State":
            return self.held(node.layer, node.attrs["variable"], node.attrs["when"])
        if name not in self._values:
            self._values[name] = interpret.apply(Numpy(np.float32), node, *(self.value(n) for n in node.inputs))
        return self._values[name]

    def current(self, node: Node) -> Inputs:
        """What a neuron layer reads, [1, ...] float32; a tuple where it has several inputs."""
        return interpret.inputs_of(node, self.value)

    def measure(self, name: str) -> Measure:
        """Of the value of that name."""
        if name not in self._measures:
            node = self.of.nodes.get(name)
            if node is not None and node.op == "Neuron" and node.values == "spikes":
                made = Measure.fired(self.value(name))
            elif node is None or node.op == "Constant":
                made = Measure.known(self.value(name))
            elif node.op == "Neuron" or (node.op == "State" and node.attrs["when"] == "after"):
                made = self._given(node)
            elif node.op == "State":
                made = Measure.known(self.value(name))
            else:
                made = self._made(node, [self.measure(n) for n in node.inputs])
            self._measures[name] = made
        return self._measures[name]

    def _made(self, node: Node, inputs: list[Measure]) -> Measure:
        operation = OPERATIONS[node.op]
        if operation.measured:
            return sensitive(lambda *values: interpret.apply(Numpy(np.float64), node, *values), inputs, rows=True)
        assert operation.meaning is not None
        made = operation.meaning(MeasuringTensors(), node, self.of.params[node.name], *inputs)
        terms = np.broadcast_to(made.terms, made.size.shape)
        return Measure(made.size, terms, np.asarray(made.one_unit), partial(self.value, node.name))

    def neuron(self, layer: str, state: State, exact: bool = True) -> LayerBound:
        """What rounding can do in one layer's step from its states {variable: [1, ...]}; exact: whether exact sums have
        no bound, or that of sums of their size."""
        node = self.of.neurons[layer]
        shape = state["v"].shape
        h, _, after = self._fires(node, state)
        made = LayerBound(
            self._bound(h, shape, exact), {name: self._bound(m, shape, exact) for name, m in after.items()}
        )
        largest = max((float(b.max(initial=0)) for b in (made.h, *made.after.values())), default=0.0)
        self.of.largest[layer] = max(self.of.largest.get(layer, 0.0), largest)
        return made

    def _fires(self, node: Node, state: State) -> tuple[Measure, Measure, dict[str, Measure]]:
        """The measures of h, s and the next states of a neuron layer."""
        read = tuple(self.measure(name) for name in node.inputs)
        params = {k: Measure.known(beside(v, node.shape), factor=True) for k, v in node.params.items()}
        terms = Terms(node.attrs, params, lambda name, number: Measure.known(np.asarray(number, np.float32)))
        known = {name: Measure.known(value) for name, value in state.items()}
        with np.errstate(all="ignore"):
            x = read[0] if len(read) == 1 else read
            made: tuple[Measure, Measure, dict[str, Measure]] = equation_of(node.attrs["kind"]).step(
                Measuring(), terms, x, known
            )
        return made

    def _given(self, node: Node) -> Measure:
        """Of what a layer gives that is no spike: its own s, or a state after the step, which an engine computes itself."""
        neuron = self.of.neurons[node.layer]
        state = {variable: self.held(node.layer, variable, "before") for variable in neuron.initial}
        _, s, after = self._fires(neuron, state)
        m = s if node.op == "Neuron" else after[node.attrs["variable"]]
        size, terms = (np.broadcast_to(part, state["v"].shape) for part in (m.size, m.terms))
        return Measure(size, terms, m.unit, partial(self.value, node.name))

    def _bound(self, m: Measure, shape: tuple[int, ...], exact: bool) -> Array:
        return np.broadcast_to(m.bound(self.of.half, exact), shape)

    def output(self) -> Array:
        """What rounding can do to y, [1, classes]."""
        return self.measure(self.of.output).bound(self.of.half)


Held = Callable[[str, str, str], Array]


def _unknown(layer: str, variable: str, when: str) -> Array:
    raise KeyError(f"state {variable} of {layer} {when} the step")
