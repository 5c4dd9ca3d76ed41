"""Linear: y[.., o] = b[o] + sum W[o, i] x[.., i], over the last axis."""

from __future__ import annotations

import numpy as np

from runtime.model.ops.convolution import current
from runtime.model.ops.operation import Backend, NewNode, Node, Params, Value, names, register
from runtime.model.ops.ports import OnnxEmitter, TorchCall, weights


def _linear(m: Backend, node: Node, p: Params, x: Value) -> Value:
    return current(m, node, p, x, m.linear)


def _onnx(e: OnnxEmitter, node: Node, x: str) -> str:
    """Over tokens (the last of several axes) all tokens of all rows become rows of one product."""
    if len(node.shape) == 1:
        return _product(e, node, x, node.name)
    flat = e.weight(f"{node.name}.flat", np.array([-1, node.params["weight"].shape[1]], np.int64))
    y = _product(e, node, e.op("Reshape", [x, flat], f"{node.name}.tokens"), f"{node.name}.products")
    shape = e.weight(f"{node.name}.shape", np.array([-1, *node.shape], np.int64))
    return str(e.op("Reshape", [y, shape], node.name))


def _product(e: OnnxEmitter, node: Node, x: str, out: str) -> str:
    if node.params["weight"].dtype != np.float32:
        return str(e.reduced(node, x, {}, out))
    return str(e.op("Gemm", [x, *e.parameters(node)], out, transB=1))


# --- PyTorch ------------------------------------------------------------------------------------------------------------


def _read(c: TorchCall) -> NewNode:
    return NewNode("Linear", (c.tensor(0),), {}, weights(c, c.array(1), 2))


register(
    "Linear",
    _linear,
    params=("weight",),
    optional=("bias", "scale"),
    onnx=_onnx,
    torch=names("linear", _read),
    layer=("linear", "weight bias"),
)
