"""hoist_static_input: marks what depends on a static image alone, so that the unrolled form computes it once, not T times.

The authors' code does the same: the first convolution and its batch normalisation run once per image, and the constant
current feeds the first neurons at all T steps (their `static_conv`).

Requires a graph whose input does not change over time. Preserves every value exactly.
"""

from __future__ import annotations

from dataclasses import replace

from runtime.model.graph import Graph


def hoist_static_input(graph: Graph) -> Graph:
    still = {graph.input}
    for node in graph:
        if node.op not in ("Neuron", "State") and all(name in still for name in node.inputs):
            still.add(node.name)
    return replace(graph, hoisted=frozenset(still - {graph.input}))
