"""model.pt -> SNN graph: walks the notation's plan and takes each layer's weights by the layer's name.

The membrane constant becomes one number here: alpha = sigmoid(w) = 1/tau (LIF: 1/tau as given), in float32, computed by
PyTorch itself so that the exported alpha is the trained one bit for bit. No w is left behind.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from plif_train.network import Network, layer_of
from runtime.model.graph import Graph, Node
from runtime.model.notation import FC, Conv, Pool, Step


def read_network(net: Network) -> Graph:
    """The graph of one of our own networks, weights copied."""
    neurons = net.neurons()
    weights = {key: value.detach().cpu().numpy().astype(np.float32) for key, value in net.state_dict().items()}
    nodes: list[Node] = []
    previous = "x"
    for step in net.plan:
        attrs, params = _content(step, net, neurons, weights)
        nodes.append(Node(step.name, step.op, (previous,), step.out_shape, attrs, params))
        previous = step.name
    return Graph(input_shape=net.meta.shape, nodes=tuple(nodes), output=previous)


def _content(
    step: Step, net: Network, neurons: dict[str, Any], weights: dict[str, np.ndarray]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    def take(*names: str) -> dict[str, np.ndarray]:
        return {name: weights[f"{step.name}.{name}"] for name in names if f"{step.name}.{name}" in weights}

    layer = step.layer
    if isinstance(layer, Conv):
        return {"stride": layer.stride, "padding": layer.padding, "groups": 1}, take("weight", "bias")
    if isinstance(layer, FC):
        return {}, take("weight", "bias")
    if step.op == "BatchNorm":
        params = take("weight", "bias")
        params["mean"], params["var"] = weights[f"{step.name}.running_mean"], weights[f"{step.name}.running_var"]
        return {"eps": float(getattr(net, step.name).eps)}, params
    if step.op == "Neuron":
        block = layer_of(step.name)
        neuron = neurons[block]
        attrs = {
            "kind": neuron.kind,
            "layer": block,
            "v_threshold": float(neuron.v_threshold),
            "v_reset": None if neuron.v_reset is None else float(neuron.v_reset),
            "decay_input": bool(neuron.decay_input),
            "charge": "exact",
        }
        if neuron.kind == "IF":
            return attrs, {}
        return attrs, {"alpha": neuron.alpha().detach().cpu().numpy().astype(np.float32)}
    if isinstance(layer, Pool) and step.op != "Vote":
        return {"kernel": layer.kernel, "stride": layer.stride}, {}
    if isinstance(layer, Pool):
        return {"voters": layer.kernel}, {}
    if step.op == "Dropout":
        return {"p": float(net.options.dropout)}, {}
    return {}, {}
