"""Operations that make maps of another size, as ONNX (plif_export/writers/emit.py).

Resize and adaptive pooling are linear and go axis by axis, so they are written as products with a small matrix for each axis,
Y = A X along that axis, and nearest as a choice of places (Gather): ONNX's own Resize differs from PyTorch's in where it rounds,
and engines differ in which of its modes they have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from plif_export.writers.emitter import Emitter
from runtime.model.graph import Node, spatial

Matrix = np.ndarray  # [m, n]: m outputs of n inputs


def _conv_transpose(e: Emitter, node: Node, x: str) -> str:
    weight, a = node.params["weight"], node.attrs
    dims = weight.ndim - 2
    padding = spatial(a["padding"], dims)
    place: dict[str, Any] = {
        "kernel_shape": list(weight.shape[2:]),
        "strides": list(spatial(a["stride"], dims)),
        "pads": [*padding, *padding],
        "output_padding": list(spatial(a["output_padding"], dims)),
        "dilations": list(spatial(a["dilation"], dims)),
        "group": a["groups"],
    }
    params = [e.weight(f"{node.name}.{key}", node.params[key]) for key in ("weight", "bias") if key in node.params]
    return e.op("ConvTranspose", [x, *params], node.name, **place)


def _adaptive(e: Emitter, node: Node, x: str) -> str:
    return _along_axes(e, node, x, means)


def means(n: int, m: int) -> Matrix:
    """[m, n] float32: output i is the mean of the inputs from floor(i n / m) to ceil((i + 1) n / m)."""
    rows = np.zeros((m, n), np.float32)
    for i in range(m):
        first, last = i * n // m, -(-(i + 1) * n // m)
        rows[i, first:last] = 1 / (last - first)
    return rows


def _resize(e: Emitter, node: Node, x: str) -> str:
    if node.attrs["mode"] == "nearest":
        sizes = e.shapes[node.inputs[0]]
        for axis, (n, m) in enumerate(zip(sizes[1:], node.shape[1:], strict=True), 2):
            last = axis == len(node.shape)
            places = np.minimum(np.floor(np.arange(m, dtype=np.float32) * np.float32(n / m)), n - 1).astype(np.int64)
            index = e.weight(f"{node.name}.places{axis}", places)
            x = e.op("Gather", [x, index], node.name if last else f"{node.name}.along{axis}", axis=axis)
        return x
    corners = bool(node.attrs.get("align_corners", False))
    return _along_axes(e, node, x, lambda n, m: between(n, m, corners))


def between(n: int, m: int, corners: bool) -> Matrix:
    """[m, n] float32 of linear interpolation: two weights a row."""
    at = np.arange(m) * ((n - 1) / max(m - 1, 1)) if corners else np.maximum((np.arange(m) + 0.5) * (n / m) - 0.5, 0)
    low = np.minimum(at.astype(np.int64), n - 1)
    rows = np.zeros((m, n), np.float32)
    rows[np.arange(m), low] += (1 - (at - low)).astype(np.float32)
    rows[np.arange(m), np.minimum(low + 1, n - 1)] += (at - low).astype(np.float32)
    return rows


def _along_axes(e: Emitter, node: Node, x: str, matrix: Callable[[int, int], Matrix]) -> str:
    """One product for each axis of space, the last first: X A^T for the last axis, A X for the one before it."""
    sizes, dims = e.shapes[node.inputs[0]][1:], len(node.shape) - 1
    for turn, axis in enumerate(reversed(range(dims))):
        rows = matrix(sizes[axis], node.shape[1 + axis])
        weight = e.weight(f"{node.name}.along{axis}", rows.T if axis == dims - 1 else rows)
        name = node.name if turn == dims - 1 else f"{node.name}.axis{axis}"
        x = e.op("MatMul", [x, weight] if axis == dims - 1 else [weight, x], name)
    return x


MAP_OPS: dict[str, Callable[..., str]] = {
    "ConvTranspose": _conv_transpose,
    "AdaptiveAvgPool": _adaptive,
    "Resize": _resize,
}
