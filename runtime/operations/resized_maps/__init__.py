"""Maps of other sizes: pooled to a size (pooling.py), and Resize, to the node's shape, as PyTorch's interpolate.

    nearest   the input at floor(i n / m)
    linear    between the two beside (i + 1/2) n / m - 1/2, or, with align_corners, beside i (n - 1) / (m - 1); an axis at a time

Linear resizing and adaptive pooling are products with a small matrix for each axis, Y = A X, and nearest is a choice of
places: ONNX's own Resize differs from PyTorch's in where it rounds, and engines differ in which of its modes they have.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from runtime.core.model.ops.operation import Backend, NewNode, Node, Params, Value, names, register
from runtime.core.model.ops.ports import OnnxEmitter, TorchCall
from runtime.core.model.refusals import require
from runtime.operations.resized_maps.pooling import along  # registers its operations, too


def _resize(m: Backend, node: Node, p: Params, x: Value) -> Value:
    if node.attrs["mode"] == "nearest":
        for axis, size in enumerate(node.shape[1:], 2):
            x = m.take(x, axis, partial(nearest, m=size))
        return x
    corners = bool(node.attrs.get("align_corners", False))
    return along(m, node, x, lambda n, size: between(n, size, corners))


def nearest(n: int, m: int) -> np.ndarray:
    """int64 [m]: which of n places each output takes; the ratio is float32, as PyTorch's."""
    return np.asarray(np.minimum(np.floor(np.arange(m, dtype=np.float32) * np.float32(n / m)), n - 1), np.int64)


def between(n: int, m: int, corners: bool) -> np.ndarray:
    """[m, n] float32 of linear interpolation: two weights a row."""
    at = np.arange(m) * ((n - 1) / max(m - 1, 1)) if corners else np.maximum((np.arange(m) + 0.5) * (n / m) - 0.5, 0)
    low = np.minimum(at.astype(np.int64), n - 1)
    rows = np.zeros((m, n), np.float32)
    rows[np.arange(m), low] += (1 - (at - low)).astype(np.float32)
    rows[np.arange(m), np.minimum(low + 1, n - 1)] += (at - low).astype(np.float32)
    return rows


def _onnx(e: OnnxEmitter, node: Node, x: str) -> str:
    if node.attrs["mode"] != "nearest":
        corners = bool(node.attrs.get("align_corners", False))
        return str(e.along(node, x, lambda n, m: between(n, m, corners)))
    sizes = e.shapes[node.inputs[0]]
    for axis, (n, m) in enumerate(zip(sizes[1:], node.shape[1:], strict=True), 2):
        index = e.weight(f"{node.name}.places{axis}", nearest(n, m))
        name = node.name if axis == len(node.shape) else f"{node.name}.along{axis}"
        x = e.op("Gather", [x, index], name, axis=axis)
    return x


def _read(c: TorchCall) -> NewNode:
    linear = "nearest" not in c.node.name
    attrs: dict[str, object] = {"mode": "linear" if linear else "nearest"}
    if linear:
        attrs["align_corners"] = bool(c.get(2))
    x = c.tensor(0)
    factors = c.get(3 if linear else 2) if c.node.op._overloadname == "vec" else None
    whole = factors is None or all(n * f == m for n, f, m in zip(x.shape[1:], factors, c.out[1:], strict=True))
    require(whole, f"scale_factor {factors} makes no whole size of {list(x.shape)}", "give it the size")
    return NewNode("Resize", (x,), attrs)


register(
    "Resize",
    _resize,
    attrs=("mode",),
    onnx=_onnx,
    torch=names(
        "upsample_nearest?d upsample_linear1d upsample_bilinear2d upsample_trilinear3d",
        _read,
    ),
    measured=True,
)
