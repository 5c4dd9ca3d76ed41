"""Rewriting of a step's operations that compare neurons of one layer, so that neurons hold elementwise ones only.

    h >= h.amax(1, keepdim=True)       the maximum is repeated to the shape of h by an operation of its own (expand)
    one_hot(h.argmax(1), n)            1 at the first of the largest: where h >= max, its place i, else n; the least of
                                       these is repeated, and compared with i

The step program with the new operations gives the same bits, as the comparison with the module (check.py) shows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from plif_export.core.circles import strong_components
from plif_export.core.readers.rules import Unsupported
from plif_export.readers.step_program.body import StepProgram
from plif_export.readers.step_program.elementwise import TABLE
from plif_export.readers.step_program.neuron_program import GRAPH_LAYERS
from plif_export.readers.tracing.nodes import Argument, BatchSize, Op, TraceNode, as_int, aten, replace_arguments


def spread_comparisons(program: StepProgram) -> None:
    """Rewrite, in a step program, one-hot winners and operands that are repeated over the neurons of a layer."""
    writer = _BodyWriter(program)
    circling = _find_circling(program)
    for node in program.body:
        writer.target = node
        if node.name == "one_hot" and node.moves:
            writer.write_winner(node, node.source, as_int(node.args[1]))
        elif node.name == "index_put":
            _refuse_places(node)
        elif node.name in TABLE and not node.is_tuple and (node.name not in GRAPH_LAYERS or node in circling):
            writer.expand_operands(node)
        writer.body.append(node)
    program.body, program.inside = writer.body, set(writer.body)


def _find_circling(program: StepProgram) -> set[TraceNode]:
    """Return the operations by which a state of a step leads to a state after the step."""
    before = {s.before: s.after for s in program.states}
    needs = {n: [before.get(r, r) for r in n.reads if r in program.inside or r in before] for n in program.body}
    needs = {n: [r for r in read if r in needs] for n, read in needs.items()}
    return {n for part in strong_components(needs) if len(part) > 1 or part[0] in needs[part[0]] for n in part}


def _refuse_places(node: TraceNode) -> None:
    """Refuse y[i] = ... at places i that depend on the input."""
    places = node.args[1] if isinstance(node.args[1], list | tuple) else ()
    if any(isinstance(i, TraceNode) and i.moves and i.dtype == torch.int64 for i in places):
        rule = "index_put() at places that depend on the input is not exported"
        raise Unsupported(rule, "write winners as one_hot(h.argmax(1), n)", node.path)


class _BodyWriter:
    """A writer of the operations of a step, which puts new ones before the operation that is being read."""

    def __init__(self, program: StepProgram) -> None:
        self.batch, self.body = program.batch, list[TraceNode]()
        self.target = program.body[0]
        self.expanded: dict[tuple[TraceNode, tuple[int, ...]], TraceNode] = {}

    def add(self, op: Op, args: Sequence[Argument], shape: Sequence[int], dtype: torch.dtype) -> TraceNode:
        last = self.body[-1].index if self.body else -1
        node = TraceNode(op, args, tuple(shape), dtype, self.target.path, True, (last + self.target.index) / 2)
        self.body.append(node)
        return node

    def expand_operands(self, node: TraceNode) -> None:
        """Repeat the operands of an elementwise operation to its shape [B, ...] where they have another one."""

        def expand(operand: TraceNode) -> TraceNode:
            if operand.shape == node.shape or not operand.moves:
                return operand
            return self.expand(operand, node.shape)

        if any(n.moves and n.shape != node.shape for n in node.reads):
            _replace(node, node.op, replace_arguments(node.args, TraceNode, expand))

    def expand(self, operand: TraceNode, shape: tuple[int, ...]) -> TraceNode:
        key = operand, shape
        if key not in self.expanded:
            sizes = tuple(
                BatchSize(n // self.batch) if i == 0 and n % self.batch == 0 else n for i, n in enumerate(shape)
            )
            self.expanded[key] = self.add(aten.expand.default, (operand, sizes, False), shape, operand.dtype)
        return self.expanded[key]

    def write_winner(self, node: TraceNode, source: TraceNode, classes: int) -> None:
        """Write one_hot(argmax(h), classes) [B, ..., n] as comparisons of h with its maximum, and of places."""
        while source.name in ("reshape", "expand"):
            source = source.source
        if source.name != "argmax" or source.args[1] is None:
            rule = f"one_hot of {source.name}() is not exported"
            raise Unsupported(rule, "use it for the place of a maximum: one_hot(h.argmax(1), n)", node.path)
        h = source.source
        axis = as_int(source.args[1]) % len(h.shape)
        if (axis, classes, len(node.shape)) != (len(h.shape) - 1, h.shape[axis], len(h.shape)):
            rule = f"one_hot of the maximum along axis {axis} of {list(h.shape[1:])} with {classes} classes"
            raise Unsupported(rule, "take it along the last axis, with as many classes as it has places", node.path)
        column = (*h.shape[:-1], 1)
        places = torch.arange(classes, dtype=torch.float32)
        place = TraceNode("const", ("winner", classes), tuple(places.shape), places.dtype, node.path, False, -1, places)
        highest = self.expand(self.add(aten.amax.default, (h, [axis], True), column, h.dtype), h.shape)
        is_highest = self.add(aten.ge.Tensor, (h, highest), h.shape, torch.bool)
        behind = self.add(aten.where.ScalarOther, (is_highest, place, float(classes)), h.shape, torch.float32)
        least = self.add(aten.neg.default, (behind,), h.shape, torch.float32)
        least = self.expand(self.add(aten.amax.default, (least, [axis], True), column, torch.float32), h.shape)
        first = self.add(aten.neg.default, (least,), h.shape, torch.float32)
        wins = self.add(aten.eq.Tensor, (first, place), h.shape, torch.bool)
        _replace(node, aten._to_copy.default, (wins, node.dtype))


def _replace(node: TraceNode, op: Op, args: Sequence[Argument]) -> None:
    node.op, node.args = op, args
    node.__post_init__()
