"""The recorded operations of a run: a table in which the same operation on the same arguments is one node."""

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

# The outputs of an operation, and its arguments: tensors of a running forward or their nodes, sizes, numbers and strings.
Result: TypeAlias = "Tensor | Sequence[Tensor]"
Argument: TypeAlias = "Tensor | TraceNode | Steps | BatchSize | float | str | torch.dtype | Sequence[Argument] | None"
Overload: TypeAlias = "OpOverload[..., Result]"  # an operation of aten, or of a library
Op: TypeAlias = "Overload | LayerOp | str | int"
NodeOrSteps: TypeAlias = "TraceNode | Steps"  # the record of one tensor
ForwardInput: TypeAlias = "Tensor | list[Tensor]"  # the input of a form: a list of steps, a sequence, or an image


@dataclass(frozen=True)
class BatchSize:
    """A size in the shape of a recorded tensor that is `times` the batch size, so that it follows the batch."""

    times: int = 1


@dataclass(frozen=True)
class LayerOp:
    """A user's registered custom layer, recorded as one operation in the trace of a module."""

    path: str
    module: nn.Module = field(compare=False, repr=False)

    def run(self, x: Argument) -> Tensor:
        """Run the forward of a registered custom layer on x, [B, ...] or with all steps."""
        output: Tensor = vars(self.module)["recorded_forward"](x)
        return output


@dataclass(eq=False)
class TraceNode:
    """One operation or source of values in a recorded run of a module, with its arguments and output shape.

    op: "x" (args: its step), "param" (its name), "const", "full" (sizes, value, dtype), an index into the outputs of
    an operation, a registered layer (the module), or an operation of aten. shape: [B, ...] in the example run.
    """

    op: Op
    args: Sequence[Argument]
    shape: tuple[int, ...]
    dtype: torch.dtype
    path: str  # of the submodule with the forward that runs it
    moves: bool  # whether its value depends on the input
    index: float  # its place in the order of all nodes
    data: Tensor | None = None
    is_tuple: bool = False  # whether its value is a tuple of several tensors

    def __post_init__(self) -> None:
        self.flat = flatten_arguments(self.args)
        self.reads = tuple(find_nodes(self.args))

    @property
    def name(self) -> str:
        """The name of a recorded operation in messages, such as add or conv2d."""
        if isinstance(self.op, LayerOp):
            return type(self.op.module).__name__
        return self.op if isinstance(self.op, str) else "part" if isinstance(self.op, int) else op_name(self.op)

    @property
    def numbers(self) -> list[float]:
        """The numbers among the arguments of a recorded operation, without its tensors."""
        return [v for v in self.flat if isinstance(v, int | float) and not isinstance(v, bool)]

    @property
    def source(self) -> TraceNode:
        """The first argument of a recorded operation, which must be a tensor (node)."""
        return as_node(self.args[0])


@dataclass(eq=False)
class Steps:
    """A tensor that holds the values of all time-steps, recorded as one node for each step.

    The items are joined along an axis of size outer * T * inner.
    """

    items: list[TraceNode]
    axis: int
    outer: int = 1


@cache
def op_name(op: Overload) -> str:
    return str(op._schema.name.split("::")[1])


def flatten_arguments(value: Argument) -> list[Argument]:
    """Flatten the nested lists and tuples in the arguments of a PyTorch operation into one list."""
    if not isinstance(value, list | tuple):
        return [value]
    return [leaf for part in value for leaf in flatten_arguments(part)]


def replace_arguments(
    values: Sequence[Argument], kind: type[Kind], change: Callable[[Kind], Argument]
) -> list[Argument]:
    """Replace the instances of a class in an operation's arguments, also in nested lists and tuples."""

    def replace(value: Argument) -> Argument:
        if isinstance(value, kind):
            return change(value)
        if isinstance(value, list | tuple):
            parts = replace_arguments(value, kind, change)
            return parts if isinstance(value, list) else tuple(parts)
        return value

    return [replace(value) for value in values]


def find_nodes(values: Sequence[Argument]) -> list[TraceNode]:
    return [leaf for leaf in flatten_arguments(values) if isinstance(leaf, TraceNode)]


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
    return [as_int(element) for element in value]


def as_tensors(outputs: Result) -> list[Tensor]:
    """Return the result of a PyTorch operation as a list of tensors [...], also if it is a single tensor."""
    return [outputs] if isinstance(outputs, Tensor) else list(outputs)


def as_outputs(out: object) -> Sequence[object]:
    """Return the outputs of a PyTorch operation as a sequence, also if it has only one."""
    return out if isinstance(out, list | tuple) else [out]


def select_output(outputs: NodeOrSteps | Sequence[NodeOrSteps], i: int) -> NodeOrSteps:
    return outputs if isinstance(outputs, TraceNode | Steps) else outputs[i]


def any_dynamic(values: Sequence[Argument]) -> bool:
    """Return whether any argument of a recorded operation depends on the module's input."""
    return any(isinstance(v, Steps) or (isinstance(v, TraceNode) and v.moves) for v in flatten_arguments(values))


def dynamic_dtypes(values: Sequence[Argument]) -> set[torch.dtype]:
    nodes = (v.items[0] if isinstance(v, Steps) else v for v in flatten_arguments(values))
    return {v.dtype for v in nodes if isinstance(v, TraceNode) and v.moves}


def run_operation(op: Op, arguments: Sequence[Argument], batch: int) -> Result:
    """Run a recorded PyTorch operation on tensors, most of them [B, ...], for a given batch size."""
    args = replace_arguments(arguments, BatchSize, lambda size: size.times * batch)
    if isinstance(op, LayerOp):
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
class NodeTable:
    """The table of the operations in several recorded runs of a module, where equal operations are one node.

    batch: the number of streams in the example, which must be no size of anything else.
    """

    batch: int
    nodes: dict[tuple[str, str], TraceNode] = field(default_factory=dict)

    def add_node(
        self, op: Op, args: Sequence[Argument], shape: Sequence[int], dtype: torch.dtype, path: str,
        data: Tensor | None = None, several: bool = False,
    ) -> TraceNode:  # fmt: skip
        """Return the node of an operation in the table of recorded operations; add it first if it is new.

        shape: [B, ...] of its value. data: that value, if it is known before any step.
        """
        key = (str(op), repr(replace_arguments(args, TraceNode, lambda n: n.index)))
        if key not in self.nodes:
            moves = op == "x" or any(n.moves for n in find_nodes(args))
            data = None if data is None else data.clone()  # a run may write into it
            self.nodes[key] = TraceNode(op, args, tuple(shape), dtype, path, moves, len(self.nodes), data, several)
        return self.nodes[key]

    def mark_batch(self, shape: Sequence[int]) -> tuple[int | BatchSize, ...]:
        """Mark each size of a recorded shape that is a multiple of the batch size, as a BatchSize."""
        return tuple(BatchSize(n // self.batch) if n and n % self.batch == 0 else n for n in shape)

    def is_ambiguous(self) -> bool:
        """Return whether a recorded shape has another size that could be mistaken for the batch size."""
        for node in self.nodes.values():
            axes = sum(1 for size in node.shape if size and size % self.batch == 0)
            if axes > (1 if node.data is None else 0):
                return True
        return False


def find_permutation(name: str, a: Sequence[Argument], rank: int) -> list[int]:
    """Return the order of axes that a permute, transpose or t operation makes, in the form that permute takes."""
    axes = list(range(rank))
    if name == "permute":
        return [d % rank for d in as_ints(a[1])]
    i, j = (as_int(a[1]) % rank, as_int(a[2]) % rank) if name == "transpose" else (0, rank - 1)
    axes[i], axes[j] = axes[j], axes[i]
    return axes


IDENTITY_OPS = {"clone", "detach", "alias", "lift_fresh", "lift_fresh_copy", "contiguous", "detach_"}
FILL_OPS: dict[str, int | None] = {"zeros": 0, "zeros_like": 0, "new_zeros": 0}
FILL_OPS |= {"ones": 1, "ones_like": 1, "new_ones": 1}
FILL_OPS |= dict.fromkeys(("full", "full_like", "new_full", "scalar_tensor"), None)
RESHAPE_OPS = {"view", "_unsafe_view", "reshape", "squeeze", "unsqueeze", "flatten", "unflatten"}
PERMUTE_OPS = {"permute", "transpose", "t"}


class TraceWriter:
    """The recorder of one run of a module, which adds each PyTorch operation to a table, in order.

    length: T. paths: the submodules with a running forward, the innermost last.
    joined: nodes with all steps in one tensor, for operations that cannot be split by step.
    """

    def __init__(self, table: NodeTable, length: int, paths: list[str]) -> None:
        self.table, self.length, self.paths = table, length, paths
        self.order: dict[TraceNode, None] = {}
        self.joined: set[TraceNode] = set()

    def add_node(
        self, op: Op, args: Sequence[Argument], shape: Sequence[int], dtype: torch.dtype,
        data: Tensor | None = None, several: bool = False,
    ) -> TraceNode:  # fmt: skip
        """Add an operation with an output [*shape] to the recording of a run, and to the table of all runs."""
        node = self.table.add_node(op, args, shape, dtype, self.paths[-1], data, several)
        self.order.setdefault(node)
        return node

    @staticmethod
    def insert_axis(shape: Sequence[int], axis: int) -> tuple[int, ...]:
        return (*shape[:axis], 1, *shape[axis:])

    def reshape_node(self, node: TraceNode, shape: Sequence[int]) -> TraceNode:
        base = node.source if node.op is aten.reshape.default else node
        if tuple(base.shape) == tuple(shape):
            return base
        return self.add_node(aten.reshape.default, (base, self.table.mark_batch(shape)), shape, base.dtype)

    def permute_node(self, node: TraceNode, axes: list[int]) -> TraceNode:
        if node.op is aten.permute.default:
            before = as_ints(node.args[1])
            node, axes = node.source, [before[i] for i in axes]
        shape = [node.shape[i] for i in axes]
        real_axes = [i for i in axes if node.shape[i] != 1]
        if real_axes == sorted(real_axes):
            return self.reshape_node(node, shape)
        if len(real_axes) < len(axes):
            squeezed = self.reshape_node(node, [n for n in node.shape if n != 1])
            return self.reshape_node(
                self.permute_node(squeezed, [sorted(real_axes).index(i) for i in real_axes]), shape
            )
        return self.add_node(aten.permute.default, (node, tuple(axes)), shape, node.dtype)

    def add_select(self, node: TraceNode, dim: int, i: int) -> TraceNode:
        """Record a torch.select from an axis of size 1 as a reshape, or one from a permuted tensor before the permute.

        Of a permuted tensor the select is applied before the permutation, so that the batch may be the first axis
        again (qkv.reshape(B, N, 3, ...).permute(2, 0, ...)[i]).
        """
        if node.shape[dim] == 1:
            return self.reshape_node(node, (*node.shape[:dim], *node.shape[dim + 1 :]))
        base, order = node.source, as_ints(node.args[1])
        axis = order[dim]
        part = self.add_node(
            aten.select.int, (base, axis, i), (*base.shape[:axis], *base.shape[axis + 1 :]), base.dtype
        )
        return self.permute_node(part, [a - (a > axis) for a in order if a != axis])

    def add_call(self, op: Overload | LayerOp, args: Sequence[Argument], out: Result) -> TraceNode | list[TraceNode]:
        """Record a call of a PyTorch operation; return its node, or a list of nodes if it has several outputs.

        out: the output tensors, [B, ...] or with all steps in an axis; only their shapes and types are used.
        """
        outputs = as_tensors(out)
        if isinstance(op, LayerOp):
            return self.add_node(op, args, outputs[0].shape, outputs[0].dtype)
        name = op_name(op)
        if name in RESHAPE_OPS:
            return self.reshape_node(as_node(args[0]), outputs[0].shape)
        if name in PERMUTE_OPS:
            return self.permute_node(as_node(args[0]), find_permutation(name, args, len(as_node(args[0]).shape)))
        if name in ("select", "unbind"):
            x, dim = as_node(args[0]), as_int(args[1]) if len(args) > 1 else 0
            dim %= len(x.shape)
            if x.shape[dim] == 1 or x.op is aten.permute.default:
                if name == "select":
                    return self.add_select(x, dim, as_int(args[2]) % x.shape[dim])
                return [self.add_select(x, dim, i) for i in range(x.shape[dim])]
        if name == "_to_copy":
            return self.add_node(op, (args[0], outputs[0].dtype), outputs[0].shape, outputs[0].dtype)
        if name in ("expand", "repeat"):
            args = (args[0], self.table.mark_batch(as_ints(args[1])), *args[2:])
        args = (*args, *(a.default_value for a in op._schema.arguments[len(args) :]))
        if isinstance(out, Tensor):
            return self.add_node(op, args, out.shape, out.dtype)
        parts = [(tuple(o.shape), o.dtype) if isinstance(o, Tensor) else ((), torch.float32) for o in outputs]
        tuple_node = self.add_node(op, args, *parts[0], several=True)
        return [self.add_node(i, (tuple_node,), *part) for i, part in enumerate(parts)]

    def add_full(self, out: Result, value: Argument) -> TraceNode:
        """Record an operation that fills a tensor with one number, in the shape [...] of its output."""
        (output,) = as_tensors(out)
        return self.add_node(
            "full", (self.table.mark_batch(output.shape), value, output.dtype), output.shape, output.dtype
        )
