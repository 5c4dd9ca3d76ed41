"""What a layer reads: spikes, whole counts of them, or values that only float32 holds.

Spikes are exactly 0 or 1, and much that is done to them keeps them whole numbers: max-pooling and flattening leave them as
they are, adding and concatenating layers gives counts, average pooling counts over its area. Such inputs lose nothing in
int8 or float16, so their layers' weights are all that a reduced precision rounds. The input of the network is not among
them: event counts have no upper bound and images are no whole numbers, so what reads it stays in float32.

This is not a pass: quantize_weights and cast_half use it.
"""

from __future__ import annotations

from runtime.model.graph import Graph
from runtime.model.ops import OPERATIONS
from runtime.model.ops.operation import Counts

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
