"""The conversion of graph operations to NIR layers.

Each function takes (nir, graph node, shape of its input, options) and returns NIR's node, or raises Unsupported.
"""

from __future__ import annotations

from types import ModuleType
from typing import Protocol

import numpy as np

from plif_export.core.readers.rules import Unsupported, require
from runtime.core.model.graph import Node, Shape
from runtime.core.model.ops import expand_sizes
from runtime.core.model.ops.operation import conv_geometry


class NirWriter(Protocol):
    """The interface of the writer of NIR graphs (in target.py), with its options."""

    fold_votes: bool

    def expand(self, values: np.ndarray, shape: Shape, /) -> np.ndarray:
        """Expand a layer's parameter [], [C] or [*shape] to one number for each neuron, [*shape]."""


def _conv(nir: ModuleType, node: Node, shape: Shape, options: NirWriter) -> object:
    weight, dims = node.params["weight"], len(shape) - 1
    bias = node.params.get("bias", np.zeros(len(weight), np.float32))
    stride, padding, dilation = conv_geometry(node, dims)
    groups = int(node.attrs["groups"])
    if dims == 1:
        return nir.Conv1d(shape[1], weight, stride[0], padding[0], dilation[0], groups, bias)
    return nir.Conv2d(shape[1:], weight, stride, padding, dilation, groups, bias)


def _scale(nir: ModuleType, node: Node, shape: Shape, options: NirWriter) -> object:
    advice = "put batch normalisation behind a convolution or linear layer"
    require(not np.any(node.params["shift"]), "NIR scales a map, but does not shift it", advice)
    return nir.Scale(options.expand(node.params["scale"], node.shape))


def _mul(nir: ModuleType, node: Node, shape: Shape, options: NirWriter) -> object:
    raise Unsupported("NIR cannot multiply values", "add them (residual addition), or use --to onnx")


def _max_pool(nir: ModuleType, node: Node, shape: Shape, options: NirWriter) -> object:
    raise Unsupported("NIR has no max-pooling", "train with average pooling (APk2s2 in the notation), or use --to onnx")


def _avg_pool(nir: ModuleType, node: Node, shape: Shape, options: NirWriter) -> object:
    advice = "use a strided convolution" if node.op == "AvgPool" else "use a linear layer"
    require(len(shape) == 3, f"NIR pools maps [channels, height, width], not {list(shape)}", advice)
    keys = (("kernel", shape[1:]), ("stride", shape[1:]), ("padding", 0))
    return nir.AvgPool2d(*(np.array(expand_sizes(node.attrs.get(key, default), 2)) for key, default in keys))


def _vote(nir: ModuleType, node: Node, shape: Shape, options: NirWriter) -> object:
    advice = "--set votes=fold makes a Linear of it, with weights of 1 / voters"
    require(options.fold_votes, "NIR has no vote", advice)
    voters = int(node.attrs["voters"])
    return nir.Linear(np.repeat(np.eye(shape[0] // voters, dtype=np.float32), voters, axis=1) / np.float32(voters))


def _linear(nir: ModuleType, node: Node, shape: Shape, options: NirWriter) -> object:
    require(len(shape) == 1, f"NIR's Affine reads a vector, not {list(shape)}", "flatten it, or use --to onnx")
    if "bias" in node.params:
        return nir.Affine(node.params["weight"], node.params["bias"])
    return nir.Linear(node.params["weight"])


def _concat(nir: ModuleType, node: Node, shape: Shape, options: NirWriter) -> object:
    raise Unsupported("NIR cannot put values side by side", "add them (residual addition), or use --to onnx")


def _flatten(nir: ModuleType, node: Node, shape: Shape, options: NirWriter) -> object:
    return nir.Flatten({"input": np.array(shape)}, 0, -1)


LAYERS = {
    "Conv": _conv,
    "Linear": _linear,
    "Affine": _scale,
    "Mul": _mul,
    "MaxPool": _max_pool,
    "AvgPool": _avg_pool,
    "GlobalAvgPool": _avg_pool,
    "Vote": _vote,
    "Flatten": _flatten,
    "Concat": _concat,
}
