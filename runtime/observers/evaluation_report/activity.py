"""The activity of each neuron and synapse of a network on a data set: spikes, silent neurons, operations.

The spikes of all layers, and the input of each layer with weights, become outputs of the artifact's own graph, and
ONNX Runtime runs it step by step; nothing is modelled twice. This requires an ONNX artifact in the step form, for any
engine of the evaluation.

    rate r        of a neuron: the share of steps with a spike;  of a channel or a layer: the mean over its neurons
    dead          r = 0: no spike in any step of any sample
    saturated     r >= 0.95: the neuron fires almost always, and carries almost no information
    bias-driven   the neuron fires in T steps from reset without any input: its own bias or that of earlier layers
                  drives it
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from runtime import native
from runtime.core.base.errors import MissingExtra, PlifError
from runtime.core.engines.tensors import spiking_layers
from runtime.core.model.artifacts import detect_kind
from runtime.core.model.card import Card, read_card
from runtime.core.model.graph import spikes_name, state_input, state_output
from runtime.core.model.readers.onnx_contents import read_step_form
from runtime.core.model.readers.onnx_wire import GRAPH_OUTPUT, MODEL_GRAPH, adapt_types, encode_field, encode_node
from runtime.core.model.records import NodeRecord
from runtime.observers.evaluation_report.synops import (
    ENERGY_SOURCE,
    LayerOps,
    count_layer_ops,
    node_input_shape,
    synaptic_nodes,
    uncounted_nodes,
)

SATURATED = 0.95


@dataclass(frozen=True)
class LayerActivity:
    """The spiking activity of one layer of neurons on a data set: firing rates, dead and saturated neurons.

    shape, rate        of the layer; the mean over neurons, steps and samples
    channels           the rate of each channel (of each neuron in a layer without maps), float64 [C]
    dead, saturated, bias_driven   the number of such neurons
    """

    layer: str
    shape: list[int]
    neurons: int
    rate: float
    dead: int
    saturated: int
    bias_driven: int
    channels: list[float]


@dataclass(frozen=True)
class Activity:
    """The spiking activity of a network over `samples` samples with `steps` time-steps in all.

    Operations are per sample; not_counted names further nodes that multiply.
    """

    samples: int
    steps: int
    layers: list[LayerActivity]
    operations: list[LayerOps]
    not_counted: list[str]

    @property
    def synops(self) -> float:
        """The synaptic operations with nonzero operands (MACs and ACs together) per sample of a network."""
        return sum(ops.effective for ops in self.operations)

    @property
    def nanojoules(self) -> float:
        """An estimate of the network's arithmetic energy per sample, in nanojoules."""
        return sum(ops.picojoules for ops in self.operations) / 1e3

    @property
    def dense_nanojoules(self) -> float:
        """An estimate of the network's arithmetic energy per sample in nanojoules, if no value were zero."""
        return sum(ops.dense_picojoules for ops in self.operations) / 1e3

    def to_dict(self) -> dict[str, object]:
        """Return the network's spiking activity as the content of activity.json; energies are estimates per sample."""
        macs, acs = (sum(ops.effective for ops in self.operations if ops.kind == kind) for kind in ("MAC", "AC"))
        return {
            "samples": self.samples,
            "steps": self.steps,
            "layers": [asdict(layer) for layer in self.layers],
            "synaptic_operations": {
                "per": "sample",
                "effective_macs": macs,
                "effective_acs": acs,
                "dense": sum(ops.dense for ops in self.operations),
                "layers": [asdict(ops) for ops in self.operations],
                "not_counted": self.not_counted,
            },
            "energy_estimate": {
                "per": "sample",
                "nanojoules": self.nanojoules,
                "dense_nanojoules": self.dense_nanojoules,
                "source": ENERGY_SOURCE,
                "without": "memory, neurons, the sensor: an estimate of the arithmetic alone",
            },
        }


def measure_activity(
    path: str | Path,
    samples: Iterable[np.ndarray],
    *,
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Activity:
    """Measure the spiking activity of a one-step ONNX artifact over samples, each from the reset state.

    samples  float32 [T, C, H, W] of each recording, or still images [C, H, W]

    Raises PlifError for another artifact, and if there is no sample.
    """
    path = Path(path)
    card = read_card(path)
    if (reason := unsupported_reason(path, card)) is not None:
        raise PlifError(f"{path}: {reason}")
    network = _ProbedModel(path, card, threads)
    T, static = int(card["T"]), card["input"]["kind"] == "static"
    count = steps = 0
    for sample in samples:
        network.run([sample] * T if static else sample)
        count, steps = count + 1, steps + (T if static else len(sample))
        if progress:
            progress(count)
    if not steps:
        raise PlifError(f"{path}: no sample, so nothing is known of its neurons")
    operations = count_layer_ops(card, path, network.arrived, network.binary, count, steps)
    fired, network.fired = network.fired, {layer: np.zeros_like(n) for layer, n in network.fired.items()}
    network.run(np.zeros((T, *card["input"]["shape"]), np.float32))
    layers = [_layer_activity(layer, fired[layer], network.fired[layer], steps) for layer in fired]
    return Activity(count, steps, layers, operations, uncounted_nodes(card))


def count_synops(path: str | Path, card: Card, samples: Iterable[np.ndarray]) -> float | None:
    """Count an artifact's synaptic operations with nonzero operands per sample; return None if it cannot be done.

    samples are float32 [T, C, H, W] or [C, H, W].
    """
    return (
        measure_activity(path, samples).synops
        if "graph" in card and unsupported_reason(Path(path), card) is None
        else None
    )


def record_layer_spikes(path: str | Path, layer: str, samples: np.ndarray) -> np.ndarray:
    """Return the spikes, bool [T, N, ...], of one layer of a one-step ONNX artifact for N samples.

    samples  float32 [N, T, C, H, W], each from reset, or still images [N, C, H, W]

    Raises PlifError for another artifact.
    """
    path = Path(path)
    card = read_card(path)
    if (reason := unsupported_reason(path, card)) is not None:
        raise PlifError(f"{path}: {reason}")
    network, T = _ProbedModel(path, card, None), int(card["T"])
    steps: list[np.ndarray] = []  # the steps of all samples, one after the other
    for sample in samples:
        frames = [sample] * T if card["input"]["kind"] == "static" else sample
        network.run(frames, lambda name, fired: steps.append(fired) if name == layer else None)
    return np.swapaxes(np.stack(steps).reshape(len(samples), -1, *steps[0].shape), 0, 1)


def unsupported_reason(path: Path, card: Card) -> str | None:
    """Return the reason why the spiking activity of an artifact cannot be measured, or None if it can."""
    if detect_kind(path).name != "onnx":
        return "is no ONNX artifact, in which neurons can be watched one by one; export it to .onnx"
    if card["form"] != "step":
        return "is unrolled; neurons are watched one by one in the step form"
    return None


def _layer_activity(layer: str, fired: np.ndarray, silent: np.ndarray, steps: int) -> LayerActivity:
    """Return the activity of a layer of neurons, computed from its spike counts per neuron.

    fired, silent  int64 [...] of the layer's shape: the steps with a spike of each neuron, and those without input
    """
    rate = fired / steps
    spatial_axes = tuple(range(1, fired.ndim))
    return LayerActivity(
        layer=layer,
        shape=list(fired.shape),
        neurons=fired.size,
        rate=float(rate.mean()),
        dead=int((fired == 0).sum()),
        saturated=int((rate >= SATURATED).sum()),
        bias_driven=int((silent > 0).sum()),
        channels=[float(r) for r in (rate.mean(spatial_axes) if spatial_axes else rate)],
    )


class _ProbedModel:
    """An ONNX artifact with extra outputs for spikes and layer inputs, and the counts over these outputs so far.

    fired    {layer: int64 [...] of its shape, the spikes of each neuron}
    arrived  {synaptic node: int64 [...] of its input's shape, the steps in which each element was not zero}
    binary   {synaptic node: whether all elements were -1, 0 or 1}
    """

    def __init__(self, path: Path, card: Card, threads: int | None) -> None:
        try:
            import onnxruntime as ort

            from runtime.core.engines.onnxruntime import cpu_settings
        except ImportError:
            raise MissingExtra("what neurons and synapses do", "cpu") from None
        self.card, self.rows = card, card["batch"] or 1
        shapes = {state["layer"]: state["shape"] for state in reversed(card["states"])}
        self.fired = {layer: np.zeros(shapes[layer], np.int64) for layer in spiking_layers(card)}
        nodes = synaptic_nodes(card)
        self.arrived = {node["name"]: np.zeros(node_input_shape(card, node), np.int64) for node in nodes}
        self.binary = {node["name"]: True for node in nodes}
        by_name = {node["name"]: node for node in card["graph"]["nodes"]}
        taps = {f"tap.s.{layer}": spikes_name(layer) for layer in self.fired}
        taps |= {f"tap.x.{node['name']}": _tensor_name(node["inputs"][0], by_name) for node in nodes}
        self._outputs = [*taps, *(state["output"] for state in card["states"])]
        try:
            model = adapt_types(_add_outputs(read_step_form(path), taps), ort.__version__)
            settings = cpu_settings(threads or 1, flush=False)
            with native.flush_subnormals(False):
                self._session = ort.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has its own exception classes
            reason = " ".join(str(error).split())[:200]
            raise PlifError(f"{path}: ONNX Runtime cannot watch its neurons ({reason})") from None

    def run(
        self, frames: Iterable[np.ndarray], on_spikes: Callable[[str, np.ndarray], object] = lambda layer, fired: None
    ) -> None:
        """Run the artifact over the frames float32 [C, H, W] of one sample from reset, and count its spikes.

        In a fixed batch all rows get the same frame. `on_spikes` is called with each layer and its spikes, bool [...]
        of its shape, in each step.
        """
        states = {
            state["input"]: np.full((self.rows, *state["shape"]), state["initial"], np.float32)
            for state in self.card["states"]
        }
        for frame in frames:
            x = np.repeat(np.asarray(frame, np.float32)[None], self.rows, 0)
            with native.flush_subnormals(False):
                values = self._session.run(self._outputs, {self.card["graph"]["input"]: x, **states})
            outputs = iter(values)
            for layer, count in self.fired.items():
                fired = next(outputs)[0] != 0
                count += fired
                on_spikes(layer, fired)
            for name, arrived in self.arrived.items():
                value = next(outputs)[0]
                arrived += value != 0
                self.binary[name] = self.binary[name] and bool(np.isin(value, (-1, 0, 1)).all())
            states = {state["input"]: value for state, value in zip(self.card["states"], outputs, strict=True)}


def _tensor_name(name: str, nodes: dict[str, NodeRecord]) -> str:
    """Return the ONNX tensor name of a value in the card's graph: of a node, or of the graph's input."""
    node = nodes.get(name)
    if node is not None and node["op"] == "Neuron":
        return spikes_name(node["attrs"]["layer"])
    if node is not None and node["op"] == "State":
        tensor = state_input if node["attrs"]["when"] == "before" else state_output
        return tensor(node["attrs"]["layer"], node["attrs"]["variable"])
    return name


def _add_outputs(model: bytes, taps: Mapping[str, str]) -> bytes:
    """Return an ONNX model with an additional output for each tensor in `taps`, {output name: tensor name}."""
    graph = b""
    for output, tensor in taps.items():
        graph += encode_node("Identity", [tensor], output)
        graph += encode_field(GRAPH_OUTPUT, encode_field(1, output.encode()))
    return model + encode_field(MODEL_GRAPH, graph)
