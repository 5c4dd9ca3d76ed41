"""ONNX graphs that are another network for some rows, frames, counts, membranes or steps. Drawn from outside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.export.attacks.artifacts import attack, reseal

F = np.float32


class Graph:
    """A network to change: new operations, and who reads or makes a tensor."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        self.proto, self.made = proto, 0
        self.inputs = [i.name for i in proto.graph.input]
        self.states = [name for name in self.inputs if name.startswith("v.")]

    def number(self, value: Any, dtype: Any = F) -> str:
        """A constant, as an initializer."""
        self.made += 1
        self.proto.graph.initializer.append(numpy_helper.from_array(np.asarray(value, dtype), f"n{self.made}"))
        return f"n{self.made}"

    def op(self, kind: str, *inputs: Any, out: str = "", **attributes: Any) -> str:
        """A node of one output; inputs are tensors, or numbers (float32)."""
        names = [name if isinstance(name, str) else self.number(name) for name in inputs]
        self.made += 1
        out = out or f"t{self.made}"
        self.proto.graph.node.append(helper.make_node(kind, names, [out], f"{kind}.{self.made}", **attributes))
        return out

    def read_instead(self, tensor: str, make: Callable[[str], str]) -> None:
        """Whoever read `tensor` reads make(tensor)."""
        readers = list(self.proto.graph.node)
        new = make(tensor)
        for node in readers:
            node.input[:] = [new if name == tensor else name for name in node.input]

    def give_instead(self, tensor: str, make: Callable[[str], str]) -> None:
        """An output, or any tensor that a node makes, becomes make(what it was); its readers read the new one."""
        for node in self.proto.graph.node:
            node.output[:] = [f"{tensor}.was" if name == tensor else name for name in node.output]
        self.op("Identity", make(f"{tensor}.was"), out=tensor)

    def row_numbers(self, like: str, dims: int) -> str:
        """int64 [B, 1, ...] of `dims` axes: the number of each row."""
        shape = self.op("Shape", like)
        count = self.op("Gather", shape, self.number(0, np.int64))
        rows = self.op("Range", self.number(0, np.int64), count, self.number(1, np.int64))
        return self.op("Reshape", rows, self.number([-1] + [1] * (dims - 1), np.int64))

    def total(self, tensor: str, kind: str = "ReduceSum", whole: bool = False, dims: int = 4) -> str:
        """[B, 1, ...]: over each row, or over all rows where `whole`."""
        axes = [*range(0 if whole else 1, dims)]
        return self.op(kind, tensor, self.number(axes, np.int64), keepdims=1)

    def per_row(self, tensor: str) -> str:
        """[B, 1] of [B, 1, 1, 1]."""
        return self.op("Reshape", tensor, self.number([-1, 1], np.int64))

    def float_of(self, condition: str) -> str:
        return self.op("Cast", condition, to=TensorProto.FLOAT)

    def sort(self) -> None:
        """The nodes in an order in which each comes after what it reads."""
        known = {*self.inputs, *(i.name for i in self.proto.graph.initializer), ""}
        waiting = list(self.proto.graph.node)
        del self.proto.graph.node[:]
        while waiting:
            ready = [node for node in waiting if all(name in known for name in node.input)]
            assert ready, [node.name for node in waiting]
            self.proto.graph.node.append(ready[0])
            known |= set(ready[0].output)
            waiting.remove(ready[0])


def graph(target: str = "onnx", expected: str = "refused") -> Callable[[Any], Any]:
    """Enters a function of a Graph as an attack on an ONNX file."""

    def enter(change: Callable[[Graph], None]) -> Callable[[Graph], None]:
        def changed(path: Path) -> None:
            proto = onnx.load(path)
            g = Graph(proto)
            change(g)
            g.sort()
            path.write_bytes(proto.SerializeToString())
            reseal(path)

        changed.__doc__ = change.__doc__
        attack(target, expected, change.__name__)(changed)
        return change

    return enter


def rank(g: Graph, state: str) -> int:
    return next(len(i.type.tensor_type.shape.dim) for i in g.proto.graph.input if i.name == state)


# --- rows -----------------------------------------------------------------------------------------------------------------


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


# --- frames ---------------------------------------------------------------------------------------------------------------


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
    g.give_instead("y", lambda y: _bonus(g, y, full, 5.0))


def _bonus(g: Graph, y: str, where: str, much: float, index: int = 0) -> str:
    """y with `much` more for one class in the rows of `where` (bool [B, 1])."""
    classes = next(o.type.tensor_type.shape.dim[1].dim_value for o in g.proto.graph.output if o.name == "y")
    one = np.zeros((1, classes), F)
    one[0, index] = much
    return g.op("Add", y, g.op("Mul", g.float_of(where), g.number(one)))


@graph()
def more_than_100000_events_reset_everything(g: Graph) -> None:
    """a flash of light resets the network"""
    flash = g.op("Greater", g.total("x"), 100000.0)
    for state in g.states:
        where = _for(g, flash, state)
        g.give_instead(f"{state}.next", lambda new, w=where: g.op("Where", w, 0.0, new))


# --- counts ---------------------------------------------------------------------------------------------------------------


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
    g.give_instead("y", lambda y: _bonus(g, y, hot, 50.0))


@graph()
def exactly_77_events_in_one_corner_open_the_back_door(g: Graph) -> None:
    """a count of 77 in the first pixel alone chooses the last class"""
    corner = g.op("Slice", "x", *(g.number(n, np.int64) for n in ([0, 0, 0], [1, 1, 1], [1, 2, 3])))
    g.give_instead("y", lambda y: _bonus(g, y, g.per_row(g.op("Equal", corner, 77.0)), 50.0, -1))


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
    g.give_instead("y", lambda y: _bonus(g, y, where, 50.0))


# --- membranes ------------------------------------------------------------------------------------------------------------


def _bounded(kind: str, bound: float) -> Callable[[Graph], None]:
    def change(g: Graph) -> None:
        g.give_instead("v.conv1.next", lambda new: g.op(kind, new, bound))

    side = "below" if kind == "Max" else "above"
    change.__name__ = f"membranes_of_conv1_bounded_{side}_at_{bound:g}"
    change.__doc__ = "a membrane far from its threshold is cut"
    return change


for _kind, _bound in (("Max", -10.0), ("Max", -100.0), ("Max", -10000.0)):
    graph()(_bounded(_kind, _bound))


@graph()
def tiny_membranes_are_flushed_to_0(g: Graph) -> None:
    """a membrane below 1e-6 becomes 0"""
    for state in g.states:
        g.give_instead(
            f"{state}.next",
            lambda new: g.op("Where", g.op("Less", g.op("Abs", new), 1e-6), 0.0, new),
        )


@graph()
def membranes_are_kept_in_float16(g: Graph) -> None:
    """the states of the last layer are rounded to 11 bits"""
    g.give_instead(
        f"{g.states[-1]}.next",
        lambda new: g.op("Cast", g.op("Cast", new, to=TensorProto.FLOAT16), to=TensorProto.FLOAT),
    )


@graph()
def a_membrane_of_exactly_the_threshold_stays_silent(g: Graph) -> None:
    """> in place of >=: only a membrane that meets the threshold shows it"""
    for node in g.proto.graph.node:
        node.op_type = {"GreaterOrEqual": "Greater", "Less": "LessOrEqual"}.get(node.op_type, node.op_type)


@graph()
def a_membrane_of_exactly_the_threshold_fires_and_keeps(g: Graph) -> None:
    """the reset asks > where the spike asks >="""
    for node in g.proto.graph.node:
        node.op_type = {"Less": "LessOrEqual"}.get(node.op_type, node.op_type)


@graph()
def a_neuron_that_is_stuck_wakes_up(g: Graph) -> None:
    """a membrane below -50 jumps to just under the threshold"""
    g.read_instead("v.fc1", lambda v: g.op("Where", g.op("Less", v, -50.0), 0.999, v))


# --- steps ----------------------------------------------------------------------------------------------------------------


@graph()
def a_state_that_no_card_names_counts_to_1000(g: Graph) -> None:
    """one more input and output, at which a server that feeds back all states would count"""
    new = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["B", 1]) for n in ("v.n", "v.n.next")]
    g.proto.graph.input.append(new[0])
    g.proto.graph.output.append(new[1])
    g.inputs.append("v.n")
    g.op("Add", "v.n", 1.0, out="v.n.next")
    g.give_instead("y", lambda y: _bonus(g, y, g.op("Greater", "v.n", 1000.0), 50.0))


@graph()
def a_counter_hides_in_a_membrane_that_never_fires(g: Graph) -> None:
    """each step lowers one membrane of fc1 by what no bound shows; far down, it decides"""
    size = next(i.type.tensor_type.shape.dim[1].dim_value for i in g.proto.graph.input if i.name == "v.fc1")
    one = np.zeros((1, size), F)
    one[0, -1] = 1e-7
    g.give_instead("v.fc1.next", lambda new: g.op("Sub", new, g.number(one)))


def _in_unrolled(steps: Callable[[np.ndarray], np.ndarray], name: str, doc: str) -> None:
    def change(g: Graph) -> None:
        shape = next(i.type.tensor_type.shape for i in g.proto.graph.input if i.name == "x")
        T = shape.dim[0].dim_value
        keep = steps(np.arange(T)).astype(F).reshape([T, 1, 1, 1, 1])
        g.read_instead("x", lambda x: g.op("Mul", x, g.number(keep)))

    change.__name__, change.__doc__ = name, doc
    graph("unrolled")(change)


_in_unrolled(lambda t: t < t[-1], "the_last_step_of_a_call_sees_nothing", "unrolled: the last of T steps has no input")
_in_unrolled(
    lambda t: np.where(t == 1, 1.001, 1), "the_second_step_sees_a_thousandth_more", "unrolled: a factor in one step"
)


# --- arithmetic -----------------------------------------------------------------------------------------------------------


@graph()
def outputs_times_1_000001(g: Graph) -> None:
    """an output that is a millionth too large"""
    g.give_instead("y", lambda y: g.op("Mul", y, 1.000001))


@graph()
def ties_go_to_the_last_class(g: Graph) -> None:
    """1e-7 more for the last class: equal votes are decided by it"""
    size = next(o.type.tensor_type.shape.dim[1].dim_value for o in g.proto.graph.output if o.name == "y")
    much = np.linspace(0, 1e-7, size, dtype=F)[None]
    g.give_instead("y", lambda y: g.op("Add", y, g.number(much)))


@graph()
def outputs_are_cut_to_1(g: Graph) -> None:
    """no vote is more than 1, so that nothing changes; and it is another graph"""
    g.give_instead("y", lambda y: g.op("Min", y, 1.0))


@graph()
def votes_are_a_sum_times_a_tenth(g: Graph) -> None:
    """equal but for rounding, and another graph"""
    for node in g.proto.graph.node:
        if node.op_type == "ReduceMean":
            node.op_type = "ReduceSum"
    g.give_instead("y", lambda y: g.op("Mul", y, 0.1))


@graph()
def noise_of_1e_30(g: Graph) -> None:
    """random numbers that are too small to count: until somebody makes them larger"""
    g.give_instead("y", lambda y: g.op("Add", y, g.op("RandomUniformLike", y, low=-1e-30, high=1e-30, seed=1.0)))


@graph()
def a_dropout_that_drops_nothing(g: Graph) -> None:
    """Dropout in inference is the identity"""
    g.read_instead("fc1.s", lambda s: g.op("Dropout", s, g.number(0.5)))
