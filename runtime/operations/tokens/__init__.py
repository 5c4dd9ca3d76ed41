"""Operations of attention over tokens: MatMul of two values, and reductions along axes (reduce.py).

MatMul  [B, ..., M, K] x [B, ..., K, N] of two activations; a product with a constant matrix is a Linear
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from runtime.core.model.ops.operation import NewNode, Node, Shape, names, register
from runtime.core.model.ops.ports import TorchCall
from runtime.core.model.refusals import require
from runtime.operations.tokens import reduce  # noqa: F401  # registers its operations
from runtime.operations.tokens.attention import read_attention
from runtime.operations.tokens.einsum import read_einsum


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


def _check_two_inputs(node: Node, shapes: Sequence[Shape]) -> str | None:
    return None if len(shapes) == 2 else f"has {len(shapes)} inputs; expected 2"


register(
    "MatMul",
    lambda m, node, p, a, b: m.matmul(a, b),
    fits=_check_two_inputs,
    reads_constants=True,
    onnx=lambda e, node, a, b: e.op("MatMul", [a, b], node.name),
    torch={
        **names("addmm", _read_addmm),
        **names("matmul mm bmm", _read_matmul),
        **names("einsum", read_einsum),
        **names("scaled_dot_product_attention", read_attention),
    },
)
