"""What is mutated (mutations.py): every kind of neuron on whole numbers, ordinary networks, and one with every joint."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from plif_export.core.proof.reference import GraphReference
from plif_export.core.readers import read_model
from plif_export.core.readers.facts import ModelFacts, TrainedModel
from runtime.core.model.graph import Graph, Node
from tests.networks import firing
from tests.plif_export.core.exact_networks import NEURONS, exact_network

WHOLE = "whole numbers"
SMALL = "{c6k3s1-BN-PLIF}*2-MPk2s2-FC20-PLIF-FC12-PLIF-APk4s4"


def ordinary() -> TrainedModel:
    return read_model(firing(SMALL, (2, 8, 8)))


def averaged() -> TrainedModel:
    """Average pooling, one tau a channel, soft reset, biases."""
    return read_model(firing(SMALL.replace("MP", "AP"), (2, 8, 8), tau="channel", v_reset=None, bias=True))


def images() -> TrainedModel:
    return read_model(firing(SMALL, (3, 8, 8), kind="static", framing=None, v_reset=-0.25, decay_input=False))


def joined() -> TrainedModel:
    """Groups, a dilation, padded pools, additions, products, concatenation and scales, with random weights."""
    rng = np.random.default_rng(0)

    def drawn(*shape: int, scale: float = 1.0) -> np.ndarray:
        return (scale * rng.normal(0, 1, shape)).astype(np.float32)

    def fires(name: str, source: str, shape: tuple[int, ...], **params: float) -> Node:
        attrs = {
            "kind": "PLIF",
            "layer": name,
            "v_threshold": 1.0,
            "v_reset": 0.0,
            "decay_input": True,
            "charge": "exact",
        }
        return Node(name, "Neuron", (source,), shape, attrs, {"alpha": np.float32(params.get("alpha", 0.4))})

    place, big = {"stride": 1, "padding": 1}, (4, 8, 8)
    nodes = (
        Node("conv", "Conv", ("x",), big, {**place, "groups": 2}, {"weight": drawn(4, 1, 3, 3), "bias": drawn(4)}),
        fires("a", "conv", big),
        Node("wide", "Conv", ("a",), big, {"stride": 1, "padding": 2, "dilation": 2, "groups": 1},
             {"weight": drawn(4, 4, 3, 3, scale=0.8)}),
        Node("scaled", "Affine", ("wide",), big, {}, {"scale": 1 + drawn(4, scale=0.1), "shift": 0.3 + drawn(4, scale=0.1)}),
        fires("b", "scaled", big, alpha=0.7),
        Node("sum", "Add", ("a", "b"), big),
        Node("both", "Mul", ("sum", "b"), big),
        Node("beside", "Concat", ("both", "sum"), (8, 8, 8), {"axis": 1}),
        Node("max", "MaxPool", ("beside",), (8, 4, 4), {"kernel": 3, "stride": 2, "padding": 1}),
        Node("mean", "AvgPool", ("max",), (8, 2, 2), {"kernel": 3, "stride": 2, "padding": 1}),
        Node("flat", "Flatten", ("mean",), (32,)),
        Node("fc", "Linear", ("flat",), (12,), {}, {"weight": drawn(12, 32, scale=2.0), "bias": drawn(12)}),
        fires("c", "fc", (12,), alpha=0.5),
        Node("vote", "Vote", ("c",), (3,), {"voters": 4}),
    )  # fmt: skip
    graph = Graph((2, 8, 8), nodes, "vote")
    return TrainedModel(graph, GraphReference(graph), ModelFacts(None, "events", (2, 8, 8), 4, ("a", "b", "c")))


NETWORKS: dict[str, Callable[[], TrainedModel]] = {
    "ordinary": ordinary,
    "averaged": averaged,
    "images": images,
    "joined": joined,
    **{f"{WHOLE}, {name}": partial(exact_network, name) for name in NEURONS},
}
