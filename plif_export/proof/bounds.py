"""How far rounding alone can move what a layer does: the graph as it was read, run on measures (measure.py).

All spikes and states of a step are known, so each layer stands for itself. A node that is a sum of products has as its size
what it makes of the sizes of its inputs with |parameters|, and OPS says how its terms and units follow. A kind of node that is
not entered there is measured by moving its inputs, and never counts as exact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import prod

import numpy as np

from plif_export.proof import interpret
from plif_export.proof.interpret import Array, Inputs, State
from plif_export.proof.measure import Measure, Measuring, lowest_unit, sensitive
from runtime.model.graph import Graph, Node, spatial
from runtime.model.neurons import Terms, equation_of


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
        self.absolute = {node.name: _absolute(node) for node in graph if node.op in OPS}
        self.units = {
            name: {key: lowest_unit(value) for key, value in params.items()}
            for name, (_, params) in self.absolute.items()
        }
        self.largest: dict[str, float] = {}  # {layer: of all bounds that were asked for}

    def step(self, x: Array, fired: Mapping[str, Array], held: Held | None = None) -> Step:
        """One step on x [1, ...] in which the layers fired {layer: [1, ...]}; spikes may be added while they become known.

        held  (layer, variable, "before" or "after") -> the state [1, ...]; not needed where no node reads a state
        """
        return Step(self, x, fired, held)


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
            params = {key: np.asarray(value, np.float32) for key, value in node.params.items()}
            self._values[name] = interpret.OPS[node.op](node, *(self.value(n) for n in node.inputs), params)
        return self._values[name]

    def current(self, node: Node) -> Inputs:
        """What a neuron layer reads, [1, ...] float32; a tuple where it has several inputs."""
        return interpret.inputs_of(node, self.value)

    def measure(self, name: str) -> Measure:
        """Of the value of that name."""
        if name not in self._measures:
            node = self.of.nodes.get(name)
            if node is None or node.op == "Constant" or (node.op == "Neuron" and node.values == "spikes"):
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
        if node.op not in OPS:
            params = {key: np.asarray(value, np.float64) for key, value in node.params.items()}
            return sensitive(lambda *values: interpret.OPS[node.op](node, *values, params), inputs, rows=True)
        absolute, params = self.of.absolute[node.name]
        size = interpret.OPS[absolute.op](absolute, *(m.size for m in inputs), params)
        terms, unit = OPS[node.op](node, self.of.units[node.name], *inputs)
        return Measure(size, np.broadcast_to(terms, size.shape), np.asarray(unit), partial(self.value, node.name))

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
        shape = (1, *node.shape)
        params = {k: Measure.known(interpret.broadcast(v, shape), factor=True) for k, v in node.params.items()}
        terms = Terms(node.attrs, params, lambda name, number: Measure.known(np.float32(number)))
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


def _absolute(node: Node) -> tuple[Node, dict[str, Array]]:
    """A node that makes the size of its output of those of its inputs, and its parameters in float32."""
    node = node.with_(op="Add") if node.op == "Sub" else node
    params = {key: np.abs(value) for key, value in node.params.items()}
    if "mean" in params:  # which is subtracted
        params["mean"] = -params["mean"]
    return node.with_(params=params), {key: value.astype(np.float32) for key, value in params.items()}


# --- how terms and units follow, by kind of node ---------------------------------------------------------------------


def _moved(node: Node, units: Units, *inputs: Measure) -> tuple[Array, float]:
    """Terms are added, or go where the values go."""
    op = "Add" if node.op == "Sub" else node.op
    return interpret.OPS[op](node, *(m.terms for m in inputs), {}), min(m.one_unit for m in inputs)


def _multiplied(node: Node, units: Units, *inputs: Measure) -> tuple[Array, float]:
    terms = sum((m.terms for m in inputs[1:]), inputs[0].terms)  # relative errors add up as those of a sum do
    return terms, prod(m.one_unit for m in inputs)


def _matrices(node: Node, units: Units, a: Measure, b: Measure) -> tuple[Array, float]:
    """A term for each pair of which neither is zero."""
    size, once = a.size.shape[-1], [np.minimum(m.terms, 1) for m in (a, b)]
    terms = np.matmul(a.terms, once[1]) + np.matmul(once[0], b.terms)
    return np.minimum(terms, size * (a.terms.max() + b.terms.max())), a.one_unit * b.one_unit


def _reduced(node: Node, units: Units, x: Measure) -> tuple[Array, float]:
    how, area = node.attrs["how"], prod(x.size.shape[axis] for axis in node.attrs["axes"])
    terms = interpret.OPS["Reduce"](
        node.with_(attrs={**node.attrs, "how": "max" if how == "max" else "sum"}), x.terms, {}
    )
    return terms, x.one_unit if how != "mean" else x.one_unit / area if area & (area - 1) == 0 else 0.0


def _spread(node: Node, units: Units, x: Measure) -> tuple[Array, float]:
    """A ConvTranspose: a term for each input that a tap brings here."""
    ones = {"weight": np.ones_like(node.params["weight"], np.float32)}
    terms = interpret.OPS["ConvTranspose"](node.with_(params=ones), x.terms, ones)
    return terms + 1, min(x.one_unit * units["weight"], units.get("bias", np.inf))


def _averaged(node: Node, units: Units, x: Measure) -> tuple[Array, float]:
    if node.op == "Vote":
        area = int(node.attrs["voters"])
    else:
        dims = x.size.ndim - 2
        area = prod(x.size.shape[2:] if node.op == "GlobalAvgPool" else spatial(node.attrs["kernel"], dims))
    terms = interpret.OPS[node.op](node, x.terms, {}) * np.float32(area)
    return terms, x.one_unit / area if area & (area - 1) == 0 else 0.0


def _weighed(node: Node, units: Units, x: Measure) -> tuple[Array, float]:
    """A term for each input that is not zero and that the weights can reach, and the bias."""
    unit = min(x.one_unit * units["weight"] * units.get("scale", 1.0), units.get("bias", np.inf))
    if node.op == "Linear":
        return x.terms.sum(axis=-1, keepdims=True) + 1, unit
    groups, (rows, channels, *where) = node.attrs["groups"], x.terms.shape
    of_group = x.terms.reshape(rows, groups, channels // groups, *where).sum(axis=2)
    outputs, _, *kernel = node.params["weight"].shape
    ones = {"weight": np.ones((groups, 1, *kernel), np.float32)}
    reached = interpret.OPS["Conv"](node.with_(params=ones), of_group, ones)
    return reached.repeat(outputs // groups, axis=1) + 1, unit


def _shifted(node: Node, units: Units, x: Measure) -> tuple[Array, float]:
    return x.terms + 2, min(x.one_unit * units["scale"], units["shift"]) if node.op == "Affine" else 0.0


Units = Mapping[str, float]  # of the parameters of a node
Held = Callable[[str, str, str], Array]


def _unknown(layer: str, variable: str, when: str) -> Array:
    raise KeyError(f"state {variable} of {layer} {when} the step")


# kind of node -> rule(node, units of its parameters, *measures of its inputs) -> (terms [B, ...], unit) of its output
OPS: dict[str, Callable[..., tuple[Array, float]]] = {
    "Conv": _weighed,
    "Linear": _weighed,
    "BatchNorm": _shifted,  # whose scale is rounded, whatever its parameters are
    "Affine": _shifted,
    "MaxPool": _moved,
    "AvgPool": _averaged,
    "GlobalAvgPool": _averaged,
    "Vote": _averaged,
    "Add": _moved,
    "Mul": _multiplied,
    "Sub": _moved,
    "MatMul": _matrices,
    "ConvTranspose": _spread,
    **dict.fromkeys(("Concat", "Slice", "Permute", "Reshape", "Flatten"), _moved),
    "Reduce": _reduced,
    "Dropout": _moved,
}
