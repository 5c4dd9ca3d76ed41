"""The operation Gelu; SiLU, LeakyReLU, PReLU and ELU are read as the functions that they are made of.

Gelu   x / 2 (1 + erf(x / sqrt 2)); or x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) with approximate "tanh"

PyTorch's float32 erf of z >= 0 is 1 - (c1 t + .. + c5 t^5) e^(-z^2), t = 1 / (1 + p z): formula 7.1.26 of Abramowitz
and Stegun, with an error below 1.5e-7. It needs no function that an engine lacks.
"""

from __future__ import annotations

from math import pi, sqrt

import numpy as np

from runtime.core.model.ops.operation import Backend, GraphTensor, NewNode, Node, Params, Value, names, register
from runtime.core.model.ops.ports import OnnxEmitter, TorchCall

P = 0.3275911
C = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)  # c5 .. c1
CUBE = 0.044715


def _gelu(m: Backend, node: Node, p: Params, x: Value) -> Value:
    if node.attrs["approximate"] == "tanh":
        return x * 0.5 * (m.op("Tanh", (x + x * x * x * CUBE) * sqrt(2 / pi)) + 1.0)
    size = m.op("Abs", x)
    z = size * sqrt(0.5)
    one = m.broadcast_like(m.parameter(np.ones((1,) * len(node.shape), np.float32)), node.shape)
    t = one / (z * P + 1.0)
    tail = t * C[0]
    for c in C[1:]:
        tail = (tail + c) * t
    erf = one - tail * m.op("Exp", z * z * -1.0)
    return m.op("Relu", x) - size * (one - erf) * 0.5  # for x < 0 erf changes its sign


# --- ONNX ---------------------------------------------------------------------------------------------------------------


def _gelu_onnx(e: OnnxEmitter, node: Node, x: str) -> str:
    name = node.name
    number = {"one": 1.0, "half": 0.5, "cube": CUBE, "scale": sqrt(2 / pi), "root": sqrt(0.5)}

    def weight(key: str) -> str:
        return e.weight(f"{name}.{key}", np.array(number[key], np.float32))

    half = e.op("Mul", [x, weight("half")], f"{name}.half_x")
    if node.attrs["approximate"] == "tanh":
        square = e.op("Mul", [x, x], f"{name}.square")
        third = e.op("Mul", [e.op("Mul", [square, x], f"{name}.third"), weight("cube")], f"{name}.weighed")
        inner = e.op("Mul", [e.op("Add", [x, third], f"{name}.sum"), weight("scale")], f"{name}.inner")
        share = e.op("Tanh", [inner], f"{name}.tanh")
    else:
        share = e.op("Erf", [e.op("Mul", [x, weight("root")], f"{name}.z")], f"{name}.erf")
    return str(e.op("Mul", [half, e.op("Add", [share, weight("one")], f"{name}.share")], name))


# --- PyTorch ------------------------------------------------------------------------------------------------------------


def _unary(function: str, x: GraphTensor | NewNode) -> NewNode:
    return NewNode("Unary", (x,), {"function": function})


def _scaled(x: GraphTensor | NewNode, scale: np.ndarray | float, shift: float = 0.0) -> NewNode:
    scale = np.asarray(scale, np.float32)
    return NewNode("Affine", (x,), {}, {"scale": scale, "shift": np.full_like(scale, shift)})


def _read_negative_part(c: TorchCall) -> NewNode:
    """Read LeakyReLU or PReLU as relu(x) - slope relu(-x): one of the two is 0, so the sum is exact."""
    x = c.tensor(0)
    slope = c.number(1, x) if len(c.node.args) > 1 else np.array(0.01, np.float32)
    return NewNode("Add", (_unary("Relu", x), _scaled(_unary("Relu", _unary("Neg", x)), -slope)))


def _read_elu(c: TorchCall) -> NewNode:
    """Read ELU as scale relu(x) + alpha scale (e^(-relu(-x) input_scale) - 1)."""
    x, alpha, scale, inner = c.tensor(0), float(c.get(1, 1)), float(c.get(2, 1)), float(c.get(3, 1))
    negative = _scaled(_unary("Relu", _unary("Neg", x)), -inner)
    low = _scaled(_unary("Exp", negative), alpha * scale, -alpha * scale)
    return NewNode("Add", (_unary("Relu", x) if scale == 1 else _scaled(_unary("Relu", x), scale), low))


register(
    "Gelu",
    _gelu,
    attrs=("approximate",),
    onnx=_gelu_onnx,
    torch={
        **names("gelu", lambda c: NewNode("Gelu", (c.tensor(0),), {"approximate": c.get(1, "none")})),
        **names("silu", lambda c: NewNode("Mul", (c.tensor(0), _unary("Sigmoid", c.tensor(0))))),
        **names("leaky_relu _prelu_kernel", _read_negative_part),
        **names("elu", _read_elu),
    },
)
