"""The operation Flatten, which reshapes a map to a vector; runtime/operations has the others that move values."""

from __future__ import annotations

import numpy as np

from runtime.core.model.ops.operation import Backend, Node, Params, Value, first, register
from runtime.core.model.ops.ports import OnnxEmitter


def reshape(m: Backend, node: Node, p: Params, x: Value) -> Value:
    """Compute a Reshape node of the graph: values [B, ...] -> [B, *shape of the node]."""
    return m.reshape(x, node.shape)


def int64_weight(e: OnnxEmitter, name: str, *values: int) -> str:
    return str(e.weight(name, np.array(values, np.int64)))


def reshape_onnx(e: OnnxEmitter, node: Node, x: str) -> str:
    """Write a Reshape to the shape of a node into an ONNX graph.

    The batch is axis 0, and its size is never written into a file: the Reshape says -1.
    """
    return str(e.op("Reshape", [x, int64_weight(e, f"{node.name}.shape", -1, *node.shape)], node.name))


register("Flatten", reshape, onnx=reshape_onnx, counts=first)
