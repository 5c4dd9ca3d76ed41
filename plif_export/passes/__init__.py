"""Passes: graph -> graph. Each file says what its pass requires and what it preserves.

`prepare` is the order in which an export runs them. To add a pass, write `passes/<name>.py` with one function
graph -> graph and put it where it belongs in `prepare`.
"""

from __future__ import annotations

from collections.abc import Callable

from plif_export.passes.cast_half import cast_half
from plif_export.passes.drop_dropout import drop_dropout
from plif_export.passes.fold_batchnorm import fold_batchnorm
from plif_export.passes.fold_tau import fold_tau
from plif_export.passes.hoist_static_input import hoist_static_input
from plif_export.passes.quantize_weights import quantize_weights
from runtime.base.errors import PlifError
from runtime.model.graph import Graph

MATHS = ("exact", "folded")
PRECISIONS: dict[str, Callable[[Graph], Graph]] = {
    "fp32": lambda graph: graph,
    "fp16": cast_half,
    "int8": quantize_weights,
}


def prepare(graph: Graph, math: str, static: bool, precision: str = "fp32") -> Graph:
    """A graph as it was read -> the graph that is written, without dropout and batch normalisation.

    math       "folded" moves tau into the weights, "exact" leaves it
    static     the input is one image for all time-steps: what depends on it alone is marked
    precision  "fp16" and "int8" round the weights of layers that read spikes
    """
    if math not in MATHS:
        raise PlifError(f"math '{math}': expected one of {', '.join(MATHS)}")
    if precision not in PRECISIONS:
        raise PlifError(f"precision '{precision}': expected one of {', '.join(PRECISIONS)}")
    graph = fold_batchnorm(drop_dropout(graph))
    if math == "folded":
        graph = fold_tau(graph)
    graph = PRECISIONS[precision](graph)
    return hoist_static_input(graph) if static else graph


__all__ = [
    "MATHS",
    "PRECISIONS",
    "cast_half",
    "drop_dropout",
    "fold_batchnorm",
    "fold_tau",
    "hoist_static_input",
    "prepare",
    "quantize_weights",
]
