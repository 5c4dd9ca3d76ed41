"""The operation Resize, to the node's shape, with the arithmetic of PyTorch's interpolate.

    nearest   the input at floor(i n / m)
    linear    between the two inputs next to (i + 1/2) n / m - 1/2, or, with align_corners, next to i (n - 1) / (m -
              1); one axis at a time

Linear resizing and adaptive pooling (pooling.py) are products with a small matrix for each axis, Y = A X, and nearest
is a gather. ONNX's own Resize differs from PyTorch's in its rounding, and engines differ in the modes that they
support.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from runtime.core.model.ops.operation import Backend, NewNode, Node, Params, Value, names, register
from runtime.core.model.ops.ports import OnnxEmitter, TorchCall
from runtime.core.model.refusals import require
from runtime.operations.resized_maps.pooling import resize_axes  # the import registers its operations as well


def _resize(m: Backend, node: Node, p: Params, x: Value) -> Value:
    if node.attrs["mode"] == "nearest":
        for axis, size in enumerate(node.shape[1:], 2):
            x = m.take(x, axis, partial(nearest_indices, m=size))
        return x
    align_corners = bool(node.attrs.get("align_corners", False))
    return resize_axes(m, node, x, lambda n, size: linear_matrix(n, size, align_corners))


def nearest_indices(n: int, m: int) -> np.ndarray:
    """Return int64 [m]: the input index of each output of nearest-neighbour resizing from n to m.

    The ratio is float32, as in PyTorch.
    """
    return np.asarray(np.minimum(np.floor(np.arange(m, dtype=np.float32) * np.float32(n / m)), n - 1), np.int64)


def linear_matrix(n: int, m: int, corners: bool) -> np.ndarray:
    """Return the float32 [m, n] matrix of linear interpolation from n to m points: two weights a row."""
    positions = (
        np.arange(m) * ((n - 1) / max(m - 1, 1)) if corners else np.maximum((np.arange(m) + 0.5) * (n / m) - 0.5, 0)
    )
    low = np.minimum(positions.astype(np.int64), n - 1)
    rows = np.zeros((m, n), np.float32)
    rows[np.arange(m), low] += (1 - (positions - low)).astype(np.float32)
    rows[np.arange(m), np.minimum(low + 1, n - 1)] += (positions - low).astype(np.float32)
    return rows


def _onnx(e: OnnxEmitter, node: Node, x: str) -> str:
    if node.attrs["mode"] != "nearest":
        corners = bool(node.attrs.get("align_corners", False))
        return str(e.matmul_axes(node, x, lambda n, m: linear_matrix(n, m, corners)))
    sizes = e.shapes[node.inputs[0]]
    for axis, (n, m) in enumerate(zip(sizes[1:], node.shape[1:], strict=True), 2):
        index = e.weight(f"{node.name}.places{axis}", nearest_indices(n, m))
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
    is_exact = factors is None or all(n * f == m for n, f, m in zip(x.shape[1:], factors, c.out[1:], strict=True))
    require(is_exact, f"scale_factor {factors} makes no whole size of {list(x.shape)}", "give it the size")
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
