"""cast_half: float16 weights where a layer reads spikes, counts of them, or averages of 2, 4, 8, ...

    x = float32(sum W16 s) + b

These inputs are exact in float16; the sum is float32 on every engine that we know (tensor cores, TensorRT, and ONNX Runtime on a
CPU, which computes float16 convolutions in float32); engines with float16 kernels round it once to float16 on its way out.
Bias, membranes and neurons stay in float32, as do layers that read anything else than spikes (the first, mostly).

Requires batch normalisation and tau folded before, so that what is rounded is what is multiplied.
Preserves each weight within a relative 2^-11; refuses weights beyond float16's range.
"""

from __future__ import annotations

import numpy as np

from plif_export.passes.spike_counts import spike_counts
from runtime.base.errors import PlifError
from runtime.model.graph import Graph, Node


def cast_half(graph: Graph) -> Graph:
    counts = spike_counts(graph)
    changed: dict[str, Node] = {}
    for node in graph:
        if node.op not in ("Conv", "Linear") or node.inputs[0] not in counts:
            continue
        area = counts[node.inputs[0]].area
        if area & (area - 1) == 0:  # no float16 is a third
            with np.errstate(over="ignore"):
                weight = node.params["weight"].astype(np.float16)
            if not np.isfinite(weight).all():
                raise PlifError(f"layer {node.name}: a weight is beyond the range of fp16 (65504); use fp32 or int8")
            changed[node.name] = node.with_(params={**node.params, "weight": weight})
    return graph.rewrite(changed)
