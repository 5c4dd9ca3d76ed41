"""NIR's layers as operations of the graph: (reader, name, its node, what it reads, the shape of that) -> (our node, shape)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from plif_export.core.readers.rules import require
from runtime.core.model.graph import Shape
from runtime.core.model.ops.convolution import padding_sizes, place_attrs
from runtime.core.model.ops.operation import plain

Read = tuple[str, Shape]  # a node that was read, and its shape


class NirReader(Protocol):
    """What reads the file (reader.py): methods enter nodes, and give their names and shapes."""

    def add(self, name: str, op: str, inputs: tuple[str, ...], shape: Shape, /) -> str: ...

    def layer(
        self,
        name: str,
        op: str,
        x: str,
        shape: Shape,
        attrs: Mapping[str, object],
        params: Mapping[str, np.ndarray] | None = None,
        /,
    ) -> Read: ...

    def sizes(self, value: Any, dims: int, /) -> Shape: ...

    def collapsed(self, value: Any, shape: Shape, name: str, /) -> np.ndarray:
        """Numbers [*shape] as [] or [C], where they are the same all over."""


def _conv(r: NirReader, name: str, node: Any, x: str, shape: Shape) -> Read:
    weight = np.asarray(node.weight, np.float32)
    dims = weight.ndim - 2
    rule = f"a {type(node).__name__} over {list(shape)}"
    require(len(shape) == dims + 1, rule, "give it an input of channels and space")
    stride, dilation = (r.sizes(value, dims) for value in (node.stride, node.dilation))
    padding = node.padding.decode() if isinstance(node.padding, bytes) else node.padding
    pads = r.sizes(padding_sizes(padding, dilation, weight.shape[2:]), dims)
    params = {"weight": weight}
    if node.bias is not None and np.any(node.bias):
        params["bias"] = np.asarray(node.bias, np.float32).reshape(-1)
    return r.layer(name, "Conv", x, shape, place_attrs(stride, pads, node.groups, dilation, dims), params)


def _scale(r: NirReader, name: str, node: Any, x: str, shape: Shape) -> Read:
    scale = r.collapsed(node.scale, shape, "scale")
    return r.layer(name, "Affine", x, shape, {}, {"scale": scale, "shift": np.zeros_like(scale)})


def _avg_pool(r: NirReader, name: str, node: Any, x: str, shape: Shape) -> Read:
    require(len(shape) == 3, f"a {type(node).__name__} over {list(shape)}", "give it an input of channels and space")
    kernel, stride, padding = (r.sizes(value, 2) for value in (node.kernel_size, node.stride, node.padding))
    attrs = {"kernel": plain(kernel, 2), "stride": plain(stride, 2)}
    if any(padding):
        attrs["padding"] = plain(padding, 2)
    return r.layer(name, "AvgPool", x, shape, attrs)


def _sum_pool(r: NirReader, name: str, node: Any, x: str, shape: Shape) -> Read:
    """The mean times the window's size."""
    mean, out = _avg_pool(r, f"{name}_mean", node, x, shape)
    size = np.array(np.prod(r.sizes(node.kernel_size, 2)), np.float32)
    return r.layer(name, "Affine", mean, out, {}, {"scale": size, "shift": np.zeros_like(size)})


def _linear(r: NirReader, name: str, node: Any, x: str, shape: Shape) -> Read:
    weight = np.asarray(node.weight, np.float32)
    require(len(shape) == 1, f"a {type(node).__name__} over a map {list(shape)}", "put a Flatten before it")
    fits = weight.ndim == 2 and weight.shape[1] == shape[0]
    require(fits, f"weights {list(weight.shape)} over {list(shape)}", "check it")
    params = {"weight": weight}
    if getattr(node, "bias", None) is not None:
        params["bias"] = np.asarray(node.bias, np.float32).reshape(-1)
    return r.layer(name, "Linear", x, shape, {}, params)


def _flatten(r: NirReader, name: str, node: Any, x: str, shape: Shape) -> Read:
    start, end = int(node.start_dim), int(node.end_dim)
    whole = start in (0, -len(shape)) and end in (-1, len(shape) - 1)
    rule = f"it flattens axes {start} to {end} of {list(shape)}"
    require(whole or len(shape) == 1, rule, "flatten all axes")
    out: Shape = (int(np.prod(shape)),)
    return (x, shape) if len(shape) == 1 else (r.add(name, "Flatten", (x,), out), out)


LAYERS = {
    "Conv1d": _conv,
    "Conv2d": _conv,
    "Affine": _linear,
    "Linear": _linear,
    "Scale": _scale,
    "AvgPool2d": _avg_pool,
    "SumPool2d": _sum_pool,
    "Flatten": _flatten,
}
