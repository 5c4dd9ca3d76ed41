"""Passes: graph -> graph. Each says what it requires and what it preserves.

`prepare` is the order in which an export runs them. To add a pass, write a function graph -> graph beside those in folding.py,
and put it where it belongs in `prepare`. A precision of weights other than fp32 is a part, a folder in plif_export/precisions:
PASSES in its passes.py are {name: graph -> graph}, its part.py GIVES for a dtype of weights what writes a layer as ONNX
(`Emitter.reduced`), and Flips in its flips.py is what the gate asks of it.
"""

from __future__ import annotations

from plif_export.core.passes.folding import drop_dropout, fold_batchnorm, fold_tau, hoist_static_input
from runtime.core.base.errors import PlifError
from runtime.core.model.graph import Graph
from runtime.core.parts import Part, by_name, find_part, find_parts

MATHS = ("exact", "folded")
PRECISIONS = ("fp32", *by_name(find_parts("precisions")))


def prepare(graph: Graph, math: str, static: bool, precision: str = "fp32") -> Graph:
    """A graph as it was read -> the graph that is written, without dropout and batch normalisation.

    math       "folded" moves tau into the weights, "exact" leaves it
    static     the input is one image for all time-steps: what depends on it alone is marked
    precision  those of parts round the weights of layers that read spikes
    """
    if math not in MATHS:
        raise PlifError(f"math '{math}': expected one of {', '.join(MATHS)}")
    part = None if precision == "fp32" else part_of(precision)
    graph = fold_batchnorm(drop_dropout(graph))
    if math == "folded":
        graph = fold_tau(graph)
    if part is not None:
        graph = part.load("passes:PASSES")[precision](graph)
    return hoist_static_input(graph) if static else graph


def part_of(precision: str) -> Part:
    """The part that rounds weights so. Raises PlifError where there is none."""
    part = find_part("precisions", precision)
    if part is None:
        raise PlifError(f"precision '{precision}': expected one of {', '.join(PRECISIONS)}")
    return part
