"""The call sites of a step's values while a module runs, so that they can be read and changed there.

A value is identified by its call: the calling submodule, the operation, and the number of such calls before. In the
recorded runs that number grows evenly with the step and with T, so that it is known for any other T. An operation on
all steps at once makes the values of all of them in one call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from torch import Tensor, nn

from plif_export.readers.libraries.layers import find_entry
from plif_export.readers.libraries.rewritten import REWRITTEN
from plif_export.readers.step_program.body import StepProgram
from plif_export.readers.step_program.regions import is_inside
from plif_export.readers.tracing.nodes import (
    Argument,
    ForwardInput,
    NodeTable,
    Overload,
    Steps,
    TraceNode,
    as_outputs,
    aten,
    op_name,
)
from plif_export.readers.tracing.record import TraceRun
from plif_export.readers.tracing.steps import join_steps

Key = tuple[str, str]  # path of the submodule that calls, name of the operation


def call_name(op: Overload) -> str:
    """Return the name under which a call is counted: v >= th is th <= v where th is an nn.Parameter."""
    name = op_name(op)
    return {"le": "ge", "lt": "gt"}.get(name, name)


@dataclass(frozen=True)
class _Origin:
    """The call of a PyTorch operation that computed a recorded node, and the output of that call to read.

    step_node, axis, outer: for a call on all steps at once, the joined item and axis (Steps).
    """

    key: Key
    index: int
    part: int = 0
    step_node: TraceNode | None = None
    axis: int = 0
    outer: int = 1


class CallTrackingRun(TraceRun):
    """A recording of a module's run that also notes which call of which operation computed each node.

    calls: the number of calls of each kind.
    """

    def __init__(self, table: NodeTable, module: nn.Module, length: int, leaves_torch: bool = True) -> None:
        TraceRun.__init__(self, table, module, length, leaves_torch)
        self.calls: Counter[Key] = Counter()
        self.origins: dict[TraceNode, _Origin | None] = {}  # None: several calls made it
        self.inside = False
        self.rewritten_paths = [
            path for path, part in module.named_modules() if find_entry(part, REWRITTEN) is not None
        ]

    def record(
        self, x: ForwardInput, axis: int | None, forward: Callable[[nn.Module, ForwardInput], object]
    ) -> CallTrackingRun:
        """Record a module's forward, as TraceRun.record does, then release all tensors of that forward."""
        TraceRun.record(self, x, axis, forward)
        self.node_of.clear()
        self.views.clear()
        self.memory.clear()
        return self

    def __torch_dispatch__(
        self, func: Overload, types: object, args: Sequence[Argument] = (), kwargs: Mapping[str, Argument] | None = None
    ) -> object:
        if self.inside:  # an inner operation, which the module's own run does not see
            return TraceRun.__torch_dispatch__(self, func, types, args, kwargs)
        key, before = (self.paths[-1], call_name(func)), len(self.order)
        self.inside = True
        try:
            out = TraceRun.__torch_dispatch__(self, func, types, args, kwargs)
        finally:
            self.inside = False
        index, self.calls[key] = self.calls[key], self.calls[key] + 1
        new = set(islice(reversed(self.order), len(self.order) - before))
        for part, tensor in enumerate(
            as_outputs(out) if not any(is_inside(key[0], path) for path in self.rewritten_paths) else ()
        ):
            record = self.node_of.get(tensor) if isinstance(tensor, Tensor) else None
            for step_node in record.items if isinstance(record, Steps) else [record] if record is not None else []:
                node, origin = strip_reshapes(step_node), _Origin(key, index, part)
                if isinstance(record, Steps):
                    origin = _Origin(key, index, part, step_node, record.axis, record.outer)
                if node in new:
                    self.origins[node] = origin
                elif (old := self.origins.get(node)) is not None and old.key == key:
                    self.origins[node] = None
        return out


def strip_reshapes(node: TraceNode) -> TraceNode:
    """Return the recorded node before a chain of reshape operations; other nodes unchanged."""
    while node.op is aten.reshape.default:
        node = node.source
    return node


@dataclass(frozen=True)
class CallSite:
    """The PyTorch call that computes a recorded node in step t of T, by its number among calls of its kind.

    The number of the call is first + t * step + T * length. It holds from step `since` on.
    """

    node: TraceNode
    key: Key
    first: int
    step: int
    length: int
    origin: _Origin
    batch: int  # of the recorded run
    since: int  # the first step with this call site

    def index(self, t: int, T: int) -> int:
        return self.first + t * self.step + T * self.length

    @property
    def is_all_steps(self) -> bool:
        """True if one PyTorch call computes the values of a recorded node for all time-steps at once."""
        return self.origin.step_node is not None

    def extract_values(self, out: Tensor, T: int, batch: int) -> Tensor:
        """Extract a recorded node's values from its PyTorch call's output: [T, B, ...], or [1, B, ...] of a step."""
        shape = self._resize_batch(batch, *self.node.shape)
        if self.origin.step_node is None:
            return out.reshape(1, *shape)
        axis, (outer,) = self.origin.axis, self._resize_batch(batch, self.origin.outer)
        unfolded: Tensor = out.unflatten(axis, (outer, T, -1)).movedim(axis + 1, 0)
        return unfolded.reshape(T, *shape)

    def pack_values(self, values: Tensor, out: Tensor, batch: int) -> Tensor:
        """Bring a recorded node's values, [T, B, ...] or [1, B, ...], into its PyTorch call's output shape."""
        step_node = self.origin.step_node
        if step_node is None:
            return values.reshape(out.shape)
        items = [value.reshape(self._resize_batch(batch, *step_node.shape)) for value in values]
        return join_steps(items, self.origin.axis, *self._resize_batch(batch, self.origin.outer)).reshape(out.shape)

    def _resize_batch(self, batch: int, *sizes: int) -> list[int]:
        """Return recorded sizes, converted from the batch size of the recorded run to another one."""
        return [n // self.batch * batch if n % self.batch == 0 else n for n in sizes]


@dataclass(frozen=True)
class CallSites:
    """All known call sites of a module's time-step: the PyTorch calls that compute the recorded nodes.

    calls: {kind of call: (offset, calls a step)} of a run with more than `since` steps.
    """

    sites: dict[TraceNode, CallSite]
    calls: dict[Key, tuple[int, int]]
    since: int


NO_CALL_SITES = CallSites({}, {}, 0)


def _is_same_layer(node: TraceNode, candidate: TraceNode | None) -> bool:
    """Return whether two recorded operations are one layer, with the same weights, in different time-steps."""
    if candidate is None or str(node.op) != str(candidate.op) or len(node.flat) != len(candidate.flat):
        return False
    pairs = [
        (a, b) for a, b in zip(node.flat, candidate.flat, strict=True) if not (isinstance(a, TraceNode) and a.moves)
    ]
    return all(a is b or a == b for a, b in pairs) and any(
        isinstance(a, TraceNode) and a.op == "param" for a, _ in pairs
    )


def find_call_sites(runs: Mapping[int, CallTrackingRun], base_T: int, program: StepProgram) -> CallSites:
    """Find which PyTorch calls compute the nodes of a step, by comparing recorded runs of several lengths.

    runs: of the lengths base_T - 1 ... base_T + 2.
    """
    run_a, run_b = runs[base_T + 1], runs[base_T + 2]
    nodes = {(b.key, b.part, b.index): node for node, b in run_b.origins.items() if b is not None}
    sites: dict[TraceNode, CallSite] = {}
    for later in program.body:
        earlier = program.earlier.get(later)
        if earlier is None or strip_reshapes(later) is not later:
            continue
        origins = [run.origins.get(node) for node in (later, earlier) for run in (run_a, run_b)]
        a, b, c, d = (origin if origin is not None else _Origin(("", ""), -1) for origin in origins)
        if any(
            origin is None or (origin.key, origin.part, origin.axis, origin.outer) != (a.key, a.part, a.axis, a.outer)
            for origin in origins
        ):
            continue
        step, length = a.index - c.index, b.index - a.index
        if d.index - c.index == length and (a.step_node is None) == (c.step_node is None) == (step != 0):
            first = a.index - step * base_T - length * (base_T + 1)
            site = CallSite(later, a.key, first, step, length, a, program.batch, 0)
            steps = () if site.is_all_steps else range(base_T - 1)
            early = (nodes.get((a.key, a.part, site.index(t, base_T + 2))) for t in steps)
            sites[later] = (
                site if all(_is_same_layer(later, node) for node in early) else replace(site, since=base_T - 1)
            )
    calls = {}
    for key in {site.key for site in sites.values()}:
        before, last, longest = (runs[T].calls[key] for T in (base_T, base_T + 1, base_T + 2))
        grows = longest - last
        if last - before == grows:
            calls[key] = last - grows * (base_T + 1), grows
    return CallSites({node: site for node, site in sites.items() if site.key in calls}, calls, base_T - 1)
