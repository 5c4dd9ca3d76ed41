"""One of our own networks -> SNN graph: each NamedLayer is read as the function of PyTorch that it calls (runtime/model/ops).

The membrane constant becomes one number here: alpha = sigmoid(w) = 1/tau (LIF: 1/tau as given), in float32, computed by
PyTorch itself so that the exported alpha is the trained one bit for bit. The graph has no w.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from torch import Tensor, nn

from plif_export.proof.reference import NetworkReference
from plif_export.readers.facts import ModelFacts, TrainedModel
from plif_export.readers.libraries.layers import array
from plif_export.readers.libraries.neurons import own_neuron
from plif_export.readers.module.lower_calls import RecordedCall
from plif_export.readers.module.nodes import Argument
from plif_train.network.network import Network, layer_of
from plif_train.network.neuron import Neuron
from runtime.model.graph import Graph, Node, Shape
from runtime.model.ops import OPERATIONS
from runtime.model.ops.operation import GraphTensor, NewNode


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
        if isinstance(module, Neuron):
            kind, own, params = own_neuron(module)
            attrs = {"kind": kind, "layer": layer_of(named.name), **own}
        else:
            made = _made(named.op, module, GraphTensor(previous, named.in_shape), named.out_shape)
            attrs, params = made.attrs, made.params
        nodes.append(Node(named.name, named.op, (previous,), named.out_shape, attrs, params))
        previous = named.name
    return Graph(input_shape=net.meta.shape, nodes=tuple(nodes), output=previous)


def _made(op: str, module: nn.Module, x: GraphTensor, out: Shape) -> NewNode:
    """A layer by the reader of the function that it calls; one that calls none has the operation's attributes."""
    operation = OPERATIONS[op]
    if operation.layer is None:
        return NewNode(op, (x,), {name: getattr(module, name) for name in operation.attrs})
    function, names = operation.layer
    made = operation.torch[function](
        _LayerCall(function, x, [getattr(module, name, None) for name in names.split()], out)
    )
    assert isinstance(made, NewNode) and made.op == op
    return made


class _LayerCall(RecordedCall):
    """A layer's function, called on x with the layer's attributes behind it."""

    def __init__(self, function: str, x: GraphTensor, values: list[Argument], out: Shape) -> None:
        self.x = x
        self.node = SimpleNamespace(name=function, args=[x, *values], shape=(1, *out))  # type: ignore[assignment]

    def tensor(self, i: int) -> GraphTensor:
        return self.x

    def array(self, i: int, what: str = "") -> np.ndarray:
        """The layer's parameter, [...] float32."""
        value = self.get(i)
        assert isinstance(value, Tensor)
        return array(value)
