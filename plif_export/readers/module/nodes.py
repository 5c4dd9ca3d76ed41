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


SAME = {"clone", "detach", "alias", "lift_fresh", "lift_fresh_copy", "contiguous", "detach_"}
FILLED: dict[str, Any] = {"zeros": 0, "zeros_like": 0, "new_zeros": 0, "ones": 1, "ones_like": 1, "new_ones": 1}
FILLED |= dict.fromkeys(("full", "full_like", "new_full", "scalar_tensor"), None)
RESHAPES = {"view", "_unsafe_view", "reshape", "squeeze", "unsqueeze", "flatten", "unflatten"}
PERMUTES = {"permute", "transpose", "t"}


class Writer:
    """The nodes of one run, in order. length: T; paths: of the submodules whose forward is running, the innermost last.

    joined  the nodes that are all steps as one tensor, for operations that cannot be taken apart
    """

    def __init__(self, table: Table, length: int, paths: list[str]) -> None:
        self.table, self.length, self.paths = table, length, paths
        self.order: dict[Node, None] = {}
        self.joined: set[Node] = set()

    def put(
        self, op: Any, args: tuple[Any, ...], shape: Any, dtype: torch.dtype, data: Any = None, parts: Any = None
    ) -> Node:
        node = self.table.put(op, args, shape, dtype, self.paths[-1], data, parts)
        self.order.setdefault(node)
        return node

    @staticmethod
    def with_one(shape: Any, axis: int) -> tuple[int, ...]:
        return (*shape[:axis], 1, *shape[axis:])

    def reshaped(self, node: Node, shape: Any) -> Node:
        base = node.args[0] if node.op is aten.reshape.default else node
        if tuple(base.shape) == tuple(shape):
            return base
        return self.put(aten.reshape.default, (base, self.table.sizes(shape)), shape, base.dtype)

    def permuted(self, node: Node, axes: list[int]) -> Node:
        if node.op is aten.permute.default:
            node, axes = node.args[0], [node.args[1][i] for i in axes]
        shape = [node.shape[i] for i in axes]
        moved = [i for i in axes if node.shape[i] != 1]
        if moved == sorted(moved):
            return self.reshaped(node, shape)
        if len(moved) < len(axes):
            bare = self.reshaped(node, [n for n in node.shape if n != 1])
            return self.reshaped(self.permuted(bare, [sorted(moved).index(i) for i in moved]), shape)
        return self.put(aten.permute.default, (node, tuple(axes)), shape, node.dtype)

    def picked(self, node: Node, dim: int, i: int) -> Node:
        """What select takes of a permuted tensor: the same of what was permuted, so that the batch may come first again
        (qkv.reshape(B, N, 3, ...).permute(2, 0, ...)[i])."""
        base, axes = node.args
        at = axes[dim]
        part = self.put(aten.select.int, (base, at, i), (*base.shape[:at], *base.shape[at + 1 :]), base.dtype)
        return self.permuted(part, [a - (a > at) for a in axes if a != at])

    def call(self, op: Any, args: tuple[Any, ...], out: Any) -> Any:
        """A node of an operation on nodes; out: tensors, of which the shapes are used. A list of nodes for a tuple."""
        if isinstance(op, Registered):
            return self.put(op, args, out.shape, out.dtype)
        name = op_name(op)
        if name in RESHAPES:
            return self.reshaped(args[0], out.shape)
        if name in PERMUTES:
            return self.permuted(args[0], axes_of(name, args, len(args[0].shape)))
        if name == "select" and args[0].shape[args[1] if len(args) > 1 else 0] == 1:
            return self.reshaped(args[0], out.shape)
        if name == "unbind" and args[0].shape[args[1] if len(args) > 1 else 0] == 1:
            return [self.reshaped(args[0], out[0].shape)]
        if name in ("select", "unbind") and args[0].op is aten.permute.default:
            dim = (args[1] if len(args) > 1 else 0) % len(args[0].shape)
            if name == "select":
                return self.picked(args[0], dim, args[2] % args[0].shape[dim])
            return [self.picked(args[0], dim, i) for i in range(args[0].shape[dim])]
        if name == "_to_copy":
            return self.put(op, (args[0], out.dtype), out.shape, out.dtype)
        if name in ("expand", "repeat"):
            args = (args[0], self.table.sizes(args[1]), *args[2:])
        args = (*args, *(a.default_value for a in op._schema.arguments[len(args) :]))
        if not isinstance(out, tuple | list):
            return self.put(op, args, out.shape, out.dtype)
        parts = [(tuple(o.shape), o.dtype) if isinstance(o, Tensor) else ((), torch.float32) for o in out]
        whole = self.put(op, args, *parts[0], parts=parts)
        return [self.put(i, (whole,), *part) for i, part in enumerate(parts)]

    def filled(self, out: Tensor, value: Any) -> Node:
        return self.put("full", (self.table.sizes(out.shape), value, out.dtype), out.shape, out.dtype)
