"""The reader of plif networks -> SNN graph: each NamedLayer is read as the function of PyTorch that it calls.

runtime/core/model/ops has these functions. The membrane constant becomes one number here: alpha = sigmoid(w) = 1/tau
(LIF: 1/tau as given), in float32, computed by PyTorch itself so that the exported alpha is the trained one bit for
bit. The graph has no w.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor, nn

from plif_export.core.proof.reference import NetworkReference
from plif_export.core.readers.facts import ModelFacts, TrainedModel
from plif_train.core.loop.checkpoint import load_torch_file
from plif_train.core.network.network import Network, layer_of_neuron
from plif_train.core.network.neuron import Neuron
from runtime.core.base.errors import PlifError
from runtime.core.model.graph import Graph, Node, Shape
from runtime.core.model.ops import OPERATIONS
from runtime.core.model.ops.operation import GraphTensor, NewNode
from runtime.core.model.ops.ports import TorchCall
from runtime.core.model.readers.torch_zip import EmbeddedCode

SNIPPET = "docs/other-libraries.md shows the two lines that save its state_dict where it was made"
Content: TypeAlias = tuple[
    str, dict[str, object], dict[str, np.ndarray]
]  # (operation or kind of neuron, attributes, parameters)


def has_card(path: Path) -> bool:
    """Return whether a file is a model.pt of plif, which contains a metadata card.

    Raises PlifError if it is not a file of tensors at all.
    """
    content = load_tensors(path)
    return isinstance(content, dict) and isinstance(content.get("card"), str)


def load_tensors(path: Path) -> object:
    try:
        return load_torch_file(path, "a state_dict or a model.pt")
    except EmbeddedCode as error:
        raise PlifError(
            f"{path}: holds Python objects ({error.name}), which may run code and are never loaded; {SNIPPET}"
        ) from None


def to_trained_model(
    net: Network, sha256: str | None = None, has_card: bool = False, notes: list[str] | None = None
) -> TrainedModel:
    """Return a plif network as a TrainedModel: its graph, itself as the reference model, and its facts."""
    return TrainedModel(
        read_network(net), NetworkReference(net), ModelFacts.from_network(net), sha256, has_card, notes or []
    )


def read_network(net: Network) -> Graph:
    """Convert a plif network to a graph, with its weights copied as float32."""
    nodes: list[Node] = []
    previous = "x"
    for named in net.named_layers:
        module = net.get_submodule(named.name)
        if isinstance(module, Neuron):
            kind, neuron_attrs, params = read_neuron(module)
            attrs = {"kind": kind, "layer": layer_of_neuron(named.name), **neuron_attrs}
        else:
            node = _read_layer(named.op, module, GraphTensor(previous, named.in_shape), named.out_shape)
            attrs, params = node.attrs, node.params
        nodes.append(Node(named.name, named.op, (previous,), named.out_shape, attrs, params))
        previous = named.name
    return Graph(input_shape=net.meta.shape, nodes=tuple(nodes), output=previous)


def _read_layer(op: str, module: nn.Module, x: GraphTensor, out: Shape) -> NewNode:
    """Convert a layer of a plif network to a graph node, by the reader for the PyTorch function that it calls.

    A layer that calls none has the operation's attributes.
    """
    operation = OPERATIONS[op]
    if operation.layer is None:
        return NewNode(op, (x,), {name: getattr(module, name) for name in operation.attrs})
    function, names = operation.layer
    values = [getattr(module, name, None) for name in names.split()]
    node = operation.torch[function](_LayerCall(function, x, values, out))  # type: ignore[abstract] # the other methods are not called
    assert isinstance(node, NewNode) and node.op == op
    return node


class _LayerCall(TorchCall):
    """A layer of a plif network seen as a call of a PyTorch function on x, with the layer's attributes as arguments."""

    def __init__(self, function: str, x: GraphTensor, values: list[object], out: Shape) -> None:
        self.x, self.out = x, out
        self.node = SimpleNamespace(name=function, args=[x, *values], shape=(1, *out))

    def get(self, i: int, default: object = None) -> object:
        return self.node.args[i] if len(self.node.args) > i else default

    def tensor(self, i: int) -> GraphTensor:
        return self.x

    def moves(self, i: int) -> bool:
        return i == 0

    def array(self, i: int, purpose: str = "") -> np.ndarray:
        """Return a parameter of a layer as a float32 array [...], by its position among the arguments."""
        value = self.get(i)
        assert isinstance(value, Tensor)
        return to_array(value)


def read_neuron(m: Neuron) -> Content:
    """Return kind, attributes and parameters of a plif neuron layer; alpha (1/tau) is [] or [C], none for IF."""
    alpha = m.alpha()
    return m.kind, read_membrane_attrs(m, m.decay_input), {} if alpha is None else {"alpha": to_array(alpha)}


def read_membrane_attrs(m: Any, decay_input: bool) -> dict[str, object]:
    return {
        "v_threshold": float(m.v_threshold),
        "v_reset": None if m.v_reset is None else float(m.v_reset),
        "decay_input": bool(decay_input),
        "charge": "exact",
    }


def to_array(value: Tensor) -> np.ndarray:
    """Return a tensor [...] as a float32 array of its shape, copied."""
    return value.detach().cpu().numpy().astype(np.float32)
