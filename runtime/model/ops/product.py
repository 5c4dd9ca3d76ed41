"""Linear and MatMul.

Linear   y[.., o] = b[o] + sum W[o, i] x[.., i], over the last axis
MatMul   [B, ..., M, K] x [B, ..., K, N], of two values that move
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from runtime.model.ops.convolution import current
from runtime.model.ops.elementwise import from_the_left
from runtime.model.ops.operation import Backend, NewNode, Node, Params, Shape, Value, names, register
from runtime.model.ops.ports import NirReader, NirWriter, OnnxEmitter, Read, TorchCall, weights
from runtime.model.refusals import require


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


def _read_addmm(c: TorchCall) -> NewNode:
    require(c.get(3, 1) == 1 and c.get(4, 1) == 1, "addmm with factors", "multiply before adding")
    params = {"weight": np.ascontiguousarray(c.array(2).T), "bias": c.array(0, "its bias")}
    return NewNode("Linear", (c.tensor(1),), {}, params)


def _read_matmul(c: TorchCall) -> NewNode:
    if c.moves(0) and not c.moves(1):
        weight = c.array(1)
        require(weight.ndim == 2, f"a product with an array {list(weight.shape)}", "use one matrix for all")
        return NewNode("Linear", (c.tensor(0),), {}, {"weight": np.ascontiguousarray(weight.T)})
    require(c.moves(0) and c.moves(1), "a matrix times a tensor of the network", "write x @ W, or use nn.Linear")
    a, b = c.tensor(0), c.tensor(1)
    rule = f"it multiplies {list(a.shape)} and {list(b.shape)}"
    require(len(a.shape) == len(b.shape) >= 2, rule, "give both as many axes")
    return NewNode("MatMul", (a, b))


def _read_einsum(c: TorchCall) -> NewNode:
    equation, (a, b) = c.get(0).replace(" ", ""), c.get(1)
    left, _, result = equation.partition("->")
    one, two = left.split(",")
    swapped = not a.moves
    if swapped:
        a, b, one, two = b, a, two, one
    fits = not b.moves and len(two) == 2 and two.replace(one[-1], "") + one[:-1] != "" and one[-1] in two
    out = two.replace(one[-1], "")
    require(fits and result == one[:-1] + out, f"einsum '{equation}'", "use nn.Linear, or torch.matmul")
    weight = c.value(b)
    turned = weight if two[1] == one[-1] else weight.T
    return NewNode("Linear", (c.shaped(a),), {}, {"weight": np.ascontiguousarray(turned)})


# --- NIR ----------------------------------------------------------------------------------------------------------------


def _of_nir(r: NirReader, name: str, node: Any, x: str, shape: Shape) -> Read:
    weight = np.asarray(node.weight, np.float32)
    require(len(shape) == 1, f"a {type(node).__name__} over a map {list(shape)}", "put a Flatten before it")
    fits = weight.ndim == 2 and weight.shape[1] == shape[0]
    require(fits, f"weights {list(weight.shape)} over {list(shape)}", "check it")
    params = {"weight": weight}
    if getattr(node, "bias", None) is not None:
        params["bias"] = np.asarray(node.bias, np.float32).reshape(-1)
    return r.layer(name, "Linear", x, shape, {}, params)


def _to_nir(nir: ModuleType, node: Node, shape: Shape, options: NirWriter) -> object:
    require(len(shape) == 1, f"NIR's Affine reads a vector, not {list(shape)}", "flatten it, or use --to onnx")
    if "bias" in node.params:
        return nir.Affine(node.params["weight"], node.params["bias"])
    return nir.Linear(node.params["weight"])


def _two(node: Node, shapes: Sequence[Shape]) -> str | None:
    return None if len(shapes) == 2 else f"has {len(shapes)} inputs; expected 2"


register(
    "Linear",
    _linear,
    params=("weight",),
    optional=("bias", "scale"),
    onnx=_onnx,
    torch={
        **names("linear", _read),
        **names("addmm", _read_addmm),
        **names("matmul mm bmm", _read_matmul),
        **names("einsum", _read_einsum),
    },
    layer=("linear", "weight bias"),
    nir={"Affine": _of_nir, "Linear": _of_nir},
    to_nir=_to_nir,
)
register(
    "MatMul",
    lambda m, node, p, a, b: m.matmul(a, b),
    fits=_two,
    reads_constants=True,
    onnx=from_the_left("MatMul"),
)
