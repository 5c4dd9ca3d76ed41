"""The layers of NIR as operations of the graph.

Each function takes (reader, name, NIR node, the node that it reads, the shape of that) and returns (graph node,
shape).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from plif_export.core.readers.rules import require
from runtime.core.model.graph import Shape
from runtime.core.model.ops.convolution import conv_attrs, padding_sizes
from runtime.core.model.ops.operation import compact_sizes

NamedShape = tuple[str, Shape]  # the name of a graph node, and its shape


class NirReader(Protocol):
    """The interface of a NIR file's reader: its methods add nodes to the graph; return their names and shapes."""

    def add(self, name: str, op: str, inputs: tuple[str, ...], shape: Shape, /) -> str: ...

    def add_layer(
        self,
        name: str,
        op: str,
        x: str,
        shape: Shape,
        attrs: Mapping[str, object],
        params: Mapping[str, np.ndarray] | None = None,
        /,
    ) -> NamedShape: ...

    def read_sizes(self, value: Any, dims: int, /) -> Shape: ...

    def collapse_uniform(self, value: Any, shape: Shape, name: str, /) -> np.ndarray:
        """Reduce a parameter array to one number [] if all are equal, or one per channel [C]; else keep its shape."""


def _read_conv(r: NirReader, name: str, node: Any, x: str, shape: Shape) -> NamedShape:
    weight = np.asarray(node.weight, np.float32)
    dims = weight.ndim - 2
    rule = f"a {type(node).__name__} over {list(shape)}"
    require(len(shape) == dims + 1, rule, "give it an input of channels and space")
    stride, dilation = (r.read_sizes(value, dims) for value in (node.stride, node.dilation))
    padding = node.padding.decode() if isinstance(node.padding, bytes) else node.padding
    pads = r.read_sizes(padding_sizes(padding, dilation, weight.shape[2:]), dims)
    params = {"weight": weight}
    if node.bias is not None and np.any(node.bias):
        params["bias"] = np.asarray(node.bias, np.float32).reshape(-1)
    return r.add_layer(name, "Conv", x, shape, conv_attrs(stride, pads, node.groups, dilation, dims), params)


def _read_scale(r: NirReader, name: str, node: Any, x: str, shape: Shape) -> NamedShape:
    scale = r.collapse_uniform(node.scale, shape, "scale")
    return r.add_layer(name, "Affine", x, shape, {}, {"scale": scale, "shift": np.zeros_like(scale)})


def _read_avg_pool(r: NirReader, name: str, node: Any, x: str, shape: Shape) -> NamedShape:
    require(len(shape) == 3, f"a {type(node).__name__} over {list(shape)}", "give it an input of channels and space")
    kernel, stride, padding = (r.read_sizes(value, 2) for value in (node.kernel_size, node.stride, node.padding))
    attrs = {"kernel": compact_sizes(kernel, 2), "stride": compact_sizes(stride, 2)}
    if any(padding):
        attrs["padding"] = compact_sizes(padding, 2)
    return r.add_layer(name, "AvgPool", x, shape, attrs)


def _read_sum_pool(r: NirReader, name: str, node: Any, x: str, shape: Shape) -> NamedShape:
    """Convert a SumPool2d node of a NIR file to an average pooling times the size of its window."""
    mean, out = _read_avg_pool(r, f"{name}_mean", node, x, shape)
    size = np.array(np.prod(r.read_sizes(node.kernel_size, 2)), np.float32)
    return r.add_layer(name, "Affine", mean, out, {}, {"scale": size, "shift": np.zeros_like(size)})


def _read_linear(r: NirReader, name: str, node: Any, x: str, shape: Shape) -> NamedShape:
    weight = np.asarray(node.weight, np.float32)
    require(len(shape) == 1, f"a {type(node).__name__} over a map {list(shape)}", "put a Flatten before it")
    fits = weight.ndim == 2 and weight.shape[1] == shape[0]
    require(fits, f"weights {list(weight.shape)} over {list(shape)}", "check it")
    params = {"weight": weight}
    if getattr(node, "bias", None) is not None:
        params["bias"] = np.asarray(node.bias, np.float32).reshape(-1)
    return r.add_layer(name, "Linear", x, shape, {}, params)


def _read_flatten(r: NirReader, name: str, node: Any, x: str, shape: Shape) -> NamedShape:
    start, end = int(node.start_dim), int(node.end_dim)
    flattens_all = start in (0, -len(shape)) and end in (-1, len(shape) - 1)
    rule = f"it flattens axes {start} to {end} of {list(shape)}"
    require(flattens_all or len(shape) == 1, rule, "flatten all axes")
    out: Shape = (int(np.prod(shape)),)
    return (x, shape) if len(shape) == 1 else (r.add(name, "Flatten", (x,), out), out)


LAYERS = {
    "Conv1d": _read_conv,
    "Conv2d": _read_conv,
    "Affine": _read_linear,
    "Linear": _read_linear,
    "Scale": _read_scale,
    "AvgPool2d": _read_avg_pool,
    "SumPool2d": _read_sum_pool,
    "Flatten": _read_flatten,
}
