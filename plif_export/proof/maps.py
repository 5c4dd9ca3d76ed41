"""The golden model of operations that make maps of another size. See plif_export/proof/interpret.py.

Each is (node, x [B, C, ...], parameters) -> [B, C', ...], over one, two or three axes of space.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np

from runtime.model.graph import Node, spatial

Array = np.ndarray
Params = dict[str, Array]


def _conv_transpose(node: Node, x: Array, p: Params) -> Array:
    """y[o, n * stride + k * dilation - padding] += x[i, n] W[i, o, k] for every place n and every tap k; W is [I, O / g, ...]."""
    a, weight = node.attrs, p["weight"]
    kernel, dims = weight.shape[2:], weight.ndim - 2
    stride, padding, dilation = (spatial(a[key], dims) for key in ("stride", "padding", "dilation"))
    groups, size = a["groups"], x.shape[2:]
    outputs = weight.shape[1] * groups
    # wide enough for every tap, and for what output_padding adds behind the last
    wide = [
        max((n - 1) * s + (k - 1) * d + 1, o + q)
        for n, s, k, d, o, q in zip(size, stride, kernel, dilation, node.shape[1:], padding, strict=True)
    ]
    y = np.zeros((len(x), outputs, *wide), x.dtype)
    x = x.reshape(len(x), groups, -1, *size)
    weight = weight.reshape(groups, -1, *weight.shape[1:])
    for tap in product(*(range(k) for k in kernel)):
        part = np.einsum("bgi...,gio->bgo...", x, weight[_space(3, *tap)]).reshape(len(x), outputs, *size)
        places = (
            slice(k * d, k * d + (n - 1) * s + 1, s) for k, d, n, s in zip(tap, dilation, size, stride, strict=True)
        )
        y[_space(2, *places)] += part
    inside = (slice(q, q + o) for q, o in zip(padding, node.shape[1:], strict=True))
    y = y[_space(2, *inside)]
    return y + p["bias"].reshape(-1, *(1,) * dims) if "bias" in p else y


def _space(axes: int, *where: slice | int) -> tuple[slice | int, ...]:
    """An index of so many whole axes, and of places behind them."""
    return (*(slice(None),) * axes, *where)


def _adaptive(node: Node, x: Array, p: Params) -> Array:
    """Each output is the mean of the inputs from floor(i n / m) to ceil((i + 1) n / m), on every axis."""
    sizes = x.shape[2:]
    y = np.zeros((*x.shape[:2], *node.shape[1:]), x.dtype)
    for place in product(*(range(m) for m in node.shape[1:])):
        window = (slice(i * n // m, -(-(i + 1) * n // m)) for i, n, m in zip(place, sizes, node.shape[1:], strict=True))
        part = x[_space(2, *window)]
        y[_space(2, *place)] = part.mean(axis=tuple(range(2, x.ndim)), dtype=x.dtype)
    return y


def _resize(node: Node, x: Array, p: Params) -> Array:
    """nearest: the input at floor(i n / m). linear: between the two beside (i + 1/2) n / m - 1/2, or, with align_corners, beside
    i (n - 1) / (m - 1); as PyTorch's interpolate, one axis after the other."""
    for axis, m in enumerate(node.shape[1:], 2):
        n = x.shape[axis]
        if node.attrs["mode"] == "nearest":
            x = x.take(
                np.minimum(np.floor(np.arange(m, dtype=np.float32) * np.float32(n / m)), n - 1).astype(int), axis
            )
            continue
        if node.attrs.get("align_corners", False):
            at = np.arange(m) * ((n - 1) / max(m - 1, 1))
        else:
            at = np.maximum((np.arange(m) + 0.5) * (n / m) - 0.5, 0)
        low = np.minimum(np.floor(at).astype(int), n - 1)
        weight = (at - low).astype(x.dtype).reshape(-1, *(1,) * (x.ndim - 1 - axis))
        x = x.take(low, axis) * (1 - weight) + x.take(np.minimum(low + 1, n - 1), axis) * weight
    return x


MAPS: dict[str, Callable[..., Array]] = {
    "ConvTranspose": _conv_transpose,
    "AdaptiveAvgPool": _adaptive,
    "Resize": _resize,
}
