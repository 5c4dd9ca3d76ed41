"""quantize_weights: int8 weights, one scale for each output channel, where a layer reads spikes or counts of them.

    W8 = round(W / scale) in -127 .. 127        scale = max |W| / 127 over an output channel
    x = float32(sum W8 k) * scale + b           the sum is whole numbers, exact in any order

No calibration: spikes are whole numbers, so rounding of weights is the only loss. Layers that read anything else (the first,
mostly) stay in float32, as do bias, scale and neurons.

Requires batch normalisation and tau folded before, so that what is rounded is what is multiplied.
Preserves each weight within half a scale; the interpreter runs the same whole-number sums.
"""

from __future__ import annotations

import numpy as np

from plif_export.passes.spike_counts import spike_counts
from runtime.errors import PlifError
from runtime.graph import Graph, Node

MOST_WEIGHT = 127
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
    top = np.abs(flat).max(axis=1, initial=0)
    scale = np.where(top >= SMALLEST, top / np.float32(MOST_WEIGHT), np.float32(1)).astype(np.float32)
    whole = np.rint(flat.astype(np.float64) / scale[:, None]).clip(-MOST_WEIGHT, MOST_WEIGHT)
    return whole.astype(np.int8).reshape(weight.shape), scale
