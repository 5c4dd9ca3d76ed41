"""Synaptic operations of a network, and an estimate of their energy.

A synapse counts only when a non-zero value arrives through a non-zero weight. With N[i] the number of steps in which
element i of a layer's input was not zero, and F[i] its fan-out, the number of weights to an output,

    effective = sum_i N[i] F[i]         dense = steps sum_i F1[i]    with F1 the fan-out when no weight is zero

This is the definition of NeuroBench (Yik et al., "NeuroBench: a framework for benchmarking neuromorphic computing",
arXiv:2304.04640): it counts neither biases nor the padding of a convolution. A layer adds (AC, accumulate) if its
inputs are -1, 0 or 1, and multiplies and adds (MAC) otherwise. NeuroBench decides this for each batch, this module
for the whole measurement. Neurons, pooling and products of two activations (MatMul) are not synapses, and are not
counted.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from runtime.core.model.card import Card
from runtime.core.model.grids import center_weights
from runtime.core.model.ops import expand_sizes
from runtime.core.model.readers.onnx_contents import read_initializers
from runtime.core.model.records import NodeRecord

SYNAPTIC = ("Conv", "Linear", "ConvTranspose")

# Picojoules of an operation in 45 nm at 0.9 V: M. Horowitz, "Computing's energy problem (and what we can do about it)",
# ISSCC 2014, figure 1.1.9. {kind of weight: (MAC, AC)}: fp32 3.7 + 0.9 and 0.9; fp16 multiplies in 1.1 and adds in fp32,
# as plif's fp16 does; int8 multiplies in 0.2 and adds int32 in 0.1.
PICOJOULES = {"float32": (4.6, 0.9), "float16": (2.0, 0.9), "int8": (0.3, 0.1)}
ENERGY_SOURCE = (
    "M. Horowitz, Computing's energy problem (and what we can do about it), ISSCC 2014: 45 nm; fp32 4.6 pJ a MAC, 0.9 pJ an AC; "
    "fp16 2.0 and 0.9; int8 0.3 and 0.1"
)


@dataclass(frozen=True)
class LayerOps:
    """The synaptic operations of one layer per sample, as the mean over the measured samples.

    kind       "AC" or "MAC"
    effective  operations with non-zero operands;  dense: all operations if no value were zero
    density    the share (0..1) of the layer's inputs that are not zero
    picojoules the estimate for `effective`;  dense_picojoules: for `dense`, as multiplications
    """

    layer: str
    kind: str
    effective: float
    dense: float
    density: float
    picojoules: float
    dense_picojoules: float


def synaptic_nodes(card: Card) -> list[NodeRecord]:
    """Return the nodes with synapses (Conv, Linear, ConvTranspose) of an artifact's graph, in network order."""
    return [node for node in card["graph"]["nodes"] if node["op"] in SYNAPTIC]


def uncounted_nodes(card: Card) -> list[str]:
    """Return the names of graph nodes that multiply but do not count as synapses (MatMul)."""
    return [node["name"] for node in card["graph"]["nodes"] if node["op"] == "MatMul"]


def node_input_shape(card: Card, node: NodeRecord) -> tuple[int, ...]:
    """Return the shape of the first input of a graph node, without the batch axis."""
    graph = card["graph"]
    shapes = {graph["input"]: card["input"]["shape"], **{n["name"]: n["shape"] for n in graph["nodes"]}}
    return tuple(shapes[node["inputs"][0]])


def count_layer_ops(
    card: Card, path: Path, arrived: Mapping[str, np.ndarray], binary: Mapping[str, bool], samples: int, steps: int
) -> list[LayerOps]:
    """Count the synaptic operations of each layer with weights of an ONNX artifact, per sample.

    arrived  {node: int64 [...] of its input's shape, the steps in which each element was not zero}, over all samples
    binary   {node: whether all inputs were -1, 0 or 1}
    steps    of all samples together
    """
    nodes = synaptic_nodes(card)
    names = [name for node in nodes for name in _weight_tensors(node)]
    weights = read_initializers(path, names)
    layers = []
    for node in nodes:
        weight = _select_weight(node, weights)
        shape = node_input_shape(card, node)
        fan, full = (count_fan_out(node, shape, mask) for mask in (weight != 0, np.ones(weight.shape, bool)))
        n = arrived[node["name"]]
        effective, dense = float((n * fan).sum()) / samples, float(full.sum()) * steps / samples
        kind = "AC" if binary[node["name"]] else "MAC"
        mac, ac = PICOJOULES[weight.dtype.name]
        cost = ac if kind == "AC" else mac
        density = float(n.sum()) / (n.size * steps)
        layers.append(LayerOps(node["name"], kind, effective, dense, density, cost * effective, mac * dense))
    return layers


def count_fan_out(node: NodeRecord, shape: tuple[int, ...], mask: np.ndarray) -> np.ndarray:
    """Return the number of products in which each element of a layer's input takes part, int64 of `shape`.

    mask  bool, of the weight's shape: the weights that count
    """
    if node["op"] == "Linear":  # weight [O, I], over the last axis
        return np.broadcast_to(mask.sum(0, dtype=np.int64), shape)
    transposed = node["op"] == "ConvTranspose"
    a, dims = node["attrs"], mask.ndim - 2
    groups = a["groups"]
    # [channels of the input, k...]: the weights of a channel at each place of the kernel
    if transposed:  # weight [I, O/groups, k...]
        counts = mask.sum(1, dtype=np.int64)
    else:  # weight [O, I/groups, k...]
        parts = mask.reshape(groups, mask.shape[0] // groups, *mask.shape[1:]).sum(1, dtype=np.int64)
        counts = parts.reshape(shape[0], *mask.shape[2:])
    stride, padding, dilation = (
        expand_sizes(a.get(key, default), dims) for key, default in (("stride", 1), ("padding", 0), ("dilation", 1))
    )
    out = np.zeros(shape, np.int64)
    sizes, outputs = shape[1:], node["shape"][1:]
    channels = np.arange(shape[0])
    for place, k in enumerate(itertools.product(*(range(size) for size in mask.shape[2:]))):
        # a convolution reads i = o stride - padding + k dilation; a transposed one writes there
        places = [channels]
        for axis in range(dims):
            size_ = sizes[axis] if transposed else outputs[axis]
            positions = np.arange(size_) * stride[axis] - padding[axis] + k[axis] * dilation[axis]
            inside = (positions >= 0) & (positions < (outputs[axis] if transposed else sizes[axis]))
            places.append(np.flatnonzero(inside) if transposed else positions[inside])
        out[np.ix_(*places)] += counts.reshape(shape[0], -1)[:, place].reshape(-1, *(1,) * dims)
    return out


def _weight_tensors(node: NodeRecord) -> list[str]:
    return [node["params"]["weight"], f"{node['name']}.zero_points"]


def _select_weight(node: NodeRecord, weights: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the weight [O, I, ...] of a graph node with synapses: float32 or float16, or int8 in a quantised layer."""
    name, zero_points = _weight_tensors(node)
    weight: np.ndarray = weights[name]
    if weight.dtype == np.uint8:
        return center_weights(weight, node["attrs"].get("bits", 8))
    if weight.dtype == np.int8 and node["op"] == "Linear" and zero_points not in weights:
        return np.transpose(weight)  # as MatMulInteger reads it
    return weight
