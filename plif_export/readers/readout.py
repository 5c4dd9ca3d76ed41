"""What forward makes of its T steps at the end: the value of each step that the file gives, and how forward joins them.

    stack   the record over T: the file's own output, step by step
    last    the value of the last step
    sum mean max    over T

What follows (a last layer, log_softmax) is done in each step where that is the same: anything behind `stack` or `last`, and
what is linear behind a mean or a sum. Else it is left out of the file, and said.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from plif_export.readers.body import StepProgram, compute
from plif_export.readers.nodes import Node, Steps, aten
from plif_export.readers.rules import Unsupported
from runtime.model.ops import OPERATIONS

REDUCES = {"sum": "sum", "mean": "mean", "amax": "max", "max": "max"}
LINEAR = {name for operation in OPERATIONS.values() for name in operation.linear}
SHIFTS = {"linear", "add", "sub", "conv2d"}  # may add something, which a sum over T would count T times


@dataclass(eq=False)
class Readout:
    """value: the node of a step; how: they are joined; axes: of the joined tensor that are joined beside time, as negative
    numbers; reduced: the node that stands for the joined value; after: the nodes that follow, of which `folded` are done in
    each step."""

    how: str
    value: Node
    reduced: Node | None = None
    tail: list[Node] = field(default_factory=list)
    extra: tuple[int, ...] = ()
    keep: bool = False
    folded: bool = True
    lead: int = 0  # constants before the first step of a record
    axis: int = 0

    def sentence(self) -> str:
        """What a user must know to get what forward returns from the values of the steps."""
        last = (
            ""
            if self.folded or not self.tail
            else f", and then {', '.join(n.name for n in self.tail)}, which the file leaves out"
        )
        words = {
            "stack": "every step's output",
            "last": "the output of the last step",
            "max": "the largest output of any step",
        }
        return f"forward returns {words.get(self.how, f'the {self.how} of the outputs over T')}{last}"

    def join(self, values: list[Tensor], known: dict[Node, Tensor], batch: int) -> Tensor:
        """Forward's own result, out of the values of all steps [B, ...] before the tail."""
        if self.how == "last":
            y = values[-1]
        else:
            y = torch.stack(values)
            if self.how == "stack":
                return y
            y = y.amax(0) if self.how == "max" else y.sum(0) if self.how == "sum" else y.mean(0)
        if self.reduced is not None and self.tail:
            y = y.reshape(
                [
                    n // self.example * batch if a == 0 and n % self.example == 0 else n
                    for a, n in enumerate(self.reduced.shape)
                ]
            )
            return compute([self.tail[-1]], {**known, self.reduced: y}, batch)[self.tail[-1]]
        return y

    example: int = 1


def read_out(result: Any, program: StepProgram) -> Readout:
    """The readout of one output of the run of T = program.length. Raises Unsupported for what steps cannot give."""
    found = _read(result, program)
    found.example = program.batch
    if found.tail:
        commutes = found.how in ("last",) or (
            found.how in ("mean", "sum")
            and all(
                n.name in LINEAR
                and not (found.how == "sum" and n.name in SHIFTS)
                and sum(r.moves for r in n.reads) == 1
                for n in found.tail
            )
        )
        found.folded = commutes
    return found


def _refuse() -> Unsupported:
    return Unsupported(
        "the output is made of some steps only, or by a second loop over what all steps made",
        "return every step's output",
        "",
    )


def _base(node: Node) -> Node:
    return node.args[0] if node.op is aten.reshape.default else node


def _record(items: list[Node], axis: int, program: StepProgram) -> Readout:
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
    return Readout("stack", value, lead=lead, axis=axis)


def _read(r: Any, program: StepProgram) -> Readout:
    if isinstance(r, Steps):
        if r.outer != 1:
            raise _refuse()
        return _record(r.items, r.axis, program)
    assert isinstance(r, Node)
    if r in program.inside:
        for s in program.states:  # a counter: total = total + y
            if s.after is r and r.name == "add" and s.before in r.reads and len(r.reads) == 2:
                y = r.reads[1] if r.reads[0] is s.before else r.reads[0]
                if y in program.inside:
                    return Readout("sum", y, reduced=r)
        return Readout("last", r, reduced=r)
    if r.op is aten.cat.default and len(r.args[0]) >= program.length:
        return _record(list(r.args[0]), r.args[1], program)
    if isinstance(r.op, int):
        whole = r.args[0]
        if r.op == 0 and whole.name == "max" and len(whole.args) > 1:
            return _reduced(r, whole, [whole.args[1]], bool(whole.args[2]), program)
        raise _refuse()
    if r.name in REDUCES and len(r.args) > 1 and isinstance(r.args[1], list | tuple):
        inner = _read(r.args[0], program) if r.args[0].moves else None
        if inner is not None and inner.how == "stack":
            return _reduced(r, r, list(r.args[1]), bool(r.args[2]) if len(r.args) > 2 else False, program)
    moving = [n for n in r.reads if n.moves]
    if (not moving and r.moves) or len(moving) != 1:
        raise _refuse()
    inner = _read(moving[0], program)
    number = next((v for v in r.flat if type(v) in (int, float)), None)
    if (
        inner.how == "sum"
        and not inner.tail
        and (
            (r.name == "div" and r.args[0] is moving[0] and number == program.length)
            or (r.name == "mul" and number is not None and abs(number * program.length - 1) < 1e-9)
        )
    ):
        inner.how, inner.reduced = "mean", r
        return inner
    if inner.how == "stack":
        raise _refuse()
    inner.tail.append(r)
    return inner


def _reduced(r: Node, op: Node, dims: list[int], keep: bool, program: StepProgram) -> Readout:
    whole = op.args[0]
    inner = _read(whole, program)
    rank = len(whole.shape)
    dims = [d % rank for d in dims]
    if inner.how != "stack" or inner.lead or inner.axis % rank not in dims or len(dims) > 1:
        raise _refuse()
    return Readout(REDUCES[op.name], inner.value, reduced=r)


def outputs_of(made: Any) -> list[tuple[str, Any]]:
    """(name, node or Steps) of every tensor that forward returned."""
    found: list[tuple[str, Any]] = []

    def walk(value: Any, name: str) -> None:
        if isinstance(value, Node | Steps):
            found.append((name, value))
        elif isinstance(value, dict):
            for key, each in value.items():
                walk(each, f"{name}.{key}" if name else str(key))
        elif isinstance(value, list | tuple):
            for i, each in enumerate(value):
                walk(each, f"{name}.{i}" if name else str(i))

    walk(made, "")
    return found
