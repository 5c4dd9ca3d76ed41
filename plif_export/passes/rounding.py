"""Passes that round the weights of layers which read spikes, counts of them, or averages; the rest stays in float32.

Spikes are exactly 0 or 1, and much that is done to them keeps them whole numbers: max-pooling and flattening leave them as
they are, adding and concatenating layers gives counts, average pooling counts over its area. Such inputs lose nothing in
int8 or float16, so their layers' weights are all that a reduced precision rounds. The input of the network is not among
them: event counts have no upper bound and images are no whole numbers, so what reads it stays in float32, as do bias, scale,
membranes and neurons.

Both require batch normalisation and tau folded before, so that what is rounded is what is multiplied.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from runtime.base.errors import PlifError
from runtime.model.graph import Graph, Node
from runtime.model.ops import OPERATIONS
from runtime.model.ops.operation import Counts

MOST_WEIGHT = 127
RATIOS = np.linspace(1.0, 0.8, 21, dtype=np.float32)  # 0.7 was never the best of any channel seen
SMALLEST = np.float32(np.finfo(np.float32).tiny) * 127  # a channel below this is zero: its scale would be subnormal


# Above this, sums of two products of a count and an 8-bit weight (255 * 64 * 2) leave the int16 in which x86 processors
# without VNNI form them.
MOST = 64


def spike_counts(graph: Graph) -> dict[str, Counts]:
    """The values of a graph that are spikes or counts, by node name; others are absent."""
    found: dict[str, Counts] = {}
    shapes = graph.shapes
    for node in graph:
        inputs = [found[name] for name in node.inputs if name in found]
        made = None
        if node.op == "Neuron":  # what one gives that is no spike, no count tells
            made = Counts() if node.values == "spikes" else None
        elif inputs and len(inputs) == len(node.inputs):
            made = OPERATIONS[node.op].counts(node, [shapes[name] for name in node.inputs], inputs)
        if made is not None and made.most <= MOST:
            found[node.name] = made
    return found


def _reduced(graph: Graph, reduce: Callable[[Node, int], Node]) -> Graph:
    """The graph with each Conv and Linear that reads counts reduced; the number is the area of its counts."""
    counts = spike_counts(graph)
    found = [node for node in graph if node.op in ("Conv", "Linear") and node.inputs[0] in counts]
    return graph.rewrite({node.name: reduce(node, counts[node.inputs[0]].area) for node in found})


def cast_half(graph: Graph) -> Graph:
    """float16 weights, where counts are averages of 1, 2, 4, 8, ...

        x = float32(sum W16 s) + b

    These inputs are exact in float16; the sum is float32 on every engine that we know (tensor cores, TensorRT, and ONNX Runtime
    on a CPU, which computes float16 convolutions in float32); engines with float16 kernels round it once to float16 on its way
    out. Preserves each weight within a relative 2^-11, those below 2^-14 within 2^-25; refuses weights beyond float16's range.
    """

    def reduce(node: Node, area: int) -> Node:
        if area & (area - 1):  # no float16 is a third
            return node
        with np.errstate(over="ignore"):
            weight = node.params["weight"].astype(np.float16)
        if not np.isfinite(weight).all():
            raise PlifError(f"layer {node.name}: a weight is beyond the range of fp16 (65504); use fp32 or int8")
        return node.with_(params={**node.params, "weight": weight})

    return _reduced(graph, reduce)


def quantize_weights(graph: Graph) -> Graph:
    """int8 weights, one scale for each output channel.

        W8 = round(W / scale) in -127 .. 127
        x = float32(sum W8 k) * scale + b           the sum is whole numbers, exact in any order

    The scale is the one of RATIOS * max |W| / 127 over the channel with the least squared error of its weights: cutting off the
    largest few a little makes all steps finer. No calibration: spikes are whole numbers, so rounding of weights is the only
    loss. Preserves weights within half a scale, but for those that are cut off; the interpreter runs the same whole-number sums.
    """

    def reduce(node: Node, area: int) -> Node:
        weight, scale = quantized(node.params["weight"], node.name)
        attrs = node.attrs if area == 1 else {**node.attrs, "area": area}
        return node.with_(attrs=attrs, params={**node.params, "weight": weight, "scale": scale})

    return _reduced(graph, reduce)


def quantized(weight: np.ndarray, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Float weights [O, ...] -> int8 [O, ...] and float32 scale [O]."""
    flat = weight.reshape(len(weight), -1)
    if not np.isfinite(flat).all():
        raise PlifError(f"layer {where}: a weight is not a finite number, which int8 cannot hold; train it again")
    largest = np.abs(flat).max(axis=1, initial=0)
    usual = np.where(largest >= SMALLEST, largest / np.float32(MOST_WEIGHT), np.float32(1)).astype(np.float32)
    scale = np.array([_best(row, step) for row, step in zip(flat, usual, strict=True)], np.float32)
    return _rounded(flat, scale[:, None]).astype(np.int8).reshape(weight.shape), scale


def _best(row: np.ndarray, usual: np.float32) -> float:
    """The scale of one channel [n]; the usual one, max |W| / 127, among equals."""
    scales = usual * RATIOS
    errors = [float(np.square(_rounded(row, scale) * scale - row, dtype=np.float64).sum()) for scale in scales]
    return float(scales[int(np.argmin(errors))])


def _rounded(weight: np.ndarray, scale: np.ndarray | np.float32) -> np.ndarray:
    """Whole numbers, still in float32."""
    return np.rint(weight / scale).clip(-MOST_WEIGHT, MOST_WEIGHT)
