"""What is written down of a run: a table of nodes, in which the same operation on the same arguments is one node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor, nn
from torch._ops import OpOverload

aten = torch.ops.aten
Kind = TypeVar("Kind")

# What an operation makes; what it is given: tensors of a running forward, or what stands for them, and sizes, numbers and words.
Result: TypeAlias = "Tensor | Sequence[Tensor]"
Argument: TypeAlias = "Tensor | TraceNode | Steps | BatchSize | float | str | torch.dtype | Sequence[Argument] | None"
Overload: TypeAlias = "OpOverload[..., Result]"  # an operation of aten, or of a library
Op: TypeAlias = "Overload | Registered | str | int"
NodeOrSteps: TypeAlias = "TraceNode | Steps"  # what stands for a tensor
Given: TypeAlias = "Tensor | list[Tensor]"  # what a form runs on: a list of steps, a sequence, or an image


@dataclass(frozen=True)
class BatchSize:
    """A size that is the batch, `times` something."""

    times: int = 1


@dataclass(frozen=True)
class Registered:
    """A layer that a user registered, as an operation: the same one in every run."""

    path: str
    module: nn.Module = field(compare=False, repr=False)

    def run(self, x: Argument) -> Tensor:
        """What the layer's own forward makes of x, [B, ...] or with all steps."""
        made: Tensor = vars(self.module)["recorded_forward"](x)
        return made


@dataclass(eq=False)
class TraceNode:
    """op: "x" (args: its step), "param" (its name), "const", "full" (sizes, value, dtype), the number of a part of what an
    operation returned, a registered layer (the module), or an operation of aten. shape [B, ...]: in the example run."""

    op: Op
    args: Sequence[Argument]
    shape: tuple[int, ...]
    dtype: torch.dtype
    path: str  # of the submodule in whose forward it was made
    moves: bool  # it depends on the input
    index: int
    data: Tensor | None = None
    several: bool = False  # its value is no tensor: an operation that makes several

    def __post_init__(self) -> None:
        self.flat = leaves(self.args)
        self.reads = tuple(nodes_in(self.args))

    @property
    def name(self) -> str:
        """What a message calls it: add, conv2d, ..."""
        if isinstance(self.op, Registered):
            return type(self.op.module).__name__
        return self.op if isinstance(self.op, str) else "part" if isinstance(self.op, int) else op_name(self.op)

    @property
    def numbers(self) -> list[float]:
        """The numbers among its arguments."""
        return [v for v in self.flat if isinstance(v, int | float) and not isinstance(v, bool)]

    @property
    def source(self) -> TraceNode:
        """Its first argument, where that is a tensor."""
        return as_node(self.args[0])


@dataclass(eq=False)
class Steps:
    """A tensor of all time-steps: an item for each, joined along an axis of size outer * T * inner."""

    items: list[TraceNode]
    axis: int
    outer: int = 1


@cache
def op_name(op: Overload) -> str:
    return str(op._schema.name.split("::")[1])


def leaves(value: Argument) -> list[Argument]:
    """What lists and tuples hold, at any depth."""
    if not isinstance(value, list | tuple):
        return [value]
    return [each for part in value for each in leaves(part)]


def swap(values: Sequence[Argument], kind: type[Kind], change: Callable[[Kind], Argument]) -> list[Argument]:
    """The arguments with everything of a class in them changed, at any depth of lists and tuples."""

    def changed(value: Argument) -> Argument:
        if isinstance(value, kind):
            return change(value)
        if isinstance(value, list | tuple):
            parts = swap(value, kind, change)
            return parts if isinstance(value, list) else tuple(parts)
        return value

    return [changed(value) for value in values]


def nodes_in(values: Sequence[Argument]) -> list[TraceNode]:
    return [each for each in leaves(values) if isinstance(each, TraceNode)]


def as_node(value: Argument) -> TraceNode:
    assert isinstance(value, TraceNode), value
    return value


def as_int(value: Argument) -> int:
    assert isinstance(value, int), value
    return value


def as_number(value: object) -> float:
    assert isinstance(value, int | float), value
    return float(value)


def as_ints(value: Argument) -> list[int]:
    assert isinstance(value, list | tuple), value
    return [as_int(each) for each in value]


def several(made: Result) -> list[Tensor]:
    """What an operation made, as a list of tensors of any shapes."""
    return [made] if isinstance(made, Tensor) else list(made)


def execute(op: Op, given: Sequence[Argument], batch: int) -> Result:
    """Runs an operation that was written down on tensors, of which the first axis is often the batch: [B, ...]."""
    args = swap(given, BatchSize, lambda size: size.times * batch)
    if isinstance(op, Registered):
        return op.run(args[0])
    if isinstance(op, int):
        assert isinstance(args[0], list | tuple)
        part = args[0][op]
        assert isinstance(part, Tensor)
        return part
    if isinstance(op, str):
        assert op == "full", op
        filled: Tensor = aten.full.default(args[0], args[1], dtype=args[2])
        return filled
    pairs = list(zip(args, op._schema.arguments, strict=False))
    return op(*[v for v, a in pairs if not a.kwarg_only], **{a.name: v for v, a in pairs if a.kwarg_only})


@dataclass
class Table:
    """All nodes of several runs. batch: the streams of the example, which must be no size of anything else."""

    batch: int
    nodes: dict[tuple[str, str], TraceNode] = field(default_factory=dict)

    def put(
        self, op: Op, args: Sequence[Argument], shape: Sequence[int], dtype: torch.dtype, path: str,
        data: Tensor | None = None, several: bool = False,
    ) -> TraceNode:  # fmt: skip
        """The node of an operation; shape [B, ...]: of its value; data: that value, where it is known before any step."""
        key = (str(op), repr(swap(args, TraceNode, lambda n: n.index)))
        if key not in self.nodes:
            moves = op == "x" or any(n.moves for n in nodes_in(args))
            data = None if data is None else data.clone()  # a run may write into it
            self.nodes[key] = TraceNode(op, args, tuple(shape), dtype, path, moves, len(self.nodes), data, several)
        return self.nodes[key]

    def sizes(self, shape: Sequence[int]) -> tuple[int | BatchSize, ...]:
        """A shape with the batch marked in it."""
        return tuple(BatchSize(n // self.batch) if n and n % self.batch == 0 else n for n in shape)

    def ambiguous(self) -> bool:
        """Whether a size that is not the batch could be taken for it."""
        for node in self.nodes.values():
            axes = sum(1 for size in node.shape if size and size % self.batch == 0)
            if axes > (1 if node.data is None else 0):
                return True
        return False


def axes_of(name: str, a: Sequence[Argument], rank: int) -> list[int]:
    """The axes of permute, transpose or t, as of permute."""
    axes = list(range(rank))
    if name == "permute":
        return [d % rank for d in as_ints(a[1])]
    i, j = (as_int(a[1]) % rank, as_int(a[2]) % rank) if name == "transpose" else (0, rank - 1)
    axes[i], axes[j] = axes[j], axes[i]
    return axes


SAME = {"clone", "detach", "alias", "lift_fresh", "lift_fresh_copy", "contiguous", "detach_"}
FILLED: dict[str, int | None] = {"zeros": 0, "zeros_like": 0, "new_zeros": 0, "ones": 1, "ones_like": 1, "new_ones": 1}
FILLED |= dict.fromkeys(("full", "full_like", "new_full", "scalar_tensor"), None)
RESHAPES = {"view", "_unsafe_view", "reshape", "squeeze", "unsqueeze", "flatten", "unflatten"}
PERMUTES = {"permute", "transpose", "t"}


class Writer:
    """The nodes of one run, in order. length: T; paths: of the submodules whose forward is running, the innermost last.

    joined  the nodes that are all steps as one tensor, for operations that cannot be taken apart
    """

    def __init__(self, table: Table, length: int, paths: list[str]) -> None:
        self.table, self.length, self.paths = table, length, paths
        self.order: dict[TraceNode, None] = {}
        self.joined: set[TraceNode] = set()

    def put(
        self, op: Op, args: Sequence[Argument], shape: Sequence[int], dtype: torch.dtype,
        data: Tensor | None = None, several: bool = False,
    ) -> TraceNode:  # fmt: skip
        """As Table.put, in the order of the run."""
        node = self.table.put(op, args, shape, dtype, self.paths[-1], data, several)
        self.order.setdefault(node)
        return node

    @staticmethod
    def with_one(shape: Sequence[int], axis: int) -> tuple[int, ...]:
        return (*shape[:axis], 1, *shape[axis:])

    def reshaped(self, node: TraceNode, shape: Sequence[int]) -> TraceNode:
        base = node.source if node.op is aten.reshape.default else node
        if tuple(base.shape) == tuple(shape):
            return base
        return self.put(aten.reshape.default, (base, self.table.sizes(shape)), shape, base.dtype)

    def permuted(self, node: TraceNode, axes: list[int]) -> TraceNode:
        if node.op is aten.permute.default:
            before = as_ints(node.args[1])
            node, axes = node.source, [before[i] for i in axes]
        shape = [node.shape[i] for i in axes]
        moved = [i for i in axes if node.shape[i] != 1]
        if moved == sorted(moved):
            return self.reshaped(node, shape)
        if len(moved) < len(axes):
            bare = self.reshaped(node, [n for n in node.shape if n != 1])
            return self.reshaped(self.permuted(bare, [sorted(moved).index(i) for i in moved]), shape)
        return self.put(aten.permute.default, (node, tuple(axes)), shape, node.dtype)

    def picked(self, node: TraceNode, dim: int, i: int) -> TraceNode:
        """What select takes of an axis of size 1, or of a permuted tensor: there the same of what was permuted, so that the batch
        may come first again (qkv.reshape(B, N, 3, ...).permute(2, 0, ...)[i])."""
        if node.shape[dim] == 1:
            return self.reshaped(node, (*node.shape[:dim], *node.shape[dim + 1 :]))
        base, axes = node.source, as_ints(node.args[1])
        at = axes[dim]
        part = self.put(aten.select.int, (base, at, i), (*base.shape[:at], *base.shape[at + 1 :]), base.dtype)
        return self.permuted(part, [a - (a > at) for a in axes if a != at])

    def call(self, op: Overload | Registered, args: Sequence[Argument], out: Result) -> TraceNode | list[TraceNode]:
        """A node of an operation on nodes; a list of nodes where it makes several. out: what it made, [B, ...] or with all
        steps in an axis; the shapes are used."""
        made = several(out)
        if isinstance(op, Registered):
            return self.put(op, args, made[0].shape, made[0].dtype)
        name = op_name(op)
        if name in RESHAPES:
            return self.reshaped(as_node(args[0]), made[0].shape)
        if name in PERMUTES:
            return self.permuted(as_node(args[0]), axes_of(name, args, len(as_node(args[0]).shape)))
        if name in ("select", "unbind"):
            x, dim = as_node(args[0]), as_int(args[1]) if len(args) > 1 else 0
            dim %= len(x.shape)
            if x.shape[dim] == 1 or x.op is aten.permute.default:
                if name == "select":
                    return self.picked(x, dim, as_int(args[2]) % x.shape[dim])
                return [self.picked(x, dim, i) for i in range(x.shape[dim])]
        if name == "_to_copy":
            return self.put(op, (args[0], made[0].dtype), made[0].shape, made[0].dtype)
        if name in ("expand", "repeat"):
            args = (args[0], self.table.sizes(as_ints(args[1])), *args[2:])
        args = (*args, *(a.default_value for a in op._schema.arguments[len(args) :]))
        if isinstance(out, Tensor):
            return self.put(op, args, out.shape, out.dtype)
        parts = [(tuple(o.shape), o.dtype) if isinstance(o, Tensor) else ((), torch.float32) for o in made]
        whole = self.put(op, args, *parts[0], several=True)
        return [self.put(i, (whole,), *part) for i, part in enumerate(parts)]

    def filled(self, out: Result, value: Argument) -> TraceNode:
        """A tensor of one number, of the shape [...] of what was made."""
        (made,) = several(out)
        return self.put("full", (self.table.sizes(made.shape), value, made.dtype), made.shape, made.dtype)
