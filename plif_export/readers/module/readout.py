"""What forward makes of its T steps at the end: the value of each step that the file gives, and how forward joins them.

    stack   the record over T: the file's own output, step by step
    last    the value of the last step
    sum mean max    over T

What follows (a last layer, a matrix of votes, log_softmax) is done in each step where that is the same: anything behind `last`,
and what is linear behind a mean or a sum, which is tried on random numbers. Else it is left out of the file, and said.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from plif_export.core.readers.rules import Unsupported
from plif_export.readers.module.body import StepProgram, Values, compute, of_batch
from plif_export.readers.tracing.nodes import NodeOrSteps, Steps, TraceNode, as_int, as_ints, aten
from plif_export.readers.tracing.steps import MISFITS

REDUCES = {"sum": "sum", "mean": "mean", "amax": "max", "max": "max"}
SCALES = (1.0, 1e3, 1e6)  # of the random numbers on which it is tried whether an operation may be done in each step


@dataclass(eq=False)
class Readout:
    """value: the node of a step; how: they are joined; reduced: the node that stands for the joined value; tail: the nodes that
    follow; folded: they are done in each step; shape: of what forward gives of a step, without the batch; batch: of the example
    run."""

    how: str
    value: TraceNode
    reduced: TraceNode | None = None
    tail: list[TraceNode] = field(default_factory=list)
    folded: bool = True
    lead: int = 0  # constants before the first step of a record
    axis: int = 0
    shape: tuple[int, ...] = ()
    batch: int = 1

    def sentence(self) -> str:
        """What a user must know to get what forward returns from the values of the steps."""
        last = ""
        if self.tail and not self.folded:
            last = f", and then {', '.join(n.name for n in self.tail)}, which the file leaves out"
        words = {
            "stack": "every step's output",
            "last": "the output of the last step",
            "max": "the largest output of any step",
        }
        return f"forward returns {words.get(self.how, f'the {self.how} of the outputs over T')}{last}"

    def of_step(self, values: Values, batch: int) -> Tensor:
        """What the file gives of a step, [B, ...]. values: all that the step made, and what is static."""
        y = values[self.value]
        return self.behind(y, values, batch) if self.folded else y

    def join(self, outputs: list[Tensor], known: Values, batch: int) -> Tensor:
        """Forward's own result, [T, B, ...] or [B, ...], of what the file gives of each step, [B, ...]."""
        y = _over(self.how, torch.stack(outputs))
        return y if self.folded else self.behind(y, known, batch)

    def behind(self, y: Tensor, known: Values, batch: int) -> Tensor:
        """What the tail makes of the joined value [B, ...], or of one that stands for it."""
        if self.reduced is None or not self.tail:
            return y
        y = y.reshape(of_batch(self.reduced, self.batch, batch))
        return compute([self.tail[-1]], {**known, self.reduced: y}, batch)[self.tail[-1]]

    def commutes(self) -> bool:
        """Whether the tail of what is joined is what joins the tails of each."""
        if self.reduced is None or self.how == "last":
            return True
        generator = torch.Generator().manual_seed(0)
        try:
            for scale in SCALES:
                y = torch.randn((8, *self.reduced.shape), generator=generator) * scale
                wanted = self.behind(_over(self.how, y), {}, self.batch)
                found = _over(self.how, torch.stack([self.behind(each, {}, self.batch) for each in y]))
                if not torch.allclose(found, wanted, 0, 1e-4 * float(wanted.abs().max())):
                    return False
        except MISFITS:  # numbers that are counted, say
            return False
        return True


def _over(how: str, y: Tensor) -> Tensor:
    """Values of all steps [T, B, ...], joined."""
    if how == "stack":
        return y
    return y[-1] if how == "last" else y.amax(0) if how == "max" else y.sum(0) if how == "sum" else y.mean(0)


def read_out(result: NodeOrSteps, program: StepProgram) -> Readout:
    """The readout of one output of the run of T = program.length. Raises Unsupported for what steps cannot give."""
    found = _read(result, program)
    found.folded = found.commutes()
    return found


def _refuse() -> Unsupported:
    return Unsupported(
        "the output is made of some steps only, or by a second loop over what all steps made",
        "return every step's output",
        "",
    )


def _base(node: TraceNode) -> TraceNode:
    return node.source if node.op is aten.reshape.default else node


def _record(items: list[TraceNode], axis: int, program: StepProgram) -> Readout:
    last = items[-1]
    value = _base(last) if _base(last) in program.inside else last
    if value not in program.inside:
        found = next((s for s in program.states if s.before is value), None)
        if found is None:
            raise _refuse()
        raise Unsupported("the output of a step is what a state was before it", "return what the step made", "")
    lead = len(items) - program.length
    if lead < 0 or any(n.moves for n in items[:lead]):
        raise _refuse()
    shape = tuple(n for a, n in enumerate(last.shape) if a != axis % len(last.shape))[1:]
    return Readout("stack", value, lead=lead, axis=axis, shape=shape, batch=program.batch)


def _read(r: NodeOrSteps, program: StepProgram) -> Readout:
    if isinstance(r, Steps):
        if r.outer != 1:
            raise _refuse()
        return _record(r.items, r.axis, program)
    if r in program.inside:
        for s in program.states:  # a counter: total = total + y
            if s.after is r and r.name == "add" and s.before in r.reads and len(r.reads) == 2:
                y = r.reads[1] if r.reads[0] is s.before else r.reads[0]
                if y in program.inside:
                    return Readout("sum", y, r, shape=r.shape[1:], batch=program.batch)
        return Readout("last", r, r, shape=r.shape[1:], batch=program.batch)
    if r.op is aten.cat.default and len(r.reads) >= program.length:
        return _record(list(r.reads), as_int(r.args[1]), program)
    if isinstance(r.op, int):
        whole = r.source
        if r.op == 0 and whole.name == "max" and len(whole.args) > 1:
            return _reduced(r, whole, [as_int(whole.args[1])], program)
        raise _refuse()
    if r.name in REDUCES and len(r.args) > 1 and isinstance(r.args[1], list | tuple):
        inner = _read(r.source, program) if r.source.moves else None
        if inner is not None and inner.how == "stack":
            return _reduced(r, r, as_ints(r.args[1]), program)
    moving = [n for n in r.reads if n.moves]
    if not moving:
        raise _refuse()
    inner, *others = (_read(n, program) for n in moving)
    if any(other.reduced is not inner.reduced for other in others):
        raise _refuse()
    inner.tail = sorted({*inner.tail, *(n for other in others for n in other.tail)}, key=lambda n: n.index)
    number = next(iter(r.numbers), None)
    by_T = (r.name == "div" and r.args[0] is moving[0] and number == program.length) or (
        r.name == "mul" and number is not None and abs(number * program.length - 1) < 1e-9
    )
    if inner.how == "sum" and by_T and inner.commutes():
        inner.how, inner.reduced = "mean", inner.reduced if inner.tail else r
        return inner
    if inner.how == "stack":
        raise _refuse()
    inner.tail.append(r)
    return inner


def _reduced(r: TraceNode, op: TraceNode, dims: list[int], program: StepProgram) -> Readout:
    whole = op.source
    inner = _read(whole, program)
    rank = len(whole.shape)
    dims = [d % rank for d in dims]
    if inner.how != "stack" or inner.lead or inner.axis % rank not in dims or len(dims) > 1:
        raise _refuse()
    return Readout(REDUCES[op.name], inner.value, r, shape=inner.shape, batch=program.batch)


def outputs_of(made: object) -> list[tuple[str, NodeOrSteps]]:
    """(name, node or Steps) of every tensor that forward returned."""
    found: list[tuple[str, NodeOrSteps]] = []

    def walk(value: object, name: str) -> None:
        if isinstance(value, TraceNode | Steps):
            found.append((name, value))
        elif isinstance(value, dict):
            for key, each in value.items():
                walk(each, f"{name}.{key}" if name else str(key))
        elif isinstance(value, list | tuple):
            for i, each in enumerate(value):
                walk(each, f"{name}.{i}" if name else str(i))

    walk(made, "")
    return found
