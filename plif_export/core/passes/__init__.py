"""Passes: graph -> graph. Each states its requirements and what it preserves.

`prepare` is the order in which an export runs them. To add a pass, write a function graph -> graph in folding.py, and
call it where it belongs in `prepare`. A precision of weights other than fp32 is a part, a folder in
plif_export/precisions: PASSES in its passes.py are {name: graph -> graph}, GIVES in its part.py names, for a dtype of
weights, the function that writes a layer as ONNX (`Emitter.emit_reduced`), and Flips in its flips.py is the gate's check
of it.
"""

from __future__ import annotations

from plif_export.core.passes.folding import drop_dropout, fold_batchnorm, fold_tau, hoist_static_input
from runtime.core.base.errors import PlifError
from runtime.core.model.graph import Graph
from runtime.core.parts import Part, find_part, find_parts, index_by_name

MATHS = ("exact", "folded")
PRECISIONS = ("fp32", *index_by_name(find_parts("precisions")))


def run_passes(graph: Graph, math: str, static: bool, precision: str = "fp32") -> Graph:
    """Run all transformations (passes) on a network graph as it was read, and return the graph to export.

    Dropout and batch normalisation are removed.

    math       "folded" moves tau into the weights, "exact" leaves it
    static     the input is one image for all time-steps: nodes that depend on it alone are marked
    precision  those of parts round the weights of layers that read spikes
    """
    if math not in MATHS:
        raise PlifError(f"math '{math}': expected one of {', '.join(MATHS)}")
    part = None if precision == "fp32" else precision_part(precision)
    graph = fold_batchnorm(drop_dropout(graph))
    if math == "folded":
        graph = fold_tau(graph)
    if part is not None:
        graph = part.load("passes:PASSES")[precision](graph)
    return hoist_static_input(graph) if static else graph


def precision_part(precision: str) -> Part:
    """Return the plug-in part that implements a weight precision, such as int8. Raises PlifError if there is none."""
    part = find_part("precisions", precision)
    if part is None:
        raise PlifError(f"precision '{precision}': expected one of {', '.join(PRECISIONS)}")
    return part
