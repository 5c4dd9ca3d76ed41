"""Passes: graph -> graph. Each file says what its pass requires and what it preserves.

`prepare` is the order in which an export runs them. To add a pass, write `passes/<name>.py` with one function
graph -> graph and put it where it belongs in `prepare`.
"""

from __future__ import annotations

from plif_export.passes.drop_dropout import drop_dropout
from plif_export.passes.fold_batchnorm import fold_batchnorm
from plif_export.passes.fold_tau import fold_tau
from plif_export.passes.hoist_static_input import hoist_static_input
from runtime.errors import PlifError
from runtime.graph import Graph

MATHS = ("exact", "folded")


def prepare(graph: Graph, math: str, static: bool) -> Graph:
    """A graph as read -> a graph as it is written: no dropout, no batch normalisation, tau folded where asked."""
    if math not in MATHS:
        raise PlifError(f"math '{math}': expected one of {', '.join(MATHS)}")
    graph = fold_batchnorm(drop_dropout(graph))
    if math == "folded":
        graph = fold_tau(graph)
    return hoist_static_input(graph) if static else graph


__all__ = ["MATHS", "drop_dropout", "fold_batchnorm", "fold_tau", "hoist_static_input", "prepare"]
