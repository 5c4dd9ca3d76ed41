"""Operations on whole tensors as ONNX: arithmetic, attention, shapes (plif_export/writers/emit.py).

Each is (emitter, node, names of its inputs) -> name of its output. The batch is axis 0, and its size is never written into a
file: a Reshape says -1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from plif_export.writers.emitter import Emitter
from runtime.model.graph import Node

FAR = np.iinfo(np.int64).max  # a Slice to the end


def _from_the_left(e: Emitter, node: Node, left: str, *others: str) -> str:
    """Several inputs two by two, in the order in which PyTorch adds them."""
    for i, right in enumerate(others, 1):
        left = e.op(node.op, [left, right], node.name if i == len(others) else f"{node.name}.{i}")
    return left


def constant(e: Emitter, node: Node) -> str:
    """One row, [1, ...]: what reads it repeats it."""
    return e.weight(f"{node.name}.value", node.params["value"][None])


def _concat(e: Emitter, node: Node, *inputs: str) -> str:
    moving = next(name for name in inputs if name not in e.initializers)
    return e.op(
        "Concat", [_for_every_row(e, node, name, moving) for name in inputs], node.name, axis=node.attrs["axis"]
    )


def _for_every_row(e: Emitter, node: Node, name: str, moving: str) -> str:
    """A Constant as many times as there are rows in `moving`; other tensors as they are."""
    if name not in e.initializers:
        return name
    rows = e.op("Shape", [moving], f"{node.name}.rows", start=0, end=1)
    rest = e.weight(f"{name}.rest", np.array(e.initializers[name].dims[1:], np.int64))
    whole = e.op("Concat", [rows, rest], f"{name}.whole", axis=0)
    return e.op("Expand", [name, whole], f"{name}.repeated")


def _numbers(e: Emitter, name: str, *values: int) -> str:
    return e.weight(name, np.array(values, np.int64))


def _slice(e: Emitter, node: Node, x: str) -> str:
    a, name = node.attrs, node.name
    stop = a["stop"] if a["stop"] is not None else FAR if a["step"] > 0 else -FAR
    values = {"start": a["start"], "stop": stop, "axis": a["axis"], "step": a["step"]}
    return e.op("Slice", [x, *(_numbers(e, f"{name}.{key}", value) for key, value in values.items())], name)


def _permute(e: Emitter, node: Node, x: str) -> str:
    return e.op("Transpose", [x], node.name, perm=list(node.attrs["axes"]))


def reshape(e: Emitter, node: Node, x: str) -> str:
    """Flatten and Reshape."""
    return e.op("Reshape", [x, _numbers(e, f"{node.name}.shape", -1, *node.shape)], node.name)


def _reduce(e: Emitter, node: Node, x: str) -> str:
    op = {"mean": "ReduceMean", "sum": "ReduceSum", "max": "ReduceMax"}[node.attrs["how"]]
    axes = _numbers(e, f"{node.name}.axes", *node.attrs["axes"])
    return e.op(op, [x, axes], node.name, keepdims=int(node.attrs["keepdims"]))


def _softmax(e: Emitter, node: Node, x: str) -> str:
    return e.op("Softmax", [x], node.name, axis=node.attrs["axis"])


def _layer_norm(e: Emitter, node: Node, x: str) -> str:
    params = [e.weight(f"{node.name}.{key}", node.params[key]) for key in ("weight", "bias") if key in node.params]
    return e.op(
        "LayerNormalization", [x, *params], node.name, axis=-node.attrs["axes"], epsilon=float(node.attrs["eps"])
    )


def _unary(e: Emitter, node: Node, x: str) -> str:
    return e.op(node.attrs["function"], [x], node.name)


TENSOR_OPS: dict[str, Callable[..., str]] = {
    "Add": _from_the_left,
    "Mul": _from_the_left,
    "Sub": _from_the_left,
    "Div": _from_the_left,
    "MatMul": _from_the_left,
    "Constant": constant,
    "Concat": _concat,
    "Slice": _slice,
    "Permute": _permute,
    "Reshape": reshape,
    "Flatten": reshape,
    "Reduce": _reduce,
    "Softmax": _softmax,
    "LayerNorm": _layer_norm,
    "Unary": _unary,
}
