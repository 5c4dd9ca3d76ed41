"""drop_dropout: removes dropout, which is the identity after training.

Requires nothing. Preserves every value exactly.
"""

from __future__ import annotations

from runtime.model.graph import Graph


def drop_dropout(graph: Graph) -> Graph:
    return graph.rewrite({}, {node.name for node in graph if node.op == "Dropout"})
