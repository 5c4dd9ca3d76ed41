"""The reference of every parity check: the PyTorch model itself, fp32, evaluation mode, single-step, batch 1, one thread.

PyTorch is not equal to itself across batch shapes (a matrix product over 160 rows differs from 160 single rows in the last
bits), so what "equal to PyTorch" means has to be fixed, and this is where. A reference is anything that can say which
neuron layers there are, where they start, and what each did over some steps:

    NetworkReference   our own networks, which write down v, h and s themselves
    GraphReference     the NumPy interpreter on the graph as read, for files that have no module (NIR)
    ModuleReference    any other nn.Module, node by node as traced (plif_export/readers/module_reference.py)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch

from plif_export.proof import interpret
from plif_train.network import Network
from runtime.base.errors import PlifError
from runtime.model.graph import Graph, state_key

Array = np.ndarray


@dataclass
class LayerTrace:
    """One neuron layer over T steps, batch 1: v[t] before step t (v[T] is the last), h[t], s[t]; arrays [1, ...].

    more  further state variables, as v: {"i": [...]}
    """

    v: list[Array] = field(default_factory=list)
    h: list[Array] = field(default_factory=list)
    s: list[Array] = field(default_factory=list)
    more: dict[str, list[Array]] = field(default_factory=dict)

    def variables(self) -> dict[str, list[Array]]:
        return {"v": self.v, **self.more}

    @property
    def rate(self) -> float:
        return float(np.mean([s.mean() for s in self.s]))


@dataclass
class Trace:
    x: Array  # [T, 1, C, H, W]
    y: Array  # [T, 1, classes]
    layers: dict[str, LayerTrace]


class Reference(Protocol):
    """What a parity check asks of a model. `thresholds` has its layers in forward order."""

    thresholds: dict[str, float]

    @property
    def layers(self) -> list[str]: ...

    def initial(self) -> dict[str, Array]:
        """The state after a reset, batch 1, by runtime.model.graph.state_key."""

    def run(self, x: Array, state: dict[str, Array] | None = None) -> Trace:
        """T steps of one stream: x [T, 1, ...], from a state or from reset."""


class GraphReference:
    """The NumPy interpreter in float32 on a graph as it was read, before any pass."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.thresholds = {n.layer: float(n.attrs["v_threshold"]) for n in graph.neurons}

    @property
    def layers(self) -> list[str]:
        return list(self.thresholds)

    def initial(self) -> dict[str, Array]:
        return interpret.start(self.graph, 1)

    def run(self, x: Array, state: dict[str, Array] | None = None) -> Trace:
        state = self.initial() if state is None else state
        layers = traces_from(self.graph, state)
        outputs = []
        for x_t in x:
            y, state, trace = interpret.step(self.graph, x_t, state)
            outputs.append(y)
            for layer, fired in trace.fired.items():
                note(layers[layer], fired.h, fired.s > 0.5, fired.after)
        return Trace(x, np.stack(outputs), layers)


def traces_from(graph: Graph, state: dict[str, Array]) -> dict[str, LayerTrace]:
    """An empty trace for each layer, with the state it starts from."""
    traces = {}
    for n in graph.neurons:
        _, *further = n.initial
        more = {name: [np.array(state[state_key(n.layer, name)])] for name in further}
        traces[n.layer] = LayerTrace(v=[np.array(state[n.layer])], more=more)
    return traces


def note(trace: LayerTrace, h: Array, s: Array, after: dict[str, Array]) -> None:
    """Writes one step down: h, spikes (bool), and every state variable after the step."""
    trace.h.append(h)
    trace.s.append(s)
    for name, values in trace.variables().items():
        values.append(after[name])


class NetworkReference:
    """Runs one of our own networks and writes down what every neuron did."""

    def __init__(self, net: Network) -> None:
        if not isinstance(net, Network):
            raise PlifError(
                f"the reference is a {type(net).__name__}; expected a model.pt or a plif_train.Network (plif_train.build or load)"
            )
        self.net = net
        self.thresholds = {layer: float(neuron.v_threshold) for layer, neuron in net.neurons().items()}

    @property
    def layers(self) -> list[str]:
        return list(self.thresholds)

    def initial(self) -> dict[str, Array]:
        """The state after a reset, batch 1."""
        net, shapes = self.net, {}
        for step in net.plan:
            if step.op == "Neuron":
                shapes[step.name] = step.out_shape
        return {
            layer: np.full((1, *shape), 0.0 if neuron.v_reset is None else neuron.v_reset, np.float32)
            for (layer, neuron), shape in zip(net.neurons().items(), shapes.values(), strict=True)
        }

    def run(self, x: Array, state: dict[str, Array] | None = None) -> Trace:
        """T steps of one stream: x [T, 1, C, H, W], from a state ({layer: v [1, ...]}) or from reset."""
        net, neurons = self.net, self.net.neurons()
        state = self.initial() if state is None else state
        layers = {layer: LayerTrace(v=[np.array(v)]) for layer, v in state.items()}
        outputs = []
        with _evaluation(net):
            net.reset()
            net.set_state({layer: torch.from_numpy(np.array(v)) for layer, v in state.items()})
            for x_t in x:
                for neuron in neurons.values():
                    neuron.trace = []
                outputs.append(net.step(torch.from_numpy(np.ascontiguousarray(x_t))).numpy().copy())
                for layer, neuron in neurons.items():
                    assert neuron.trace, f"layer {layer} did not run"
                    _, h, s, v = neuron.trace[-1]
                    trace = layers[layer]
                    trace.h.append(h.numpy().copy())
                    trace.s.append(s.numpy().astype(bool))
                    trace.v.append(v.numpy().copy())
        return Trace(x, np.stack(outputs), layers)


@contextmanager
def _evaluation(net: Network) -> Iterator[None]:
    """Evaluation mode, float32, one thread, no gradients; everything as it was afterwards, and the state reset."""
    training, threads = net.training, torch.get_num_threads()
    if any(parameter.dtype != torch.float32 for parameter in net.parameters()):
        raise PlifError("the model is not float32; the reference of a parity check is: convert it with net.float()")
    net.eval()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            yield
    finally:
        for neuron in net.neurons().values():
            neuron.trace = None
        net.reset()
        net.train(training)
        torch.set_num_threads(threads)
