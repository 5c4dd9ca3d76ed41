"""Passes: graph -> graph. Each says what it requires and what it preserves.

`prepare` is the order in which an export runs them. To add a pass, write a function graph -> graph beside those in folding.py or
rounding.py, and put it where it belongs in `prepare`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from plif_export.passes.folding import drop_dropout, fold_batchnorm, fold_tau, hoist_static_input
from plif_export.passes.rounding import cast_half, quantize_weights
from runtime.base.errors import PlifError
from runtime.model.graph import Graph
from runtime.model.grids import GRIDS

MATHS = ("exact", "folded")
PRECISIONS: dict[str, Callable[[Graph], Graph]] = {
    "fp32": lambda graph: graph,
    "fp16": cast_half,
    **{name: partial(quantize_weights, grid=grid) for name, grid in GRIDS.items()},
}


def prepare(graph: Graph, math: str, static: bool, precision: str = "fp32") -> Graph:
    """A graph as it was read -> the graph that is written, without dropout and batch normalisation.

    math       "folded" moves tau into the weights, "exact" leaves it
    static     the input is one image for all time-steps: what depends on it alone is marked
    precision  "fp16" and those of GRIDS round the weights of layers that read spikes
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
