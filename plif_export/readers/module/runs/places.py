"""Where the values of a step are made while a module runs, so that they can be looked at there, and changed.

A value is known by its call: the submodule that calls, the operation, and how many such calls came before. In the runs that were
written down that number grows evenly with the step and with T, so that it is known for any other T. An operation on all steps at
once makes the values of all of them in one call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from torch import Tensor, nn

from plif_export.readers.libraries.layers import known_as
from plif_export.readers.libraries.rewritten import REWRITTEN
from plif_export.readers.module.body import StepProgram
from plif_export.readers.module.regions import below
from plif_export.readers.tracing.nodes import Argument, Given, Overload, Steps, Table, TraceNode, aten, op_name
from plif_export.readers.tracing.record import TraceRun, parts_of
from plif_export.readers.tracing.steps import joined

Key = tuple[str, str]  # path of the submodule that calls, name of the operation


@dataclass(frozen=True)
class _Birth:
    """A call that made the value of a node, in which part of its result; of all steps at once: what is joined along which axis
    (Steps)."""

    key: Key
    index: int
    part: int = 0
    item: TraceNode | None = None
    axis: int = 0
    outer: int = 1


class PlacedRun(TraceRun):
    """A run that is written down, and that notes which call made a node. calls: how many there were of each."""

    def __init__(self, table: Table, module: nn.Module, length: int) -> None:
        TraceRun.__init__(self, table, module, length)
        self.calls: Counter[Key] = Counter()
        self.born: dict[TraceNode, _Birth | None] = {}  # None: by several calls
        self.inside = False
        self.other = [path for path, part in module.named_modules() if known_as(part, REWRITTEN) is not None]

    def record(self, x: Given, axis: int | None, forward: Callable[[nn.Module, Given], object]) -> PlacedRun:
        """As TraceRun.record; afterwards it holds no tensor of that forward."""
        TraceRun.record(self, x, axis, forward)
        self.known.clear()
        self.views.clear()
        self.memory.clear()
        return self

    def __torch_dispatch__(
        self, func: Overload, types: object, args: Sequence[Argument] = (), kwargs: Mapping[str, Argument] | None = None
    ) -> object:
        if self.inside:  # what an operation is made of: the module's own run does not see it
            return TraceRun.__torch_dispatch__(self, func, types, args, kwargs)
        key, before = (self.paths[-1], op_name(func)), len(self.order)
        self.inside = True
        try:
            out = TraceRun.__torch_dispatch__(self, func, types, args, kwargs)
        finally:
            self.inside = False
        index, self.calls[key] = self.calls[key], self.calls[key] + 1
        new = set(islice(reversed(self.order), len(self.order) - before))
        for part, tensor in enumerate(parts_of(out) if not any(below(key[0], path) for path in self.other) else ()):
            made = self.known.get(tensor) if isinstance(tensor, Tensor) else None
            for item in made.items if isinstance(made, Steps) else [made] if made is not None else []:
                node, birth = bare(item), _Birth(key, index, part)
                if isinstance(made, Steps):
                    birth = _Birth(key, index, part, item, made.axis, made.outer)
                if node in new:
                    self.born[node] = birth
                elif (old := self.born.get(node)) is not None and old.key == key:
                    self.born[node] = None
        return out


def bare(node: TraceNode) -> TraceNode:
    """What a node only gives another shape."""
    while node.op is aten.reshape.default:
        node = node.source
    return node


@dataclass(frozen=True)
class CallPlace:
    """The call that makes the value of a node in step t of T, from step `since` on: number first + t * step + T * length."""

    node: TraceNode
    key: Key
    first: int
    step: int
    length: int
    birth: _Birth
    batch: int  # of the run that was written down
    since: int  # the step from which on this is so

    def index(self, t: int, T: int) -> int:
        return self.first + t * self.step + T * self.length

    @property
    def whole(self) -> bool:
        """Whether one call makes the values of all steps."""
        return self.birth.item is not None

    def taken(self, out: Tensor, T: int, batch: int) -> Tensor:
        """The values of the node in what a call made: [T, B, ...] of all steps, [1, B, ...] of one."""
        shape = self._sized(batch, *self.node.shape)
        if self.birth.item is None:
            return out.reshape(1, *shape)
        axis, (outer,) = self.birth.axis, self._sized(batch, self.birth.outer)
        apart: Tensor = out.unflatten(axis, (outer, T, -1)).movedim(axis + 1, 0)
        return apart.reshape(T, *shape)

    def given(self, values: Tensor, out: Tensor, batch: int) -> Tensor:
        """Values of the node, [T, B, ...] or [1, B, ...], in the shape of what a call made."""
        item = self.birth.item
        if item is None:
            return values.reshape(out.shape)
        items = [value.reshape(self._sized(batch, *item.shape)) for value in values]
        return joined(items, self.birth.axis, *self._sized(batch, self.birth.outer)).reshape(out.shape)

    def _sized(self, batch: int, *sizes: int) -> list[int]:
        """Sizes of the run that was written down, for another batch."""
        return [n // self.batch * batch if n % self.batch == 0 else n for n in sizes]


@dataclass(frozen=True)
class CallPlaces:
    """Where the nodes of a step are made; calls: how many of each kind a run of more than `since` steps makes: (once, a step)."""

    of: dict[TraceNode, CallPlace]
    calls: dict[Key, tuple[int, int]]
    since: int


NOWHERE = CallPlaces({}, {}, 0)


def _alike(node: TraceNode, other: TraceNode | None) -> bool:
    """Whether another node is surely the same of another step: a layer, with the same weights."""
    if other is None or str(node.op) != str(other.op) or len(node.flat) != len(other.flat):
        return False
    pairs = [(a, b) for a, b in zip(node.flat, other.flat, strict=True) if not (isinstance(a, TraceNode) and a.moves)]
    return all(a is b or a == b for a, b in pairs) and any(
        isinstance(a, TraceNode) and a.op == "param" for a, _ in pairs
    )


def find_places(runs: Mapping[int, PlacedRun], at: int, program: StepProgram) -> CallPlaces:
    """The places of a program's nodes, from the runs of the lengths at - 1 ... at + 2."""
    one, two = runs[at + 1], runs[at + 2]
    made = {(b.key, b.part, b.index): node for node, b in two.born.items() if b is not None}
    of: dict[TraceNode, CallPlace] = {}
    for later in program.body:
        earlier = program.earlier.get(later)
        if earlier is None or bare(later) is not later:
            continue
        born = [run.born.get(node) for node in (later, earlier) for run in (one, two)]
        a, b, c, d = (birth if birth is not None else _Birth(("", ""), -1) for birth in born)
        if any(
            birth is None or (birth.key, birth.part, birth.axis, birth.outer) != (a.key, a.part, a.axis, a.outer)
            for birth in born
        ):
            continue
        step, length = a.index - c.index, b.index - a.index
        if d.index - c.index == length and (a.item is None) == (c.item is None) == (step != 0):
            first = a.index - step * at - length * (at + 1)
            place = CallPlace(later, a.key, first, step, length, a, program.batch, 0)
            steps = () if place.whole else range(at - 1)
            early = (made.get((a.key, a.part, place.index(t, at + 2))) for t in steps)
            of[later] = place if all(_alike(later, node) for node in early) else replace(place, since=at - 1)
    calls = {}
    for key in {place.key for place in of.values()}:
        before, last, longest = (runs[T].calls[key] for T in (at, at + 1, at + 2))
        grows = longest - last
        if last - before == grows:
            calls[key] = last - grows * (at + 1), grows
    return CallPlaces({node: place for node, place in of.items() if place.key in calls}, calls, at - 1)
