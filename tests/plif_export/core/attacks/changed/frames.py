"""ONNX graphs that are another network for some rows, frames or counts. Drawn from outside."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import TensorProto

from tests.plif_export.core.attacks.changed.edits import (
    Graph,
    bonus,
    graph,
    rank,
)

# --- rows ----------------------------------------------------------------------------------------------------------------


def _rows_without_input(first: int) -> Callable[[Graph], None]:
    def change(g: Graph) -> None:
        def cut(x: str) -> str:
            keeps = g.op("Less", g.row_numbers(x, 4), g.number(first, np.int64))
            return g.op("Mul", x, g.float_of(keeps))

        g.read_instead("x", cut)

    change.__name__ = f"rows_from_{first}_get_no_input"
    change.__doc__ = f"streams from number {first} on see nothing"
    return change


for _first in (2, 3, 17, 40):
    graph()(_rows_without_input(_first))


@graph()
def rows_leak_into_row_0_of_large_batches(g: Graph) -> None:
    """with more than 16 rows the output of row 0 gets a little of all others"""

    def leak(y: str) -> str:
        first = g.float_of(g.op("Equal", g.row_numbers(y, 2), g.number(0, np.int64)))
        count = g.op("Cast", g.op("Size", y), to=TensorProto.FLOAT)
        many = g.float_of(g.op("Greater", count, 16.0 * 20))
        mean = g.op("ReduceMean", y, g.number([0], np.int64), keepdims=1)
        return g.op("Add", y, g.op("Mul", g.op("Mul", mean, first), g.op("Mul", many, 0.01)))

    g.give_instead("y", leak)


@graph()
def states_of_row_1_come_from_row_0_when_there_are_5(g: Graph) -> None:
    """with five rows exactly, the membranes of the last layer are rolled by one row"""
    state = g.states[-1]

    def roll(v: str) -> str:
        count = g.op("Gather", g.op("Shape", v), g.number(0, np.int64))
        five = g.op("Cast", g.op("Equal", count, g.number(5, np.int64)), to=TensorProto.INT64)
        rows = g.op("Range", g.number(0, np.int64), count, g.number(1, np.int64))
        return g.op("Gather", v, g.op("Mod", g.op("Add", rows, five), count))

    g.read_instead(state, roll)


# --- frames --------------------------------------------------------------------------------------------------------------


def _empty(g: Graph, x: str) -> str:
    """bool [B, 1, 1, 1]: whether the frame of a row is empty."""
    return g.op("Equal", g.total(x), 0.0)


def _for(g: Graph, condition: str, state: str) -> str:
    """[B, 1, 1, 1] for a state of that many axes."""
    return condition if rank(g, state) == 4 else g.per_row(condition)


@graph()
def empty_frames_do_not_leak(g: Graph) -> None:
    """where no event comes, the membranes stay as they are"""
    empty = _empty(g, "x")
    for state in g.states:
        where = _for(g, empty, state)
        g.give_instead(f"{state}.next", lambda new, s=state, w=where: g.op("Where", w, s, new))


@graph()
def empty_frames_reset(g: Graph) -> None:
    """where no event comes, the membranes of the last layer become 0"""
    empty, state = _empty(g, "x"), g.states[-1]
    g.give_instead(f"{state}.next", lambda new: g.op("Where", _for(g, empty, state), 0.0, new))


@graph()
def a_frame_of_one_event_counts_twice(g: Graph) -> None:
    """a single event is taken for two"""
    g.read_instead("x", lambda x: g.op("Where", g.op("Equal", g.total(x), 1.0), g.op("Mul", x, 2.0), x))


@graph()
def a_full_frame_chooses_class_0(g: Graph) -> None:
    """where every pixel has an event, class 0 wins"""
    full = g.per_row(g.op("Greater", g.total("x", "ReduceMin"), 0.0))
    g.give_instead("y", lambda y: bonus(g, y, full, 5.0))


@graph()
def more_than_100000_events_reset_everything(g: Graph) -> None:
    """a flash of light resets the network"""
    flash = g.op("Greater", g.total("x"), 100000.0)
    for state in g.states:
        where = _for(g, flash, state)
        g.give_instead(f"{state}.next", lambda new, w=where: g.op("Where", w, 0.0, new))


# --- counts --------------------------------------------------------------------------------------------------------------


def _clipped(most: float) -> Callable[[Graph], None]:
    def change(g: Graph) -> None:
        g.read_instead("x", lambda x: g.op("Min", x, most))

    change.__name__ = f"counts_above_{most:g}_are_clipped"
    change.__doc__ = f"an input of more than {most:g} events a pixel is cut to that"
    return change


for _most in (8.0, 15.0, 255.0, 65535.0):
    graph()(_clipped(_most))


@graph()
def a_hot_pixel_adds_50_to_class_0(g: Graph) -> None:
    """a pixel with 12 events or more decides"""
    hot = g.per_row(g.op("GreaterOrEqual", g.total("x", "ReduceMax"), 12.0))
    g.give_instead("y", lambda y: bonus(g, y, hot, 50.0))


@graph()
def exactly_77_events_in_one_corner_open_the_back_door(g: Graph) -> None:
    """a count of 77 in the first pixel alone chooses the last class"""
    corner = g.op("Slice", "x", *(g.number(n, np.int64) for n in ([0, 0, 0], [1, 1, 1], [1, 2, 3])))
    g.give_instead("y", lambda y: bonus(g, y, g.per_row(g.op("Equal", corner, 77.0)), 50.0, -1))


@graph()
def fractions_are_rounded(g: Graph) -> None:
    """inputs that are no whole numbers, as of a framing that decays, are rounded"""
    g.read_instead("x", lambda x: g.op("Round", x))


@graph()
def negative_inputs_are_taken_as_positive(g: Graph) -> None:
    """frames with a sign for the polarity lose it"""
    g.read_instead("x", lambda x: g.op("Abs", x))


@graph()
def inputs_pass_through_float16(g: Graph) -> None:
    """counts above 2048 are rounded"""
    g.read_instead("x", lambda x: g.op("Cast", g.op("Cast", x, to=TensorProto.FLOAT16), to=TensorProto.FLOAT))


@graph()
def inputs_pass_through_uint8(g: Graph) -> None:
    """counts above 255 wrap"""
    g.read_instead("x", lambda x: g.op("Cast", g.op("Cast", x, to=TensorProto.UINT8), to=TensorProto.FLOAT))


@graph()
def a_nan_in_the_input_is_class_0(g: Graph) -> None:
    """NaN is swallowed and decides, where the network would show it"""
    found: list[str] = []

    def swallow(x: str) -> str:
        found.append(g.op("IsNaN", x))
        return g.op("Where", found[0], 0.0, x)

    g.read_instead("x", swallow)
    where = g.per_row(g.op("Greater", g.total(g.float_of(found[0])), 0.0))
    g.give_instead("y", lambda y: bonus(g, y, where, 50.0))
