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
from functools import partial

import numpy as np

from plif_export.precisions.rounded_weights.whole_numbers import SMALLEST, find_grid, grid_of_row
from runtime.core.base.errors import PlifError
from runtime.core.model.graph import Graph, Node
from runtime.core.model.grids import GRIDS, Grid, bits_of
from runtime.core.model.ops import OPERATIONS
from runtime.core.model.ops.operation import Counts

STEPS = 21  # scales that are tried
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


def quantize_weights(graph: Graph, grid: Grid) -> Graph:
    """Weights of whole numbers, one scale for each output channel.

        Wk = round(W / scale) in -most .. most
        x = float32(sum Wk k) * scale + b           the sum is whole numbers, exact in any order

    A channel that lies on such a grid already (runtime/core/model/grids.py) keeps its numbers and its scale. Of any other the
    scale is that of STEPS between grid.lowest and 1 times max |W| / most with the least squared error of its weights: cutting off
    the largest few a little makes all steps finer. No calibration: spikes are whole numbers, so rounding of weights is the only
    loss. Preserves weights within half a scale, but for those that are cut off; the interpreter runs the same whole-number sums.
    The attribute "bits" says of a layer that fewer than 8 hold its numbers.
    """

    def reduce(node: Node, area: int) -> Node:
        weight, scale = quantized(node.params["weight"], node.name, grid)
        more = {"area": area} if area != 1 else {}
        if (bits := bits_of(weight)) < 8:
            more["bits"] = bits
        return node.with_(attrs={**node.attrs, **more}, params={**node.params, "weight": weight, "scale": scale})

    return _reduced(graph, reduce)


def quantized(weight: np.ndarray, where: str, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Float weights [O, ...] -> int8 [O, ...] and float32 scale [O]."""
    flat = weight.reshape(len(weight), -1)
    if not np.isfinite(flat).all():
        raise PlifError(
            f"layer {where}: a weight is not a finite number, which {grid.name} cannot hold; train it again"
        )
    if (found := find_grid(weight, grid.bits)) is not None:
        return found[0], np.broadcast_to(found[1], len(weight)).copy()
    rows = [grid_of_row(row, grid.bits) or _nearest(row, grid) for row in flat]
    return np.stack([whole for whole, _ in rows]).reshape(weight.shape), np.array(
        [scale for _, scale in rows], np.float32
    )


def _nearest(row: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.float32]:
    """One channel [n] -> int8 [n] and its scale; the usual one, max |W| / most, among equals."""
    largest = np.abs(row).max(initial=0)
    usual = largest / np.float32(grid.most) if largest >= SMALLEST else np.float32(1)
    scales = np.float32(usual) * np.linspace(1.0, grid.lowest, STEPS, dtype=np.float32)
    errors = [
        float(np.square(_rounded(row, scale, grid.most) * scale - row, dtype=np.float64).sum()) for scale in scales
    ]
    scale = scales[int(np.argmin(errors))]
    return _rounded(row, scale, grid.most).astype(np.int8), scale


def _rounded(weight: np.ndarray, scale: np.float32, most: int) -> np.ndarray:
    """Whole numbers, still in float32."""
    return np.rint(weight / scale).clip(-most, most)


PASSES: dict[str, Callable[[Graph], Graph]] = {
    "fp16": cast_half,
    **{name: partial(quantize_weights, grid=grid) for name, grid in GRIDS.items()},
}
