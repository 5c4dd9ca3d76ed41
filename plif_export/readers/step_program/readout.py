"""The readout of a module: the step value that the file outputs, and the way in which forward combines the T values.

    stack   the record over T: the file's own output, step by step
    last    the value of the last step
    sum mean max    over T

Operations after it (a last layer, a matrix of votes, log_softmax) run in each step where the result is the same: all
operations after `last`, and linear ones after a mean or a sum, which random numbers decide. Otherwise the file leaves
them out, and says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from plif_export.core.readers.rules import Unsupported
from plif_export.readers.step_program.body import (
    NeedsLongerRunsError,
    NodeValues,
    StepProgram,
    compute_nodes,
    resize_batch,
)
from plif_export.readers.tracing.nodes import NodeOrSteps, Steps, TraceNode, as_int, as_ints, aten
from plif_export.readers.tracing.steps import ARGUMENT_ERRORS

REDUCTIONS = {"sum": "sum", "mean": "mean", "amax": "max", "max": "max"}
SCALES = (1.0, 1e3, 1e6)  # of the random numbers that show whether the tail can run in each step


@dataclass(eq=False)
class Readout:
    """The way in which a module's forward makes its output of the values of T time-steps, such as their sum.

    value: the node of a step. how: "stack", "last", "sum", "mean" or "max". reduced: the node of the combined value.
    tail: the nodes that follow. folded: the tail runs in each step. shape: of forward's output for a step, without
    the batch. batch: of the example run.
    """

    reduction: str
    value: TraceNode
    reduced: TraceNode | None = None
    tail: list[TraceNode] = field(default_factory=list)
    folded: bool = True
    lead: int = 0  # number of constants before the first step of a record
    axis: int = 0
    shape: tuple[int, ...] = ()
    batch: int = 1

    def describe(self) -> str:
        """Describe in a sentence how the result of a module's forward follows from the outputs of its steps."""
        last = ""
        if self.tail and not self.folded:
            last = f", and then {', '.join(n.name for n in self.tail)}, which the file leaves out"
        words = {
            "stack": "every step's output",
            "last": "the output of the last step",
            "max": "the largest output of any step",
        }
        return f"forward returns {words.get(self.reduction, f'the {self.reduction} of the outputs over T')}{last}"

    def compute_step_output(self, values: NodeValues, batch: int) -> Tensor:
        """Compute the exported file's output for one time-step, [B, ...], from the values of recorded nodes.

        values: all nodes of the step, and constant nodes.
        """
        y = values[self.value]
        return self.apply_tail(y, values, batch) if self.folded else y

    def combine_steps(self, outputs: list[Tensor], constants: NodeValues, batch: int) -> Tensor:
        """Combine the exported file's outputs of all steps into forward's own result, [T, B, ...] or [B, ...]."""
        y = _reduce_steps(self.reduction, torch.stack(outputs))
        return y if self.folded else self.apply_tail(y, constants, batch)

    def apply_tail(self, y: Tensor, constants: NodeValues, batch: int) -> Tensor:
        """Apply the operations that forward runs after combining the time-steps (the tail) to a value [B, ...]."""
        if self.reduced is None or not self.tail:
            return y
        y = y.reshape(resize_batch(self.reduced, self.batch, batch))
        return compute_nodes([self.tail[-1]], {**constants, self.reduced: y}, batch)[self.tail[-1]]

    def tail_commutes(self) -> bool:
        """Return whether the operations after the combination of steps (the tail) may run in each step instead."""
        if self.reduced is None or self.reduction == "last":
            return True
        generator = torch.Generator().manual_seed(0)
        try:
            for scale in SCALES:
                y = torch.randn((8, *self.reduced.shape), generator=generator) * scale
                tail_of_joint = self.apply_tail(_reduce_steps(self.reduction, y), {}, self.batch)
                joint_of_tails = _reduce_steps(
                    self.reduction, torch.stack([self.apply_tail(y_t, {}, self.batch) for y_t in y])
                )
                if not torch.allclose(joint_of_tails, tail_of_joint, 0, 1e-4 * float(tail_of_joint.abs().max())):
                    return False
        except ARGUMENT_ERRORS:  # for example the tail counts numbers
            return False
        return True


def _reduce_steps(reduction: str, y: Tensor) -> Tensor:
    """Combine the values of all time-steps [T, B, ...] into an output: stack, last, sum, mean or maximum."""
    if reduction == "stack":
        return y
    return (
        y[-1]
        if reduction == "last"
        else y.amax(0)
        if reduction == "max"
        else y.sum(0)
        if reduction == "sum"
        else y.mean(0)
    )


def find_readout(output: NodeOrSteps, program: StepProgram) -> Readout:
    """Find how a module's forward combines its time-steps into an output. Raises Unsupported if no way fits."""
    readout = _match_readout(output, program)
    readout.folded = readout.tail_commutes()
    return readout


def _readout_refusal() -> Unsupported:
    return NeedsLongerRunsError(
        "the output is made of some steps only, or by a second loop over what all steps made",
        "return every step's output",
        "",
    )


def _strip_reshape(node: TraceNode) -> TraceNode:
    return node.source if node.op is aten.reshape.default else node


def _stacked_readout(items: list[TraceNode], axis: int, program: StepProgram) -> Readout:
    last = items[-1]
    value = _strip_reshape(last) if _strip_reshape(last) in program.inside else last
    if value not in program.inside:
        state = next((s for s in program.states if s.before is value), None)
        if state is None:
            raise _readout_refusal()
        raise Unsupported("the output of a step is what a state was before it", "return what the step made", "")
    lead = len(items) - program.length
    if lead < 0 or any(n.moves for n in items[:lead]):
        raise _readout_refusal()
    shape = tuple(n for a, n in enumerate(last.shape) if a != axis % len(last.shape))[1:]
    return Readout("stack", value, lead=lead, axis=axis, shape=shape, batch=program.batch)


def _match_readout(r: NodeOrSteps, program: StepProgram) -> Readout:
    if isinstance(r, Steps):
        if r.outer != 1:
            raise _readout_refusal()
        return _stacked_readout(r.items, r.axis, program)
    if r in program.inside:
        for s in program.states:  # a counter: total = total + y
            if s.after is r and r.name == "add" and s.before in r.reads and len(r.reads) == 2:
                y = r.reads[1] if r.reads[0] is s.before else r.reads[0]
                if y in program.inside:
                    return Readout("sum", y, r, shape=r.shape[1:], batch=program.batch)
        return Readout("last", r, r, shape=r.shape[1:], batch=program.batch)
    if r.op is aten.cat.default and len(r.reads) >= program.length:
        return _stacked_readout(list(r.reads), as_int(r.args[1]), program)
    if isinstance(r.op, int):
        source = r.source
        if r.op == 0 and source.name == "max" and len(source.args) > 1:
            return _reduced_readout(r, source, [as_int(source.args[1])], program)
        raise _readout_refusal()
    if r.name in REDUCTIONS and len(r.args) > 1 and isinstance(r.args[1], list | tuple):
        inner = _match_readout(r.source, program) if r.source.moves else None
        if inner is not None and inner.reduction == "stack":
            return _reduced_readout(r, r, as_ints(r.args[1]), program)
    moving = [n for n in r.reads if n.moves]
    if not moving:
        raise _readout_refusal()
    inner, *further = (_match_readout(n, program) for n in moving)
    if any(readout.reduced is not inner.reduced for readout in further):
        raise _readout_refusal()
    inner.tail = sorted({*inner.tail, *(n for readout in further for n in readout.tail)}, key=lambda n: n.index)
    number = next(iter(r.numbers), None)
    by_T = (r.name == "div" and r.args[0] is moving[0] and number == program.length) or (
        r.name == "mul" and number is not None and abs(number * program.length - 1) < 1e-9
    )
    if inner.reduction == "sum" and by_T and inner.tail_commutes():
        inner.reduction, inner.reduced = "mean", inner.reduced if inner.tail else r
        return inner
    if inner.reduction == "stack":
        raise _readout_refusal()
    inner.tail.append(r)
    return inner


def _reduced_readout(r: TraceNode, op: TraceNode, dims: list[int], program: StepProgram) -> Readout:
    source = op.source
    inner = _match_readout(source, program)
    rank = len(source.shape)
    dims = [d % rank for d in dims]
    if inner.reduction != "stack" or inner.lead or inner.axis % rank not in dims or len(dims) > 1:
        raise _readout_refusal()
    return Readout(REDUCTIONS[op.name], inner.value, r, shape=inner.shape, batch=program.batch)


def list_outputs(returned: object) -> list[tuple[str, NodeOrSteps]]:
    """List each tensor that a module's forward returned, as its name and its recorded node."""
    outputs: list[tuple[str, NodeOrSteps]] = []

    def walk(value: object, name: str) -> None:
        if isinstance(value, TraceNode | Steps):
            outputs.append((name, value))
        elif isinstance(value, dict):
            for key, element in value.items():
                walk(element, f"{name}.{key}" if name else str(key))
        elif isinstance(value, list | tuple):
            for i, element in enumerate(value):
                walk(element, f"{name}.{i}" if name else str(i))

    walk(returned, "")
    return outputs
