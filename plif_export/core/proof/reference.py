"""The reference of every parity check: the PyTorch model itself, fp32, evaluation mode, single-step, batch 1, one thread.

PyTorch is not equal to itself across batch shapes (a matrix product over 160 rows differs from 160 single rows in the last
bits), so "equal to PyTorch" needs a definition, and this file has it. A reference is anything that can say which neuron
layers there are, where they start, and what each did over some steps:

    NetworkReference   our own networks, which record v, h and s themselves
    GraphReference     the NumPy interpreter on the graph as read, for files that have no module (NIR)
    ModuleReference    any other nn.Module, node by node as traced (plif_export/readers/module/reader.py)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from plif_export.core.proof.arithmetic import interpret
from plif_export.core.proof.arithmetic.interpret import Array, LayerStep, State
from plif_train.core.network.network import Network
from runtime.core.base.errors import PlifError
from runtime.core.model.graph import Graph, Node, state_key


@dataclass
class LayerHistory:
    """One neuron layer over T steps, batch 1: its states at the start {variable: [1, ...]} float32, and each step."""

    start: State
    steps: list[LayerStep] = field(default_factory=list)

    def before(self, t: int) -> State:
        """The states before step t."""
        return self.steps[t - 1].after if t else self.start

    @property
    def spikes(self) -> int:
        """How many spikes there were, of any size."""
        return sum(int(np.count_nonzero(step.s)) for step in self.steps)

    @property
    def spiking(self) -> bool:
        """Whether it spikes at all: a leaky integrator gives its membrane."""
        return self.steps[0].values != "membrane"

    @property
    def most(self) -> int:
        """How many spikes are too many to tell one from none; where s is not 0 or 1 alone, no number is."""
        whole = len(self.steps) * self.steps[0].s.size
        return whole if self.steps[0].values == "spikes" else whole + 1

    @property
    def rate(self) -> float:
        """Spikes per neuron and step, 0..1."""
        return float(np.mean([(step.s != 0).mean() for step in self.steps]))


@dataclass
class History:
    """T steps of one stream, in float32: the input, the output, and what each layer did (its spikes as bool)."""

    x: Array  # [T, 1, C, H, W]
    y: Array  # [T, 1, classes]
    layers: dict[str, LayerHistory]


class Reference(ABC):
    """What a parity check asks of a model. layers: of neurons, in forward order."""

    layers: list[str]

    @abstractmethod
    def initial(self) -> State:
        """The state after a reset, {key: [1, ...]} float32, by runtime.core.model.graph.state_key."""

    @abstractmethod
    def run(self, x: Array, state: State) -> History:
        """T steps of one stream: x [T, 1, C, H, W] float32, from a state {key: [1, ...]}."""


class GraphReference(Reference):
    """The NumPy interpreter in float32 on a graph as it was read, before any pass."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.layers = [n.layer for n in graph.neurons]

    def initial(self) -> State:
        return interpret.start(self.graph, 1)

    def run(self, x: Array, state: State) -> History:
        layers = histories_from(self.graph, state)
        outputs = []
        for x_t in x:
            y, state, done = interpret.step(self.graph, x_t, state)
            outputs.append(y)
            for layer, fired in done.items():
                layers[layer].steps.append(replace(fired, s=fired.s > 0.5) if fired.values == "spikes" else fired)
        return History(x, np.stack(outputs), layers)


def histories_from(graph: Graph, state: State) -> dict[str, LayerHistory]:
    """An empty history for each layer of the graph, with the states {key: [1, ...]} that it starts from."""
    return {
        n.layer: LayerHistory({name: np.array(state[state_key(n.layer, name)]) for name in n.initial})
        for n in graph.neurons
    }


class NetworkReference(Reference):
    """Runs one of our own networks and records what every neuron did."""

    def __init__(self, net: Network) -> None:
        self.net, self.layers = net, list(net.neurons())

    def initial(self) -> State:
        shapes = [named.out_shape for named in self.net.named_layers if named.op == "Neuron"]
        return {
            layer: np.full((1, *shape), 0.0 if neuron.v_reset is None else neuron.v_reset, np.float32)
            for (layer, neuron), shape in zip(self.net.neurons().items(), shapes, strict=True)
        }

    def run(self, x: Array, state: State) -> History:
        net, neurons = self.net, self.net.neurons()
        layers = {layer: LayerHistory({"v": np.array(v)}) for layer, v in state.items()}
        outputs = []
        with _evaluation(net):
            net.reset()
            net.set_state({layer: torch.from_numpy(np.array(v)) for layer, v in state.items()})
            for x_t in x:
                for neuron in neurons.values():
                    neuron.history = []
                outputs.append(net.step(torch.from_numpy(np.ascontiguousarray(x_t))).numpy().copy())
                for layer, neuron in neurons.items():
                    assert neuron.history, f"layer {layer} did not run"
                    _, h, s, v = neuron.history[-1]
                    step = LayerStep(h.numpy().copy(), s.numpy().astype(bool), {"v": v.numpy().copy()})
                    layers[layer].steps.append(step)
        return History(x, np.stack(outputs), layers)


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one thread, without gradients; as it was afterwards."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _evaluation(net: Network) -> Iterator[None]:
    """Evaluation mode, float32, one thread, no gradients; everything as it was afterwards, and the state reset."""
    training = net.training
    if any(parameter.dtype != torch.float32 for parameter in net.parameters()):
        raise PlifError("the model is not float32; the reference of a parity check is: convert it with net.float()")
    net.eval()
    try:
        with one_thread():
            yield
    finally:
        for neuron in net.neurons().values():
            neuron.history = None
        net.reset()
        net.train(training)


def random_start(graph: Graph, rng: np.random.Generator) -> State:
    """The start of one stream, {key: [1, ...]} float32: a random state of every layer."""
    states = [(n.layer, random_state(n, rng)) for n in graph.neurons]
    return {state_key(layer, name): values for layer, state in states for name, values in state.items()}


def random_state(node: Node, rng: np.random.Generator, rows: int = 1) -> State:
    """Each state variable of a layer anywhere from somewhat below its start to the threshold, [rows, ...] float32; to as far
    above its start where the layer compares with something else than a number, or the threshold is below it."""
    top = float(node.attrs["v_threshold"])
    state = {}
    for name, start in node.initial.items():
        span = abs(top - start) or 1.0
        high = top if start < top else start + span
        state[name] = rng.uniform(start - 0.5 * span, high, (rows, *node.shape)).astype(np.float32)
    return state
