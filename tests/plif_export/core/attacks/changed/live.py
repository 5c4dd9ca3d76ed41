"""Changed ONNX files of a live module, which has no file: it is read again. Drawn from outside."""

from __future__ import annotations

import numpy as np

from tests.plif_export.core.attacks.changed.cards import card
from tests.plif_export.core.attacks.changed.edits import Graph, Proto, graph, model, ulps, weights


def _largest_weights(proto: Proto) -> str:
    """The name of the initializer with the most numbers."""
    return max(proto.graph.initializer, key=lambda i: int(np.prod(i.dims))).name


@graph("live")
def live_counts_above_8_are_clipped(g: Graph) -> None:
    """an input is cut"""
    g.read_instead("x", lambda x: g.op("Min", x, 8.0))


@graph("live")
def live_rows_from_3_get_no_input(g: Graph) -> None:
    """streams from number three on see nothing"""
    g.read_instead("x", lambda x: g.op("Mul", x, g.float_of(g.op("Less", g.row_numbers(x, 2), g.number(3, np.int64)))))


@graph("live")
def live_membranes_are_bounded_below(g: Graph) -> None:
    """membranes far below the reset are cut"""
    for state in g.states:
        g.give_instead(f"{state}.next", lambda new: g.op("Max", new, -20.0))


@graph("live")
def live_a_dead_node(g: Graph) -> None:
    """a node whose output nothing reads"""
    g.op("Relu", "x")


@model(target="live")
def live_one_weight_by_5_ulp(proto: Proto) -> None:
    """more than rounding explains"""
    weights(proto, _largest_weights(proto), ulps(5))


@model("listed", "live")
def live_one_weight_by_1_ulp(proto: Proto) -> None:
    """what rounding of a fold explains"""
    weights(proto, _largest_weights(proto), ulps(1))


@model(target="live")
def live_opset_one_less(proto: Proto) -> None:
    """operations of another version of ONNX"""
    proto.opset_import[0].version -= 1


@model(target="live")
def live_plif_initial_is_a_half(proto: Proto) -> None:
    """programs that read plif.initial begin with other membranes"""
    for entry in proto.metadata_props:
        if entry.key == "plif.initial":
            entry.value = " ".join(["0.5"] * len(entry.value.split()))


card("live_card_with_view", target="live")(lambda card: card.update(view="upright"))
card("live_card_with_an_exit", "named", target="live")(lambda card: card.update(exit={"margin": 1e-9}))
card("live_card_with_another_T", "named", "live")(lambda card: card.update(T=card["T"] + 1))
card("live_card_with_a_notation", target="live")(lambda card: card.update(notation="FC16-PLIF-FC4-PLIF"))
