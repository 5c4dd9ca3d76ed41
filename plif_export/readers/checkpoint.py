"""One of our own networks -> SNN graph: each NamedLayer is read by the rules of readers/layers.py.

The membrane constant becomes one number here: alpha = sigmoid(w) = 1/tau (LIF: 1/tau as given), in float32, computed by
PyTorch itself so that the exported alpha is the trained one bit for bit. The graph has no w.
"""

from __future__ import annotations

from torch import nn

from plif_export.proof.reference import NetworkReference
from plif_export.readers.facts import ModelFacts, TrainedModel
from plif_export.readers.layers import OWN, qualified
from plif_export.readers.neuron_modules import own_neuron
from plif_train.network import Dropout, Network, Vote, layer_of
from runtime.model.graph import Graph, Node

# The class whose reader serves each kind of layer; the network's own subclasses compute the same in evaluation mode.
CLASSES = {
    "Conv": nn.Conv2d,
    "Linear": nn.Linear,
    "BatchNorm": nn.BatchNorm2d,
    "MaxPool": nn.MaxPool2d,
    "AvgPool": nn.AvgPool2d,
    "Flatten": nn.Flatten,
    "Dropout": Dropout,
    "Vote": Vote,
}


def trained_model(
    net: Network, sha256: str | None = None, has_card: bool = False, notes: list[str] | None = None
) -> TrainedModel:
    """A network of ours with its graph, itself as the reference, and its facts."""
    return TrainedModel(read_network(net), NetworkReference(net), ModelFacts.of(net), sha256, has_card, notes or [])


def read_network(net: Network) -> Graph:
    """The graph of a network of ours, its weights copied as float32."""
    nodes: list[Node] = []
    previous = "x"
    for named in net.named_layers:
        module = net.get_submodule(named.name)
        if named.op == "Neuron":
            kind, own, params = own_neuron(module)
            attrs = {"kind": kind, "layer": layer_of(named.name), **own}
        else:
            _, attrs, params = OWN[qualified(CLASSES[named.op])](module, named.in_shape, named.out_shape)
        nodes.append(Node(named.name, named.op, (previous,), named.out_shape, attrs, params))
        previous = named.name
    return Graph(input_shape=net.meta.shape, nodes=tuple(nodes), output=previous)
