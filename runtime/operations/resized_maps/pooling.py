"""Pooling to a size.

GlobalAvgPool    the mean over all places, [C, 1, 1]
AdaptiveAvgPool  to the node's shape, in any ratio: output i is the mean of inputs floor(i n / m) to ceil((i + 1) n / m)
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from runtime.core.model.ops.operation import Backend, Matrix, NewNode, Node, Params, Value, names, plain, register
from runtime.core.model.ops.pool import counted, read_vote, vector_of
from runtime.core.model.ops.ports import TorchCall
from runtime.core.model.refusals import require


def _global(m: Backend, node: Node, p: Params, x: Value) -> Value:
    return m.mean(x, tuple(range(2, 1 + len(node.shape))), True)


def along(m: Backend, node: Node, x: Value, matrix: Callable[[int, int], np.ndarray]) -> Value:
    """[B, C, ...] -> [B, C, ...]: a product for each axis of space, the last first, X A^T for that one, A X along the others."""
    dims = len(node.shape) - 1
    for axis in reversed(range(dims)):
        x = m.along(x, 2 + axis, _to_size(matrix, node.shape[1 + axis]), axis)
    return x


def _to_size(matrix: Callable[[int, int], np.ndarray], size: int) -> Matrix:
    return lambda n: matrix(n, size)


def means(n: int, m: int) -> np.ndarray:
    """[m, n] float32: output i is the mean of the inputs from floor(i n / m) to ceil((i + 1) n / m)."""
    rows = np.zeros((m, n), np.float32)
    for i in range(m):
        start, stop = i * n // m, -(-(i + 1) * n // m)
        rows[i, start:stop] = 1 / (stop - start)
    return rows


def _read_adaptive(c: TorchCall) -> NewNode:
    """Windows of one size, one over everything, or any."""
    if vector := vector_of(c):
        n, m = vector.shape[0], c.node.shape[-1]
        require(n % m == 0, f"it pools a vector of {n} to {m}", "let every class have as many voters")
        return read_vote(vector, n // m, n // m)
    x = c.tensor(0)
    sizes, out = x.shape[1:], c.out[1:]
    if all(n == 1 for n in out):
        return NewNode("GlobalAvgPool", (x,))
    if any(n % o for n, o in zip(sizes, out, strict=True)):
        return NewNode("AdaptiveAvgPool", (x,))
    kernel = plain([n // o for n, o in zip(sizes, out, strict=True)], len(out))
    return NewNode("AvgPool", (x,), {"kernel": kernel, "stride": kernel})


register(
    "GlobalAvgPool",
    _global,
    onnx=lambda e, node, x: e.op("GlobalAveragePool", [x], node.name),
    counts=counted(lambda node, shapes: prod(shapes[0][1:])),
)
register(
    "AdaptiveAvgPool",
    lambda m, node, p, x: along(m, node, x, means),
    onnx=lambda e, node, x: e.along(node, x, means),
    torch=names("adaptive_avg_pool?d _adaptive_avg_pool?d", _read_adaptive),
    measured=True,
)
