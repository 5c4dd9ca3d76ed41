"""Writes operations into a table of nodes, each in one form: reshapes as one of what they all started from, and so on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from plif_export.readers.nodes import Node, Registered, Table, aten, axes_of, op_name

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
