"""The golden model of operations on whole tensors: arithmetic, attention, shapes. See plif_export/proof/interpret.py.

Each is (node, *inputs, parameters) -> output; axis 0 is the batch. A Constant has one row, which all rows share.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from plif_export.proof.elementwise import FUNCTIONS
from runtime.model.graph import Node

Array = np.ndarray
Params = dict[str, Array]


def _concat(node: Node, *values: object) -> Array:
    parts = [value for value in values[:-1] if isinstance(value, np.ndarray)]
    rows = max(len(part) for part in parts)
    whole = [np.broadcast_to(part, (rows, *part.shape[1:])) for part in parts]
    return np.concatenate(whole, axis=node.attrs["axis"])


def _slice(node: Node, x: Array, p: Params) -> Array:
    where = [slice(None)] * x.ndim
    where[node.attrs["axis"]] = slice(*(node.attrs[key] for key in ("start", "stop", "step")))
    return x[tuple(where)]


def _reduce(node: Node, x: Array, p: Params) -> Array:
    how, axes, keep = (node.attrs[key] for key in ("how", "axes", "keepdims"))
    if how == "max":
        return x.max(axis=tuple(axes), keepdims=keep)
    reduce: Callable[..., Array] = np.mean if how == "mean" else np.sum
    return reduce(x, axis=tuple(axes), keepdims=keep, dtype=x.dtype)


def _softmax(node: Node, x: Array, p: Params) -> Array:
    e = np.exp(x - x.max(axis=node.attrs["axis"], keepdims=True))
    return e / e.sum(axis=node.attrs["axis"], keepdims=True, dtype=x.dtype)


def _layer_norm(node: Node, x: Array, p: Params) -> Array:
    """(x - mean) / sqrt(var + eps) * weight + bias over the last axes; weight and bias have the shape of those axes."""
    axes = tuple(range(-node.attrs["axes"], 0))
    centred = x - x.mean(axis=axes, keepdims=True, dtype=x.dtype)
    var = np.mean(centred * centred, axis=axes, keepdims=True, dtype=x.dtype)
    y = centred / np.sqrt(var + x.dtype.type(node.attrs["eps"])) * p["weight"]
    return y + p["bias"] if "bias" in p else y


def _unary(node: Node, x: Array, p: Params) -> Array:
    with np.errstate(all="ignore"):
        return FUNCTIONS[node.attrs["function"]](x)


TENSORS: dict[str, Callable[..., Array]] = {
    "Constant": lambda node, p: p["value"][None],
    "Sub": lambda node, a, b, p: a - b,
    "Div": lambda node, a, b, p: a / b,
    "MatMul": lambda node, a, b, p: np.matmul(a, b),
    "Concat": _concat,
    "Slice": _slice,
    "Permute": lambda node, x, p: x.transpose(node.attrs["axes"]),
    "Reshape": lambda node, x, p: x.reshape(len(x), *node.shape),
    "Reduce": _reduce,
    "Softmax": _softmax,
    "LayerNorm": _layer_norm,
    "Unary": _unary,
}
