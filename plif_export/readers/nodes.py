"""What is written down of a run: a table of nodes, in which the same operation on the same arguments is one node."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten


@dataclass(frozen=True)
class Batch:
    """A size that is the batch, `times` something."""

    times: int = 1


@dataclass(frozen=True)
class Registered:
    """A layer that a user registered, as an operation: the same one in every run."""

    path: str
    module: Any = field(compare=False, repr=False)


@dataclass(eq=False)
class Node:
    """op: "x" (args: its step), "param" (its name), "const", "full" (sizes, value, dtype), the number of a part of what an
    operation returned, a registered layer (the module), or an operation of aten. shape [B, ...]: in the example run."""

    op: Any
    args: tuple[Any, ...]
    shape: tuple[int, ...]
    dtype: torch.dtype
    path: str  # of the submodule in whose forward it was made
    moves: bool  # it depends on the input
    index: int
    data: Tensor | None = None
    parts: list[tuple[tuple[int, ...], torch.dtype]] | None = None

    def __post_init__(self) -> None:
        self.flat = leaves(self.args)
        self.reads: tuple[Node, ...] = tuple(each for each in self.flat if isinstance(each, Node))

    @property
    def name(self) -> str:
        """What a message calls it: add, conv2d, ..."""
        if isinstance(self.op, Registered):
            return type(self.op.module).__name__
        return self.op if isinstance(self.op, str) else "part" if isinstance(self.op, int) else op_name(self.op)


@dataclass(eq=False)
class Steps:
    """A tensor of all time-steps: an item for each, joined along an axis of size outer * T * inner."""

    items: list[Node]
    axis: int
    outer: int = 1


def op_name(op: Any) -> str:
    return str(op._schema.name.split("::")[1])


def is_leaf(value: Any) -> bool:
    return isinstance(value, Node | Steps)


def leaves(value: Any) -> list[Any]:
    """What lists and tuples hold, at any depth."""
    if not isinstance(value, list | tuple):
        return [value]
    return [each for part in value for each in leaves(part)]


def nodes_in(value: Any) -> list[Node]:
    return [each for each in leaves(value) if isinstance(each, Node)]


def swap(value: Any, kind: type | tuple[type, ...], change: Callable[[Any], Any]) -> Any:
    """The value with everything of a class in it changed, at any depth of lists and tuples."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, list | tuple):
        parts = [swap(each, kind, change) for each in value]
        return parts if isinstance(value, list) else tuple(parts)
    return value


def execute(op: Any, args: Any, batch: int) -> Any:
    """Runs an operation that was written down, on tensors."""
    if isinstance(op, int):
        return args[0][op]
    args = swap(args, Batch, lambda size: size.times * batch)
    if op == "full":
        return torch.full(args[0], args[1], dtype=args[2])
    if isinstance(op, Registered):
        return op.module.recorded_forward(args[0])
    if op is aten.reshape.default:
        return args[0].reshape(args[1])
    if op is aten._to_copy.default:
        return args[0].to(args[1])
    pairs = list(zip(args, op._schema.arguments, strict=False))
    return op(*[v for v, a in pairs if not a.kwarg_only], **{a.name: v for v, a in pairs if a.kwarg_only})


@dataclass
class Table:
    """All nodes of several runs. batch: the streams of the example, which must be no size of anything else."""

    batch: int
    nodes: dict[Any, Node] = field(default_factory=dict)

    def put(
        self, op: Any, args: tuple[Any, ...], shape: Any, dtype: torch.dtype, path: str, data: Tensor | None = None,
        parts: Any = None,
    ) -> Node:  # fmt: skip
        key = (str(op), repr(swap(args, Node, lambda n: n.index)))
        if key not in self.nodes:
            moves = op == "x" or any(n.moves for n in nodes_in(args))
            data = None if data is None else data.clone()  # a run may write into it
            self.nodes[key] = Node(op, args, tuple(shape), dtype, path, moves, len(self.nodes), data, parts)
        return self.nodes[key]

    def sizes(self, shape: Any) -> tuple[Any, ...]:
        """A shape with the batch marked in it."""
        return tuple(Batch(n // self.batch) if n and n % self.batch == 0 else n for n in shape)

    def ambiguous(self) -> bool:
        """Whether a size that is not the batch could be taken for it."""
        for node in self.nodes.values():
            axes = sum(1 for size in node.shape if size and size % self.batch == 0)
            if axes > (1 if node.data is None else 0):
                return True
        return False


def axes_of(name: str, a: Any, rank: int) -> list[int]:
    """The axes of permute, transpose or t, as of permute."""
    axes = list(range(rank))
    if name == "permute":
        return [int(d) % rank for d in a[1]]
    i, j = (a[1] % rank, a[2] % rank) if name == "transpose" else (0, rank - 1)
    axes[i], axes[j] = axes[j], axes[i]
    return axes


def numel(shape: Any) -> int:
    return math.prod(shape)
