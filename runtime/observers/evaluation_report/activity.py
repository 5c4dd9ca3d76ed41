"""What every neuron and every synapse of a network does on a data set: spikes, silence, operations.

The spikes of all layers, and what each layer with weights reads, become outputs of the artifact's own graph, and ONNX Runtime
runs it step by step; nothing is modelled twice. So this takes an ONNX artifact in the step form, whatever engine evaluates.

    rate r        of a neuron: the share of steps in which it fired;  of a channel or a layer: the mean over its neurons
    dead          r = 0: it fired in no step of any sample
    saturated     r >= 0.95: it fires almost always, and says almost nothing
    bias-driven   it fires in T steps from reset without any input: what it says then is its bias, or that of layers before it
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from runtime import native
from runtime.core.base.errors import MissingExtra, PlifError
from runtime.core.engines.tensors import spiking_layers
from runtime.core.model.artifacts import kind_of
from runtime.core.model.card import Card, read_card
from runtime.core.model.graph import spikes, state_in, state_out
from runtime.core.model.readers.onnx_contents import read_step
from runtime.core.model.readers.onnx_wire import GRAPH_OUTPUT, MODEL_GRAPH, put, put_node, runnable
from runtime.core.model.records import NodeRecord
from runtime.observers.evaluation_report.synops import (
    ENERGY_SOURCE,
    LayerOps,
    input_shape,
    layer_ops,
    not_counted,
    synaptic_layers,
)

SATURATED = 0.95


@dataclass(frozen=True)
class LayerActivity:
    """One layer of neurons.

    shape, rate        of the layer; the mean over neurons, steps and samples
    channels           the rate of each channel (of each neuron where it has no map), float64 [C]
    dead, saturated, bias_driven   how many of its neurons are
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
    """Of `samples` samples and `steps` time-steps together. Operations are per sample; not_counted names what multiplies too."""

    samples: int
    steps: int
    layers: list[LayerActivity]
    operations: list[LayerOps]
    not_counted: list[str]

    @property
    def synops(self) -> float:
        """Effective operations per sample, MACs and ACs together."""
        return sum(ops.effective for ops in self.operations)

    @property
    def nanojoules(self) -> float:
        """Per sample, an estimate of the arithmetic."""
        return sum(ops.picojoules for ops in self.operations) / 1e3

    @property
    def dense_nanojoules(self) -> float:
        """The same if nothing were zero."""
        return sum(ops.dense_picojoules for ops in self.operations) / 1e3

    def to_dict(self) -> dict[str, object]:
        """As activity.json has it; energies in nanojoules per sample, an estimate."""
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
    """The activity of an ONNX artifact in the step form over samples, each from reset.

    samples  float32 [T, C, H, W] of each recording, or still images [C, H, W]
    Raises PlifError for another artifact, and where there is no sample.
    """
    path = Path(path)
    card = read_card(path)
    if (why := why_not(path, card)) is not None:
        raise PlifError(f"{path}: {why}")
    network = _Tapped(path, card, threads)
    T, static = int(card["T"]), card["input"]["kind"] == "static"
    count = steps = 0
    for sample in samples:
        network.run([sample] * T if static else sample)
        count, steps = count + 1, steps + (T if static else len(sample))
        if progress:
            progress(count)
    if not steps:
        raise PlifError(f"{path}: no sample, so nothing is known of its neurons")
    operations = layer_ops(card, path, network.arrived, network.binary, count, steps)
    fired, network.fired = network.fired, {layer: np.zeros_like(n) for layer, n in network.fired.items()}
    network.run(np.zeros((T, *card["input"]["shape"]), np.float32))
    layers = [_layer(layer, fired[layer], network.fired[layer], steps) for layer in fired]
    return Activity(count, steps, layers, operations, not_counted(card))


def synops(path: str | Path, card: Card, samples: Iterable[np.ndarray]) -> float | None:
    """Effective synaptic operations of each of the samples, float32 [T, C, H, W] or [C, H, W]; None where they are not known."""
    return measure_activity(path, samples).synops if "graph" in card and why_not(Path(path), card) is None else None


def watch_layer(path: str | Path, layer: str, samples: np.ndarray) -> np.ndarray:
    """The spikes bool [T, N, ...] of one layer of an ONNX artifact in the step form.

    samples  float32 [N, T, C, H, W], each from reset, or still images [N, C, H, W]
    Raises PlifError for another artifact.
    """
    path = Path(path)
    card = read_card(path)
    if (why := why_not(path, card)) is not None:
        raise PlifError(f"{path}: {why}")
    network, T = _Tapped(path, card, None), int(card["T"])
    seen: list[np.ndarray] = []  # of all samples, one step after the other
    for sample in samples:
        frames = [sample] * T if card["input"]["kind"] == "static" else sample
        network.run(frames, lambda name, fired: seen.append(fired) if name == layer else None)
    return np.swapaxes(np.stack(seen).reshape(len(samples), -1, *seen[0].shape), 0, 1)


def why_not(path: Path, card: Card) -> str | None:
    """Why the activity of an artifact cannot be measured; None where it can."""
    if kind_of(path).name != "onnx":
        return "is no ONNX artifact, in which neurons can be watched one by one; export it to .onnx"
    if card["form"] != "step":
        return "is unrolled; neurons are watched one by one in the step form"
    return None


def _layer(layer: str, fired: np.ndarray, silent: np.ndarray, steps: int) -> LayerActivity:
    """fired, silent  int64 [...] of the layer's shape: in how many steps each neuron fired, and did so without input"""
    rate = fired / steps
    others = tuple(range(1, fired.ndim))
    return LayerActivity(
        layer=layer,
        shape=list(fired.shape),
        neurons=fired.size,
        rate=float(rate.mean()),
        dead=int((fired == 0).sum()),
        saturated=int((rate >= SATURATED).sum()),
        bias_driven=int((silent > 0).sum()),
        channels=[float(r) for r in (rate.mean(others) if others else rate)],
    )


class _Tapped:
    """The artifact with more outputs, and what came out of them so far.

    fired    {layer: int64 [...] of its shape, how often each neuron fired}
    arrived  {synaptic node: int64 [...] of its input's shape, how often each element was not zero}
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
        nodes = synaptic_layers(card)
        self.arrived = {node["name"]: np.zeros(input_shape(card, node), np.int64) for node in nodes}
        self.binary = {node["name"]: True for node in nodes}
        by_name = {node["name"]: node for node in card["graph"]["nodes"]}
        taps = {f"tap.s.{layer}": spikes(layer) for layer in self.fired}
        taps |= {f"tap.x.{node['name']}": _tensor(node["inputs"][0], by_name) for node in nodes}
        self._outputs = [*taps, *(state["output"] for state in card["states"])]
        try:
            model = runnable(_with_taps(read_step(path), taps), ort.__version__)
            settings = cpu_settings(threads or 1, flush=False)
            with native.flushing(False):
                self._session = ort.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises a family of its own
            reason = " ".join(str(error).split())[:200]
            raise PlifError(f"{path}: ONNX Runtime cannot watch its neurons ({reason})") from None

    def run(
        self, frames: Iterable[np.ndarray], each: Callable[[str, np.ndarray], object] = lambda layer, fired: None
    ) -> None:
        """Steps through frames float32 [C, H, W] from reset. In a fixed batch all rows get the same frame.

        `each` is called with every layer and its spikes, bool [...] of its shape, in every step.
        """
        states = {
            state["input"]: np.full((self.rows, *state["shape"]), state["initial"], np.float32)
            for state in self.card["states"]
        }
        for frame in frames:
            x = np.repeat(np.asarray(frame, np.float32)[None], self.rows, 0)
            with native.flushing(False):
                values = self._session.run(self._outputs, {self.card["graph"]["input"]: x, **states})
            found = iter(values)
            for layer, count in self.fired.items():
                fired = next(found)[0] != 0
                count += fired
                each(layer, fired)
            for name, arrived in self.arrived.items():
                value = next(found)[0]
                arrived += value != 0
                self.binary[name] = self.binary[name] and bool(np.isin(value, (-1, 0, 1)).all())
            states = {state["input"]: value for state, value in zip(self.card["states"], found, strict=True)}


def _tensor(name: str, nodes: dict[str, NodeRecord]) -> str:
    """The tensor of an ONNX file that holds the value of a node, or of the graph's input."""
    node = nodes.get(name)
    if node is not None and node["op"] == "Neuron":
        return spikes(node["attrs"]["layer"])
    if node is not None and node["op"] == "State":
        tensor = state_in if node["attrs"]["when"] == "before" else state_out
        return tensor(node["attrs"]["layer"], node["attrs"]["variable"])
    return name


def _with_taps(model: bytes, taps: Mapping[str, str]) -> bytes:
    """The model with one more output for each of `taps`, {output name: tensor name}: the value of that tensor."""
    graph = b""
    for output, tensor in taps.items():
        graph += put_node("Identity", [tensor], output)
        graph += put(GRAPH_OUTPUT, put(1, output.encode()))
    return model + put(MODEL_GRAPH, graph)
