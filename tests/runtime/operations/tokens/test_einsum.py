"""einsum as layers of the graph: the numbers of torch.einsum, or a refusal with its reason."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from plif_export.core.proof.arithmetic import interpret
from plif_export.core.proof.arithmetic.arrays import NumpyBackend
from runtime.core.model.ops.operation import GraphTensor, NewNode, Node
from runtime.core.model.refusals import Unsupported
from runtime.operations.tokens.einsum import read_einsum

SIZES = {"b": 3, "g": 2, "i": 4, "o": 5, "h": 2, "d": 6, "n": 4, "m": 3, "k": 2}


class Call:
    """A recorded einsum, of which some operands are constants."""

    def __init__(self, equation: str, operands: list[np.ndarray], constants: tuple[int, ...]) -> None:
        self.equation, self.arrays = equation, operands
        self.nodes: list[Any] = [
            SimpleNamespace(shape=x.shape, moves=i not in constants) for i, x in enumerate(operands)
        ]

    def get(self, i: int) -> Any:
        return self.nodes if i else self.equation

    def shaped(self, node: Any) -> GraphTensor:
        return GraphTensor(str(self.place(node)), node.shape[1:])

    def value(self, node: Any) -> np.ndarray:
        return self.arrays[self.place(node)]

    def place(self, node: Any) -> int:
        return next(i for i, known in enumerate(self.nodes) if known is node)

    def compute(self, part: GraphTensor | NewNode) -> np.ndarray:
        if isinstance(part, GraphTensor):
            return self.arrays[int(part.node)]
        inputs, shape = [self.compute(x) for x in part.inputs], part.shape
        assert shape is not None
        node = Node("n", part.op, tuple(f"x{i}" for i in range(len(inputs))), shape, part.attrs, part.params)
        y = interpret.apply_node(NumpyBackend(np.float32), node, *inputs)
        assert y.shape[1:] == shape
        return y


def call_of(equation: str, *constants: int) -> Call:
    rng = np.random.default_rng(0)
    terms = equation.partition("->")[0].replace("...", "hn").split(",")
    return Call(equation, [rng.normal(0, 1, [SIZES[x] for x in t]).astype(np.float32) for t in terms], constants)


@pytest.mark.parametrize(
    ("equation", "constants", "op"),
    [
        ("bi,io->bo", (1,), "Linear"), ("oi,bi->bo", (0,), "Linear"), ("bnd,dhk->bhnk", (1,), "Linear"),
        ("bi,o->boi", (1,), "Linear"), ("bgi,gio->bgo", (1,), "Conv"), ("gio,bngi->bogn", (0,), "Conv"),
        ("bgi,gk->bg", (1,), "Conv"), ("bhnd,bhmd->bhnm", (), "MatMul"), ("bhnm,bhmd->bnhd", (), "MatMul"),
        ("bi,bo->boi", (), "MatMul"), ("bi,bi->b", (), "MatMul"), ("bnd,bd->bn", (), "MatMul"),
        ("b...d,b...d->b...", (), "MatMul"), ("...i,io", (1,), "Linear"), ("bid->bd", (), ""), ("bidk->bki", (), ""),
    ],
)  # fmt: skip
def test_an_einsum_is_that_of_pytorch(equation: str, constants: tuple[int, ...], op: str) -> None:
    call = call_of(equation, *constants)
    part = read_einsum(call)  # type: ignore[arg-type]
    expected = torch.einsum(equation, *map(torch.from_numpy, call.arrays)).numpy()
    np.testing.assert_allclose(call.compute(part), expected, rtol=1e-5, atol=1e-5)
    found, pending = set[str](), [part]
    while pending:
        x = pending.pop()
        found |= {x.op} if isinstance(x, NewNode) else set()
        pending += x.inputs if isinstance(x, NewNode) else ()
    assert found & {"Linear", "Conv", "MatMul"} == ({op} if op else set())


@pytest.mark.parametrize(
    ("equation", "constants", "says"),
    [
        ("bi,io,ok->bk", (1, 2), "joins 3 tensors; join two at a time"),
        ("bii->bi", (), "takes a diagonal; use torch.diagonal"),
        ("bi,bo->io", (), "moves the batch, or sums over it"),
        ("bi->ib", (), "moves the batch, or sums over it"),
        ("bi,bo->bo", (1,), "moves the batch, or sums over it; keep the batch as the first axis"),
    ],
)
def test_an_einsum_that_is_no_layer_is_refused_with_the_reason(
    equation: str, constants: tuple[int, ...], says: str
) -> None:
    with pytest.raises(Unsupported, match=says):
        read_einsum(call_of(equation, *constants))  # type: ignore[arg-type]
