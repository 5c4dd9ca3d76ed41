"""Networks of whole numbers, in which arithmetic is exact and a membrane really is on its threshold, for every kind of neuron."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from plif_export.core.cards import make_card, set_card
from plif_export.core.passes import run_passes
from plif_export.core.proof.reference import GraphReference
from plif_export.core.readers.facts import ModelFacts, TrainedModel
from plif_export.core.writers import FORMS
from runtime.core.model.card import Card
from runtime.core.model.graph import Graph, Node

OURS: dict[str, Any] = {"decay_input": True, "charge": "exact"}
# name -> kind, its attributes and parameters; each parameter is a power of two
NEURONS: dict[str, tuple[str, dict[str, Any], dict[str, float]]] = {
    "IF": ("IF", OURS, {}),
    "LIF": ("LIF", {**OURS, "charge": "divided", "tau": 2.0}, {"alpha": 0.5}),
    "PLIF": ("PLIF", OURS, {"alpha": 0.5}),
    "PLIF, soft reset": ("PLIF", {**OURS, "v_reset": None, "decay_input": False}, {"alpha": 0.25}),
    "PLIF, input not decayed": ("PLIF", {**OURS, "decay_input": False, "v_reset": -1.0}, {"alpha": 0.5}),
    "Leaky": ("Leaky", {"reset": "subtract", "reset_delay": True}, {"beta": 0.5}),
    "Leaky, zero": ("Leaky", {"reset": "zero", "reset_delay": False}, {"beta": 0.5}),
    "LIFBox": ("LIFBox", {"v_leak": 1.0}, {"k": 0.5}),
    "LIFCell": ("LIFCell", {"v_leak": 0.0}, {"k": 0.5, "k_syn": 0.25}),
    "NIR-IF": ("NIR-IF", {"fire": ">"}, {"gain": 2.0}),
    "NIR-LIF": ("NIR-LIF", {"fire": ">=", "v_leak": 1.0}, {"k": 0.5, "r": 2.0}),
    "NIR-CubaLIF": ("NIR-CubaLIF", {"fire": ">=", "v_leak": 0.0}, {"k": 0.5, "k_syn": 0.5}),
}


def exact_network(
    neuron: str, largest: int = 3, v_threshold: float = 4.0, seed: int = 0, **changed: float
) -> TrainedModel:
    """conv1, fc1 and a vote of 4, with whole weights up to `largest`; neuron: a name in NEURONS, some parameters changed."""
    rng = np.random.default_rng(seed)
    kind, attrs, params = NEURONS[neuron]
    params = {**params, **changed}
    weights = [rng.integers(-largest, largest + 1, shape).astype(np.float32) for shape in ((6, 2, 3, 3), (12, 216))]

    def fires(layer: str, shape: tuple[int, ...]) -> Node:
        said = {"kind": kind, "layer": layer, "v_threshold": v_threshold, "v_reset": 0.0, **attrs}
        return Node(f"{layer}_neuron", "Neuron", (layer,), shape, said, {k: np.float32(v) for k, v in params.items()})

    nodes = (
        Node("conv1", "Conv", ("x",), (6, 6, 6), {"stride": 1, "padding": 1, "groups": 1}, {"weight": weights[0]}),
        fires("conv1", (6, 6, 6)),
        Node("flatten", "Flatten", ("conv1_neuron",), (216,)),
        Node("fc1", "Linear", ("flatten",), (12,), {}, {"weight": weights[1]}),
        fires("fc1", (12,)),
        Node("vote", "Vote", ("fc1_neuron",), (3,), {"voters": 4}),
    )
    graph = Graph((2, 6, 6), nodes, "vote")
    return TrainedModel(graph, GraphReference(graph), ModelFacts(None, "events", (2, 6, 6), 4, ("a", "b", "c")))


def written(source: TrainedModel, form: str, math: str, graph: Graph | None = None) -> tuple[onnx.ModelProto, Card]:
    """Its file, or that of another graph, with the card of its own."""
    facts = source.facts
    options: dict[str, Any] = {"form": form, "T": facts.T, "precision": "fp32", "math": math, "batch": None}
    still = facts.kind == "static" and form == "unrolled"
    card = make_card(facts, run_passes(source.graph, math, still), **options, source_sha256=None)
    proto = FORMS[form](run_passes(graph or source.graph, math, still), facts.T, None, "integer")
    set_card(proto, card)
    return proto, card


OTHER = {"GreaterOrEqual": "Greater", "Greater": "GreaterOrEqual", "Less": "LessOrEqual"}


def other_comparison(proto: onnx.ModelProto, layer: str) -> onnx.ModelProto:
    """A copy in which every comparison of a layer treats equal numbers the other way."""
    changed = onnx.ModelProto()
    changed.CopyFrom(proto)
    found = [n for n in changed.graph.node if n.op_type in OTHER and n.output[0].startswith(f"{layer}.")]
    assert found, f"no comparison in {layer}"
    for node in found:
        node.op_type = OTHER[node.op_type]
    return changed
