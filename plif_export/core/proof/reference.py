"""The reference of every parity check: the PyTorch model in fp32, evaluation mode, batch 1, one thread.

It runs single steps. PyTorch is not equal to itself across batch shapes: a matrix product over 160 rows differs from
160 single rows in the last bits. So "equal to PyTorch" needs a definition, which is here. A reference states its
neuron layers and their initial states, and records the results of each over some steps:

    NetworkReference   a plif network, which records v, h and s itself
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
from plif_export.core.proof.report import ProvedWith
from plif_train.core.network.network import Network
from runtime.core.base.errors import PlifError
from runtime.core.model.graph import Graph, Node, state_key


@dataclass
class LayerHistory:
    """The recorded results of one neuron layer of the reference model over T steps, batch 1.

    start  the states at the start {variable: [1, ...]} float32;  steps: the result of each step
    """

    start: State
    steps: list[LayerStep] = field(default_factory=list)

    def before(self, t: int) -> State:
        """Return the recorded states {variable: [1, ...]} of a neuron layer before step t."""
        return self.steps[t - 1].after if t else self.start

    @property
    def spikes(self) -> int:
        """The number of nonzero outputs of a neuron layer over all recorded steps."""
        return sum(int(np.count_nonzero(step.s)) for step in self.steps)

    @property
    def is_spiking(self) -> bool:
        """True if a neuron layer emits spikes; False if it emits its membrane, as a leaky integrator does."""
        return self.steps[0].values != "membrane"

    @property
    def max_spikes(self) -> int:
        """The number of spikes that a layer would have if all neurons fired in every recorded step.

        Graded outputs have no such number: the value is then one more than can be reached.
        """
        total = len(self.steps) * self.steps[0].s.size
        return total if self.steps[0].values == "spikes" else total + 1

    @property
    def rate(self) -> float:
        """The firing rate of a neuron layer in a recorded run: spikes per neuron and step, 0..1."""
        return float(np.mean([(step.s != 0).mean() for step in self.steps]))


@dataclass
class History:
    """The recorded run of one stream through the reference model: input, output and layer results, T steps."""

    x: Array  # [T, 1, C, H, W]
    y: Array  # [T, 1, classes]
    layers: dict[str, LayerHistory]


class Reference(ABC):
    """The interface of a reference model, to which a parity proof compares an artifact.

    layers  the names of the neuron layers, in forward order
    mode    how it computes, for the report
    """

    layers: list[str]
    mode: str = "PyTorch, evaluation mode, float32, one step and one stream a call"

    @abstractmethod
    def initial(self) -> State:
        """Return the state of the reference model after a reset, {key: [1, ...]} float32.

        The keys are those of runtime.core.model.graph.state_key.
        """

    @abstractmethod
    def run(self, x: Array, state: State) -> History:
        """Run T steps of one stream through the reference model, x [T, 1, C, H, W] float32, from a state."""


def describe_reference(reference: Reference) -> ProvedWith:
    """Return how a reference model runs, for the report of a proof in which nothing else was run yet."""
    torch_version = str(torch.__version__)
    return ProvedWith(torch=torch_version, device="cpu", mode=reference.mode, threads=1, engines=[], not_run=[])


class GraphReference(Reference):
    """A reference model that runs a graph in NumPy float32, before any transformation (pass) for export."""

    mode = "NumPy interpreter, float32, one step and one stream a call"

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.layers = [n.layer for n in graph.neurons]

    def initial(self) -> State:
        return interpret.initial_state(self.graph, 1)

    def run(self, x: Array, state: State) -> History:
        layers = empty_histories(self.graph, state)
        outputs = []
        for x_t in x:
            y, state, layer_steps = interpret.step(self.graph, x_t, state)
            outputs.append(y)
            for layer, layer_step in layer_steps.items():
                layers[layer].steps.append(
                    replace(layer_step, s=layer_step.s > 0.5) if layer_step.values == "spikes" else layer_step
                )
        return History(x, np.stack(outputs), layers)


def empty_histories(graph: Graph, state: State) -> dict[str, LayerHistory]:
    """Return an empty record of results for each layer of a graph, with its start state {key: [1, ...]}."""
    return {
        n.layer: LayerHistory({name: np.array(state[state_key(n.layer, name)]) for name in n.initial})
        for n in graph.neurons
    }


class NetworkReference(Reference):
    """A reference model that runs a plif network in PyTorch and records the results of every neuron."""

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
    """Run a block of PyTorch code on one thread, without gradients, and restore the settings afterwards."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _evaluation(net: Network) -> Iterator[None]:
    """Run a block with a network in evaluation mode, in float32, on one thread, without gradients.

    All settings are restored afterwards, and the state is reset.
    """
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


def draw_start(graph: Graph, rng: np.random.Generator) -> State:
    """Make a random start state of every neuron layer for one stream, {key: [1, ...]} float32."""
    states = [(n.layer, draw_state(n, rng)) for n in graph.neurons]
    return {state_key(layer, name): values for layer, state in states for name, values in state.items()}


def draw_state(node: Node, rng: np.random.Generator, rows: int = 1) -> State:
    """Make random state variables of a neuron layer, [rows, ...] float32, from below their start to the threshold.

    If the layer compares with something other than a number, or if the threshold is below the start, the range ends
    as far above the start.
    """
    top = float(node.attrs["v_threshold"])
    state = {}
    for name, start in node.initial.items():
        span = abs(top - start) or 1.0
        high = top if start < top else start + span
        state[name] = rng.uniform(start - 0.5 * span, high, (rows, *node.shape)).astype(np.float32)
    return state
