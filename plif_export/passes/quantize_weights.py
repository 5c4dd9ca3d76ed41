"""quantize_weights: int8 weights, one scale for each output channel, where a layer reads spikes or counts of them.

    W8 = round(W / scale) in -127 .. 127
    x = float32(sum W8 k) * scale + b           the sum is whole numbers, exact in any order

The scale is the one of RATIOS * max |W| / 127 over the channel with the least squared error of its weights: cutting off the
largest few a little makes all steps finer. No calibration: spikes are whole numbers, so rounding of weights is the only
loss. Layers that read anything else (the first, mostly) stay in float32, as do bias, scale and neurons.

Requires batch normalisation and tau folded before, so that what is rounded is what is multiplied.
Preserves weights within half a scale, but for those that are cut off; the interpreter runs the same whole-number sums.
"""

from __future__ import annotations

import numpy as np

from plif_export.passes.spike_counts import spike_counts
from runtime.base.errors import PlifError
from runtime.model.graph import Graph, Node

MOST_WEIGHT = 127
RATIOS = np.linspace(1.0, 0.8, 21, dtype=np.float32)  # 0.7 was never the best of any channel seen
SMALLEST = np.float32(np.finfo(np.float32).tiny) * 127  # a channel below this is zero: its scale would be subnormal


def quantize_weights(graph: Graph) -> Graph:
    counts = spike_counts(graph)
    changed: dict[str, Node] = {}
    for node in graph:
        if node.op not in ("Conv", "Linear") or node.inputs[0] not in counts:
            continue
        weight, scale = quantized(node.params["weight"], node.name)
        area = counts[node.inputs[0]].area
        attrs = dict(node.attrs) if area == 1 else {**node.attrs, "area": area}
        changed[node.name] = node.with_(attrs=attrs, params={**node.params, "weight": weight, "scale": scale})
    return graph.rewrite(changed)


def quantized(weight: np.ndarray, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Float weights [O, ...] -> int8 [O, ...] and float32 scale [O]."""
    flat = weight.reshape(len(weight), -1)
    if not np.isfinite(flat).all():
        raise PlifError(f"layer {where}: a weight is not a finite number, which int8 cannot hold; train it again")
    largest = np.abs(flat).max(axis=1, initial=0)
    usual = np.where(largest >= SMALLEST, largest / np.float32(MOST_WEIGHT), np.float32(1)).astype(np.float32)
    scale = np.array([_best(row, step) for row, step in zip(flat, usual, strict=True)], np.float32)
    return _rounded(flat, scale[:, None]).astype(np.int8).reshape(weight.shape), scale


def _best(row: np.ndarray, usual: np.float32) -> np.float32:
    """The scale of one channel [n]; the usual one, max |W| / 127, among equals."""
    scales = usual * RATIOS
    errors = [float(np.square(_rounded(row, scale) * scale - row, dtype=np.float64).sum()) for scale in scales]
    return scales[int(np.argmin(errors))]


def _rounded(weight: np.ndarray, scale: np.ndarray | np.float32) -> np.ndarray:
    """Whole numbers, still in float32."""
    return np.rint(weight / scale).clip(-MOST_WEIGHT, MOST_WEIGHT)
