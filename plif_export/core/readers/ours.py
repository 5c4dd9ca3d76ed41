"""One of our own networks -> SNN graph: each NamedLayer is read as the function of PyTorch that it calls
(runtime/core/model/ops).

The membrane constant becomes one number here: alpha = sigmoid(w) = 1/tau (LIF: 1/tau as given), in float32, computed by
PyTorch itself so that the exported alpha is the trained one bit for bit. The graph has no w.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor, nn

from plif_export.core.proof.reference import NetworkReference
from plif_export.core.readers.facts import ModelFacts, TrainedModel
from plif_train.core.loop.checkpoint import load_torch
from plif_train.core.network.network import Network, layer_of
from plif_train.core.network.neuron import Neuron
from runtime.core.base.errors import PlifError
from runtime.core.model.graph import Graph, Node, Shape
from runtime.core.model.ops import OPERATIONS
from runtime.core.model.ops.operation import GraphTensor, NewNode
from runtime.core.model.ops.ports import TorchCall
from runtime.core.model.readers.torch_zip import HoldsCode

SNIPPET = "docs/other-libraries.md shows the two lines that save its state_dict where it was made"
Content: TypeAlias = tuple[
    str, dict[str, object], dict[str, np.ndarray]
]  # operation or kind of neuron, attributes, parameters


def has_card(path: Path) -> bool:
    """Whether it is a model.pt of ours. Raises PlifError when it is not a file of tensors at all."""
    content = load_tensors(path)
    return isinstance(content, dict) and isinstance(content.get("card"), str)


def load_tensors(path: Path) -> object:
    try:
        return load_torch(path, "a state_dict or a model.pt")
    except HoldsCode as found:
        raise PlifError(
            f"{path}: holds Python objects ({found.name}), which may run code and are never loaded; {SNIPPET}"
        ) from None


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
    values = [getattr(module, name, None) for name in names.split()]
    made = operation.torch[function](_LayerCall(function, x, values, out))  # type: ignore[abstract] # it asks for no more
    assert isinstance(made, NewNode) and made.op == op
    return made


class _LayerCall(TorchCall):
    """A layer's function, called on x with the layer's attributes behind it."""

    def __init__(self, function: str, x: GraphTensor, values: list[object], out: Shape) -> None:
        self.x, self.out = x, out
        self.node = SimpleNamespace(name=function, args=[x, *values], shape=(1, *out))

    def get(self, i: int, default: object = None) -> object:
        return self.node.args[i] if len(self.node.args) > i else default

    def tensor(self, i: int) -> GraphTensor:
        return self.x

    def moves(self, i: int) -> bool:
        return i == 0

    def array(self, i: int, what: str = "") -> np.ndarray:
        """The layer's parameter, [...] float32."""
        value = self.get(i)
        assert isinstance(value, Tensor)
        return array(value)


def own_neuron(m: Neuron) -> Content:
    """A plif_train.core.network.neuron.Neuron; alpha [] or [C] in float32, none for IF."""
    alpha = m.alpha()
    return m.kind, membrane_attrs(m, m.decay_input), {} if alpha is None else {"alpha": array(alpha)}


def membrane_attrs(m: Any, decay_input: bool) -> dict[str, object]:
    return {
        "v_threshold": float(m.v_threshold),
        "v_reset": None if m.v_reset is None else float(m.v_reset),
        "decay_input": bool(decay_input),
        "charge": "exact",
    }


def array(value: Tensor) -> np.ndarray:
    """A tensor [...] as a float32 array of its shape, copied."""
    return value.detach().cpu().numpy().astype(np.float32)
