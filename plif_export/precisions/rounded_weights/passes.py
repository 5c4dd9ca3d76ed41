"""The passes that round the weights of layers which read spikes, counts of them, or averages.

All other layers stay in float32. Spikes are exactly 0 or 1, and many operations keep them whole numbers: max-pooling
and flattening leave them as they are, adding and concatenating layers gives counts, average pooling counts over its
area. Such inputs lose nothing in int8 or float16, so a reduced precision rounds only their layers' weights. The input
of the network is not among them: event counts have no upper bound and images are no whole numbers, so its readers
stay in float32, as do bias, scale, membranes and neurons.

Both passes require batch normalisation and tau folded before, so that the rounded weights are the multiplied ones.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from plif_export.precisions.rounded_weights.whole_numbers import SMALLEST, find_grid, find_row_grid
from runtime.core.base.errors import PlifError
from runtime.core.model.graph import Graph, Node
from runtime.core.model.grids import GRIDS, Grid, count_bits
from runtime.core.model.ops import OPERATIONS
from runtime.core.model.ops.operation import Counts

STEPS = 21  # candidate scales
# Above this, sums of two products of a count and an 8-bit weight (255 * 64 * 2) leave the int16 in which x86 processors
# without VNNI form them.
MOST = 64


def find_spike_counts(graph: Graph) -> dict[str, Counts]:
    """Return for each graph node that outputs spikes, or averages of them, their counts, {node name: Counts}."""
    counts: dict[str, Counts] = {}
    shapes = graph.shapes
    for node in graph:
        inputs = [counts[name] for name in node.inputs if name in counts]
        output = None
        if node.op == "Neuron":  # a graded output is no count
            output = Counts() if node.values == "spikes" else None
        elif inputs and len(inputs) == len(node.inputs):
            output = OPERATIONS[node.op].counts(node, [shapes[name] for name in node.inputs], inputs)
        if output is not None and output.most <= MOST:
            counts[node.name] = output
    return counts


def _rewrite_counted(graph: Graph, reduce: Callable[[Node, int], Node]) -> Graph:
    """Rewrite each Conv and Linear layer that reads spikes or averages of spikes, by the function `reduce`."""
    counts = find_spike_counts(graph)
    nodes = [node for node in graph if node.op in ("Conv", "Linear") and node.inputs[0] in counts]
    return graph.replace_nodes({node.name: reduce(node, counts[node.inputs[0]].area) for node in nodes})


def cast_half(graph: Graph) -> Graph:
    """Cast the weights of layers that read spikes to float16, except behind averages of 3, 5, 6, ... values.

        x = float32(sum W16 s) + b

    These inputs are exact in float16. The sum is float32 on every engine that we know (tensor cores, TensorRT, and
    ONNX Runtime on a CPU, which computes float16 convolutions in float32); engines with float16 kernels round it once
    to float16 at the output. Preserves each weight within a relative 2^-11, those below 2^-14 within 2^-25; refuses
    weights beyond float16's range.
    """

    def reduce(node: Node, area: int) -> Node:
        if area & (area - 1):  # 1/3 is no float16
            return node
        with np.errstate(over="ignore"):
            weight = node.params["weight"].astype(np.float16)
        if not np.isfinite(weight).all():
            raise PlifError(f"layer {node.name}: a weight is beyond the range of fp16 (65504); use fp32 or int8")
        return node.with_(params={**node.params, "weight": weight})

    return _rewrite_counted(graph, reduce)


def quantize_weights(graph: Graph, grid: Grid) -> Graph:
    """Quantize the weights of layers that read spikes to integers, with one scale for each output channel.

        Wk = round(W / scale) in -most .. most
        x = float32(sum Wk k) * scale + b           the sum is whole numbers, exact in any order

    A channel that is on such a grid already (runtime/core/model/grids.py) keeps its numbers and its scale. For any
    other, the scale is the one of STEPS between grid.lowest and 1 times max |W| / most with the least squared error
    of its weights: clipping the largest few a little makes all steps finer. No calibration: spikes are whole numbers,
    so rounding of weights is the only loss. Preserves weights within half a scale, except those that are clipped; the
    interpreter runs the same whole-number sums. The attribute "bits" is set if fewer than 8 bits hold a layer's
    numbers.
    """

    def reduce(node: Node, area: int) -> Node:
        weight, scale = quantize_array(node.params["weight"], node.name, grid)
        new_attrs = {"area": area} if area != 1 else {}
        if (bits := count_bits(weight)) < 8:
            new_attrs["bits"] = bits
        return node.with_(attrs={**node.attrs, **new_attrs}, params={**node.params, "weight": weight, "scale": scale})

    return _rewrite_counted(graph, reduce)


def quantize_array(weight: np.ndarray, layer: str, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Quantize float weights [O, ...] to int8 [O, ...] and a float32 scale [O]."""
    flat = weight.reshape(len(weight), -1)
    if not np.isfinite(flat).all():
        raise PlifError(
            f"layer {layer}: a weight is not a finite number, which {grid.name} cannot hold; train it again"
        )
    if (on_grid := find_grid(weight, grid.bits)) is not None:
        return on_grid[0], np.broadcast_to(on_grid[1], len(weight)).copy()
    rows = [find_row_grid(row, grid.bits) or _quantize_channel(row, grid) for row in flat]
    return np.stack([integers for integers, _ in rows]).reshape(weight.shape), np.array(
        [scale for _, scale in rows], np.float32
    )


def _quantize_channel(row: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.float32]:
    """Quantize one channel's weights [n] to int8 [n], with the scale that gives the least squared error.

    Among equals it is the largest scale, max |W| / most.
    """
    largest = np.abs(row).max(initial=0)
    largest_scale = largest / np.float32(grid.max_level) if largest >= SMALLEST else np.float32(1)
    scales = np.float32(largest_scale) * np.linspace(1.0, grid.lowest, STEPS, dtype=np.float32)
    errors = [
        float(np.square(_round_to_grid(row, scale, grid.max_level) * scale - row, dtype=np.float64).sum())
        for scale in scales
    ]
    scale = scales[int(np.argmin(errors))]
    return _round_to_grid(row, scale, grid.max_level).astype(np.int8), scale


def _round_to_grid(weight: np.ndarray, scale: np.float32, most: int) -> np.ndarray:
    """Round weights divided by their scale to whole numbers, still in float32."""
    return np.rint(weight / scale).clip(-most, most)


PASSES: dict[str, Callable[[Graph], Graph]] = {
    "fp16": cast_half,
    **{name: partial(quantize_weights, grid=grid) for name, grid in GRIDS.items()},
}
