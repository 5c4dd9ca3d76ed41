"""The operations GlobalAvgPool and AdaptiveAvgPool, which pool to a given size.

GlobalAvgPool    the mean over all pixels, [C, 1, 1]
AdaptiveAvgPool  to the node's shape, in any ratio: output i is the mean of inputs floor(i n / m) to ceil((i + 1) n / m)
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from runtime.core.model.ops.operation import (
    Backend,
    Matrix,
    NewNode,
    Node,
    Params,
    Value,
    compact_sizes,
    names,
    register,
)
from runtime.core.model.ops.pool import find_pooled_vector, make_pool_counts, read_vote
from runtime.core.model.ops.ports import TorchCall
from runtime.core.model.refusals import require


def _global_mean(m: Backend, node: Node, p: Params, x: Value) -> Value:
    return m.mean(x, tuple(range(2, 1 + len(node.shape))), True)


def resize_axes(m: Backend, node: Node, x: Value, matrix: Callable[[int, int], np.ndarray]) -> Value:
    """Multiply x [B, C, ...] by a resizing matrix along each spatial axis, and return [B, C, ...].

    The last axis is first, with X A^T; the other axes are A X.
    """
    dims = len(node.shape) - 1
    for axis in reversed(range(dims)):
        x = m.matmul_axis(x, 2 + axis, _matrix_to_size(matrix, node.shape[1 + axis]), axis)
    return x


def _matrix_to_size(matrix: Callable[[int, int], np.ndarray], size: int) -> Matrix:
    return lambda n: matrix(n, size)


def averaging_matrix(n: int, m: int) -> np.ndarray:
    """Return the float32 [m, n] matrix of adaptive average pooling from n to m values.

    Output i is the mean of the inputs from floor(i n / m) to ceil((i + 1) n / m).
    """
    rows = np.zeros((m, n), np.float32)
    for i in range(m):
        start, stop = i * n // m, -(-(i + 1) * n // m)
        rows[i, start:stop] = 1 / (stop - start)
    return rows


def _read_adaptive(c: TorchCall) -> NewNode:
    """Read adaptive average pooling of PyTorch as AvgPool, GlobalAvgPool, AdaptiveAvgPool or a vote.

    AvgPool is for windows of one size, GlobalAvgPool for a single window.
    """
    if vector := find_pooled_vector(c):
        n, m = vector.shape[0], c.node.shape[-1]
        require(n % m == 0, f"it pools a vector of {n} to {m}", "let every class have as many voters")
        return read_vote(vector, n // m, n // m)
    x = c.tensor(0)
    sizes, out = x.shape[1:], c.out[1:]
    if all(n == 1 for n in out):
        return NewNode("GlobalAvgPool", (x,))
    if any(n % o for n, o in zip(sizes, out, strict=True)):
        return NewNode("AdaptiveAvgPool", (x,))
    kernel = compact_sizes([n // o for n, o in zip(sizes, out, strict=True)], len(out))
    return NewNode("AvgPool", (x,), {"kernel": kernel, "stride": kernel})


register(
    "GlobalAvgPool",
    _global_mean,
    onnx=lambda e, node, x: e.op("GlobalAveragePool", [x], node.name),
    counts=make_pool_counts(lambda node, shapes: prod(shapes[0][1:])),
)
register(
    "AdaptiveAvgPool",
    lambda m, node, p, x: resize_axes(m, node, x, averaging_matrix),
    onnx=lambda e, node, x: e.matmul_axes(node, x, averaging_matrix),
    torch=names("adaptive_avg_pool?d _adaptive_avg_pool?d", _read_adaptive),
    measured=True,
)
