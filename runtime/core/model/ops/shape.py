"""Other shapes of the same values: Flatten, to a vector. (runtime/operations has what else moves values.)"""

from __future__ import annotations

import numpy as np

from runtime.core.model.ops.operation import Backend, Node, Params, Value, first, register
from runtime.core.model.ops.ports import OnnxEmitter


def reshape(m: Backend, node: Node, p: Params, x: Value) -> Value:
    """To the node's shape."""
    return m.reshape(x, node.shape)


def numbers(e: OnnxEmitter, name: str, *values: int) -> str:
    return str(e.weight(name, np.array(values, np.int64)))


def reshape_onnx(e: OnnxEmitter, node: Node, x: str) -> str:
    """The batch is axis 0, and its size is never written into a file: a Reshape says -1."""
    return str(e.op("Reshape", [x, numbers(e, f"{node.name}.shape", -1, *node.shape)], node.name))


register("Flatten", reshape, onnx=reshape_onnx, counts=first)
