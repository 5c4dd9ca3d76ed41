"""Mutations of a file and of a card: what can be wrong although the graph was right (mutations.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from runtime.core.model.card import Card
from runtime.core.model.graph import Graph, state_input
from tests.plif_export.core.mutations_of_graphs import Made, Mutant

# --- the file ------------------------------------------------------------------------------------------------------------


def rewired(old: str, make: Callable[[onnx.ModelProto], list[onnx.NodeProto]]) -> Callable[[onnx.ModelProto], None]:
    """Nodes in front of all others, the last of which makes <old>.wrong; whoever read old reads that."""

    def change(proto: onnx.ModelProto) -> None:
        for node in proto.graph.node:
            node.input[:] = [f"{old}.wrong" if name == old else name for name in node.input]
        nodes = [*make(proto), *proto.graph.node]
        del proto.graph.node[:]
        proto.graph.node.extend(nodes)

    return change


def number(proto: onnx.ModelProto, name: str, value: Any) -> str:
    proto.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return name


def states_exchanged(graph: Graph, rng: np.random.Generator) -> Made:
    variables = [(n, v) for n in graph.neurons for v in n.initial]
    for i, (a, first) in enumerate(variables):
        for b, second in variables[i + 1 :]:
            if a.shape == b.shape:
                one, two = state_input(a.layer, first), state_input(b.layer, second)

                def change(proto: onnx.ModelProto, swap: dict[str, str] = {one: two, two: one}) -> None:  # noqa: B006
                    for node in proto.graph.node:
                        node.input[:] = [swap.get(name, name) for name in node.input]

                yield Mutant(f"{one} and {two}", file=change)


def state_frozen(graph: Graph, rng: np.random.Generator) -> Made:
    for node in graph.neurons:
        for variable in node.initial:
            name = state_input(node.layer, variable)

            def zero(proto: onnx.ModelProto, name: str = name) -> list[onnx.NodeProto]:
                return [helper.make_node("Mul", [name, number(proto, "zero", np.float32(0))], [f"{name}.wrong"])]

            yield Mutant(name, file=rewired(name, zero))


def state_of_the_first_row(graph: Graph, rng: np.random.Generator) -> Made:
    for node in graph.neurons:
        name = state_input(node.layer)

        def first(proto: onnx.ModelProto, name: str = name) -> list[onnx.NodeProto]:
            return [
                helper.make_node("Gather", [name, number(proto, "first", np.int64([0]))], [f"{name}.wrong"], axis=0)
            ]

        yield Mutant(name, file=rewired(name, first))


def padding_moved(graph: Graph, rng: np.random.Generator) -> Made:
    """One row of zeros more above, one less below."""
    for node in graph:
        if node.op in ("Conv", "MaxPool", "AvgPool"):

            def change(proto: onnx.ModelProto, name: str = node.name) -> None:
                for made in proto.graph.node:
                    if name in made.output:
                        for attribute in made.attribute:
                            if attribute.name == "pads":
                                half = len(attribute.ints) // 2
                                attribute.ints[0], attribute.ints[half] = (
                                    attribute.ints[0] + 1,
                                    attribute.ints[half] - 1,
                                )

            if np.any(np.asarray(node.attrs.get("padding", 0)) > 0):
                yield Mutant(node.name, file=change)


def steps_reversed(graph: Graph, rng: np.random.Generator) -> Made:
    """Of the unrolled form: time backwards."""

    def backwards(proto: onnx.ModelProto) -> list[onnx.NodeProto]:
        ends = [
            number(proto, name, np.int64([value])) for name, value in (("a", -1), ("b", -(2**31)), ("c", 0), ("d", -1))
        ]
        return [helper.make_node("Slice", ["x", *ends], ["x.wrong"])]

    yield Mutant("x", file=rewired("x", backwards))


# --- the card ------------------------------------------------------------------------------------------------------------


def initial_values(card: Card, own: bool) -> Made:
    for i, state in enumerate(card["states"]):
        others = [
            {**other, "initial": other["initial"] + 1e-3} if j == i else other for j, other in enumerate(card["states"])
        ]
        yield Mutant(state["name"], card={"states": others})


def what_the_card_says(card: Card, own: bool) -> Made:
    """Classes in another order, voters, normalisation of images, framing, T, thresholds."""
    changes = {
        "classes": card["classes"][::-1],
        "output": {**card["output"], "voters": card["output"]["voters"] + 1},
        "normalisation": {"mean": [0.5], "std": [0.25]},
        "framing": "count:T=99",
        "v_threshold": 7.0,
    }
    if own and card["form"] == "step":  # elsewhere T is the exporter's choice
        changes["T"] = card["T"] + 1
    for key, value in changes.items():
        yield Mutant(key, card={key: value})


ONNX: dict[str, Callable[[Graph, np.random.Generator], Made]] = {
    "two states exchanged": states_exchanged,
    "a state that stays 0": state_frozen,
    "the state of the first row for all": state_of_the_first_row,
    "padding moved by a row": padding_moved,
    "time backwards": steps_reversed,
}
CARDS: dict[str, Callable[[Card, bool], Made]] = {
    "initial values": initial_values,
    "what the card says": what_the_card_says,
}
