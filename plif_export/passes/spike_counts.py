"""What a layer reads: spikes, whole counts of them, or values that only float32 holds.

Spikes are exactly 0 or 1, and much that is done to them keeps them whole numbers: max-pooling and flattening leave them as
they are, adding and concatenating layers gives counts, average pooling counts over its area. Such inputs lose nothing in
int8 or float16, so their layers' weights are all that a reduced precision rounds. The input of the network is not among
them: event counts have no upper bound and images are no whole numbers, so what reads it stays in float32.

This is not a pass: quantize_weights and cast_half use it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from runtime.model.graph import Graph, Node, spatial

# Above this, sums of two products of a count and an 8-bit weight (255 * 64 * 2) leave the int16 in which x86 processors
# without VNNI form them.
MOST = 64


@dataclass(frozen=True)
class Counts:
    """A value is k / area with whole k, 0 <= k <= most."""

    most: int = 1
    area: int = 1


def spike_counts(graph: Graph) -> dict[str, Counts]:
    """The values of a graph that are spikes or counts, by node name; others are absent."""
    found: dict[str, Counts] = {}
    for node in graph:
        inputs = [found.get(name) for name in node.inputs]
        fires = node.op == "Neuron" and node.values == "spikes"
        made = Counts() if fires else _after(graph, node, [c for c in inputs if c is not None])
        if made is not None and made.most <= MOST and (fires or None not in inputs):
            found[node.name] = made
    return found


def _after(graph: Graph, node: Node, inputs: list[Counts]) -> Counts | None:
    if not inputs or node.op == "Neuron":  # what a neuron gives that is no spike, no count tells
        return None
    first = inputs[0]
    if node.op in ("MaxPool", "Flatten", "Dropout", "Reshape", "Permute", "Slice"):
        return first
    if node.op == "Affine":  # 1 - s, with which SEW-ResNet joins by "and not"
        negated = np.all(node.params["scale"] == -1) and np.all(node.params["shift"] == 1)
        return first if negated and first == Counts() else None
    if node.op == "AvgPool":
        size = prod(spatial(node.attrs["kernel"], len(node.shape) - 1))
        return Counts(first.most * size, first.area * size)
    if node.op == "GlobalAvgPool":
        size = prod(graph[node.inputs[0]].shape[1:])
        return Counts(first.most * size, first.area * size)
    if node.op == "Mul":
        return Counts(prod(c.most for c in inputs), prod(c.area for c in inputs))
    if any(c.area != first.area for c in inputs):
        return None
    if node.op == "Add":
        return Counts(sum(c.most for c in inputs), first.area)
    if node.op == "Concat":
        return Counts(max(c.most for c in inputs), first.area)
    return None
