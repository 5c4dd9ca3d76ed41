"""ONNX graphs that are another network for some membranes or steps, or in the last digits. Drawn from outside."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import TensorProto, helper

from tests.plif_export.core.attacks.changed.edits import (
    Graph,
    bonus,
    graph,
)

# --- membranes -----------------------------------------------------------------------------------------------------------


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


# --- steps ---------------------------------------------------------------------------------------------------------------


@graph()
def a_state_that_no_card_names_counts_to_1000(g: Graph) -> None:
    """one more input and output, at which a server that feeds back all states would count"""
    new = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["B", 1]) for n in ("v.n", "v.n.next")]
    g.proto.graph.input.append(new[0])
    g.proto.graph.output.append(new[1])
    g.inputs.append("v.n")
    g.op("Add", "v.n", 1.0, out="v.n.next")
    g.give_instead("y", lambda y: bonus(g, y, g.op("Greater", "v.n", 1000.0), 50.0))


@graph()
def a_counter_hides_in_a_membrane_that_never_fires(g: Graph) -> None:
    """each step lowers one membrane of fc1 by what no bound shows; far down, it decides"""
    size = next(i.type.tensor_type.shape.dim[1].dim_value for i in g.proto.graph.input if i.name == "v.fc1")
    one = np.zeros((1, size), np.float32)
    one[0, -1] = 1e-7
    g.give_instead("v.fc1.next", lambda new: g.op("Sub", new, g.number(one)))


def _in_unrolled(steps: Callable[[np.ndarray], np.ndarray], name: str, doc: str) -> None:
    def change(g: Graph) -> None:
        shape = next(i.type.tensor_type.shape for i in g.proto.graph.input if i.name == "x")
        T = shape.dim[0].dim_value
        keep = steps(np.arange(T)).astype(np.float32).reshape([T, 1, 1, 1, 1])
        g.read_instead("x", lambda x: g.op("Mul", x, g.number(keep)))

    change.__name__, change.__doc__ = name, doc
    graph("unrolled")(change)


_in_unrolled(lambda t: t < t[-1], "the_last_step_of_a_call_sees_nothing", "unrolled: the last of T steps has no input")
_in_unrolled(
    lambda t: np.where(t == 1, 1.001, 1), "the_second_step_sees_a_thousandth_more", "unrolled: a factor in one step"
)


# --- arithmetic ----------------------------------------------------------------------------------------------------------


@graph()
def outputs_times_1_000001(g: Graph) -> None:
    """an output that is a millionth too large"""
    g.give_instead("y", lambda y: g.op("Mul", y, 1.000001))


@graph()
def ties_go_to_the_last_class(g: Graph) -> None:
    """1e-7 more for the last class: equal votes are decided by it"""
    size = next(o.type.tensor_type.shape.dim[1].dim_value for o in g.proto.graph.output if o.name == "y")
    much = np.linspace(0, 1e-7, size, dtype=np.float32)[None]
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
