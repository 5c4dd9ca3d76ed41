"""A search for hidden state: state without a tensor (a counter, a flag, a list, a generator) that changes a step.

A step with no state in Python is the same program for ever, since nothing else decides (looks.py refuses values of
tensors). So the search first compares the objects around the module before and after one more call. Mostly nothing
changes. Changed values are set to their values k steps ahead, all together, and some steps are recorded from there.
They must be the same nodes of the same table as now. The steps k are those at which a comparison with a number
changes its outcome (later.py), and those at which a value reaches a number of the code, a power of ten or of two.
Only values that grow evenly can be set ahead. Other values are followed through the first steps, until they repeat.
"""

from __future__ import annotations

import io
from collections.abc import Container, Mapping
from contextlib import redirect_stdout
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from torch.utils._pytree import tree_leaves

from plif_export.core.readers.rules import Problem
from plif_export.readers.libraries.rewritten import rewrite_forwards
from plif_export.readers.tracing.forms import CallForm
from plif_export.readers.tracing.nodes import NodeTable, Steps, TraceNode
from plif_export.readers.tracing.record import TraceRun
from plif_export.readers.tracing.refused import RANDOM_ADVICE
from plif_export.readers.unseen_state.asks import trace_env_reads
from plif_export.readers.unseen_state.codes import find_access_line
from plif_export.readers.unseen_state.generators import Anything, format_rng_state, get_rng_state
from plif_export.readers.unseen_state.later import ComparisonLog
from plif_export.readers.unseen_state.looks import find_source_line, profile_calls
from plif_export.readers.unseen_state.world import MODULE_KEY, ObjectGraph, Slot

STEPS = 64  # calls that show how a value changes
WARM_UP = 3  # calls after which all objects of the first calls exist
WINDOW = 3  # steps that are compared: a change in one shows in the output of the next
BATCH = 2
STEPS_TO_TRY = [*range(1, 2000), *(10**p + d for p in range(4, 8) for d in (-1, 0, 1)), *(2**p for p in range(11, 24))]
ROUND_NUMBERS = [*(10**p for p in range(1, 7)), *(2**p for p in range(3, 17))]
MAX_WINDOWS = 120  # windows that are recorded at most
KINDS = ("number", "length", "other")  # kinds of slots that are no tensors
MAX_LENGTH = 4096  # the longest list that is tried
ADVICE = "keep it in a tensor, and let every step do the same; use torch.where"


def find_hidden_state(form: CallForm) -> tuple[list[Problem], list[str], bool]:
    """Search a module for Python state, such as a counter, that is in no tensor but changes what it computes.

    Returns: the problems (one at most), sentences about state that could not be proved harmless, and whether it may
    read values of tensors where no recorder of PyTorch sees it.
    """
    search = _HiddenStateSearch(form)
    try:
        problems, not_proved = search.run()
        return problems, [*not_proved, *search.env_reads], search.leaves_torch
    finally:
        search.initial_graph.restore()


class _HiddenStateSearch:
    def __init__(self, form: CallForm) -> None:
        self.form, self.module = form, form.copy()
        rewrite_forwards(self.module)
        self.initial_graph = ObjectGraph(self.module)
        self.length = 1 if form.kind == "step" else 2
        self.table = NodeTable(BATCH)
        self.calls, self.env_reads, self.names, self.leaves_torch = 0, list[str](), set[str](), False

    def run(self) -> tuple[list[Problem], list[str]]:
        try:
            graphs = [self.call_module() for _ in range(WARM_UP)]
        except Exception:  # whatever the module's own Python raises: the reader reports it better
            return [], []
        before, graph = graphs[-2:]
        counters = (name for name in graph.class_counters if name.rpartition(".")[-1] in self.names)
        self.env_reads += [f"what {name} is, once more are made" for name in counters]
        changed = {key: slot for key, slot in graph.slots.items() if _has_changed(before.slots.get(key), slot)}
        for slot in changed.values():
            if slot.kind == "random":
                rule = f"it draws {slot.location.name} in forward ({self.find_draw_line(slot)})"
                return [self.make_problem(slot, rule, RANDOM_ADVICE)], []
        if not changed:
            return [], []
        self.graph = graph
        try:
            self.reference_nodes, trace = self.trace_window()
        except Exception:  # the reader reports the error; if it does not, this was not checked
            return [], [f"after step {WARM_UP} ({_join_names(changed)})"]
        self.after = ObjectGraph(self.module).slots
        tensors = {key: slot.live for key, slot in self.after.items() if slot.kind == "tensor"}
        dynamic = {key for key, live in tensors.items() if trace.depends_on_input(live)}
        nodes = {key: trace.node_of.get(live) for key, live in tensors.items()}
        unchanged = {key for key, node in nodes.items() if isinstance(node, TraceNode) and node.op == "param"}
        graph.restore()
        for key, slot in changed.items():
            if key in unchanged and slot.live is before.slots[key].live:
                return [self.make_problem(slot, f"{_describe_slot(slot)} is changed outside of torch", ADVICE)], []
            if slot.kind == "tensor" and not key.startswith(MODULE_KEY) and slot.setter is not None:
                slot.setter(slot.live.logical_not())
                is_harmless = self.is_unchanged()
                graph.restore()
                if not is_harmless:
                    rule = f"{_describe_slot(slot)} is a state outside of the module"
                    return [self.make_problem(slot, rule, "keep it in the module: self.state")], []
        changed = {
            w: s for w, s in changed.items() if w not in dynamic and (s.kind != "tensor" or w.startswith(MODULE_KEY))
        }
        if not changed:
            return [], []
        with redirect_stdout(io.StringIO()):  # prints of the module in later steps are not for the user
            return self.check_later_steps(changed)

    def call_module(self) -> ObjectGraph:
        """Call the searched module once more; return a snapshot of all Python objects that it can reach."""
        x = self.form.make_input(self.length, BATCH, seed=self.calls)
        self.calls += 1
        with torch.no_grad(), self.form.set_length(self.length):
            run = partial(self.form.make_call(self.length), self.module, self.form.arrange_input(x))
            if self.calls == WARM_UP:
                found = trace_env_reads(run)
                self.env_reads, self.names, self.leaves_torch = found.lines, found.names, found.leaves_torch
            else:
                run()
        return ObjectGraph(self.module)

    def trace_window(self) -> tuple[list[TraceNode], TraceRun]:
        """Record the operations of a module's next few steps; return the output nodes and the whole recording."""
        x = self.form.make_input(WINDOW, BATCH)
        with self.form.set_length(WINDOW):
            run = TraceRun(self.table, self.module, WINDOW, self.leaves_torch, self.graph.visited.values())
            run.record(self.form.arrange_input(x), self.form.axis, self.form.make_call(WINDOW))
        items = [leaf.items if isinstance(leaf, Steps) else [leaf] for leaf in tree_leaves(run.output)]
        return [node for leaf in items for node in leaf if isinstance(node, TraceNode)], run

    def is_unchanged(self) -> bool:
        """Return whether a module's next steps run the same operations as the recorded reference steps."""
        try:
            return self.trace_window()[0] == self.reference_nodes
        except Exception:  # the step fails there, or cannot be exported
            return False

    def check_later_steps(self, changed: dict[str, Slot]) -> tuple[list[Problem], list[str]]:
        """Check whether Python values that change from call to call alter a module's operations in later steps."""
        snapshots = [self.graph.slots, *(self.call_module().slots for _ in range(STEPS))]
        for snapshot in snapshots[1:]:
            changed |= self.find_new_changes(snapshot, self.graph.slots, changed)
        values = {key: [snapshot[key].value if key in snapshot else None for snapshot in snapshots] for key in changed}
        first = self.calls - STEPS
        self.graph.restore()
        rise = {
            w: _find_growth(values[w])
            for w, slot in changed.items()
            if slot.setter is not None and slot.kind != "other"
        }
        even = {key: growth for key, growth in rise.items() if growth is not None}
        odd = [key for key in changed if key not in even]
        states: set[str] = set()
        for k in range(STEPS if odd else 0):
            state = str([values[key][k] for key in odd])
            if state in states:
                odd = []
                break
            states.add(state)
            graph = ObjectGraph(self.module)
            if not self.is_unchanged():
                return [self.make_change_problem(changed[odd[0]], first + k)], []
            graph.restore()
            self.call_module()
        self.graph.restore()
        self.first, self.changed_keys, self.unset = first, set(changed), list[Slot]()
        if even and (problem := self.check_steps_ahead({w: (changed[w], growth) for w, growth in even.items()})):
            return [problem], []
        unproved = _join_names({key: changed[key] for key in odd} | {str(id(slot)): slot for slot in self.unset})
        return [], [f"after step {first + STEPS} ({unproved})"] if unproved else []

    def find_new_changes(
        self, snapshot: dict[str, Slot], reference: dict[str, Slot], ignored: Container[str]
    ) -> dict[str, Slot]:
        """Return the Python values (no tensors) that differ from a reference snapshot, except known changes."""
        changed = (
            key for key, slot in snapshot.items() if slot.kind in KINDS and _has_changed(reference.get(key), slot)
        )
        return {key: self.graph.slots[key] for key in changed if key not in ignored and key in self.graph.slots}

    def check_steps_ahead(self, growing: dict[str, tuple[Slot, Anything]]) -> Problem | None:
        """Set a module's counters to their values in later steps; check that its operations stay the same there.

        growing: {key: (slot, growth in a step)}. Values that change only in those steps (hours, which follow from
        minutes) are then checked in the same way.
        """
        graph, follow_ups = self.graph, dict[str, tuple[Slot, Anything]]()
        numbers = {*self.graph.numbers, *ROUND_NUMBERS}
        thresholds = [
            s.value for s in self.graph.slots.values() if s.location.codes and isinstance(s.value, int | float)
        ]
        numbers |= {int(value) for value in thresholds if abs(value) < 1e9}
        ks: dict[int, str | None] = dict.fromkeys([0, 1])
        for slot, rise in growing.values():
            for value, step in {*zip(_first_numbers(slot.value), _first_numbers(rise), strict=True)}:
                steps = (
                    int((n - value) / step) - 1 for n in numbers if step and (n <= MAX_LENGTH or slot.kind != "length")
                )
                ks.update(dict.fromkeys(k for k in sorted(steps) if k > 0))
        waiting, visited = list(ks), set[int]()
        while waiting and len(visited) < MAX_WINDOWS:
            k = waiting.pop(0)
            if k in visited:
                continue
            visited.add(k)
            log = ComparisonLog()
            self.set_ahead(growing, k, log)
            unchanged = self.is_unchanged()
            snapshot = ObjectGraph(self.module).slots
            graph.restore()
            if not unchanged:
                return self.make_change_problem(self.find_cause(growing, k), self.first + k)
            for key, slot in self.find_new_changes(snapshot, self.after, self.changed_keys).items():
                self.changed_keys.add(key)
                follow_ups[key] = slot, snapshot[key].value
            waiting = [step for step in log.find_flips(STEPS_TO_TRY) if step not in visited] + waiting
        for key, (slot, value) in follow_ups.items():
            rise, problem = _find_growth([slot.value, value]), None
            if slot.setter is None or len(self.changed_keys) > MAX_WINDOWS:
                self.unset.append(slot)
            elif rise is not None and slot.kind != "other":
                problem = self.check_steps_ahead({key: (slot, rise)})
            else:
                slot.setter(value)
                self.graph = ObjectGraph(self.module)
                problem = self.check_steps_ahead(growing)
                self.graph = graph
                graph.restore()
            if problem:
                return problem
        return None

    def set_ahead(self, growing: dict[str, tuple[Slot, Anything]], k: int, log: ComparisonLog) -> None:
        """Set the evenly growing Python values of a module to the values that they will have k steps later."""
        for slot, rise in growing.values():
            value = slot.value + k * rise
            if slot.kind == "length":
                value = min(value, MAX_LENGTH)
            if type(slot.value) in (int, float) and slot.kind == "number":
                value = log.track_number(slot.location.name, value, partial(_extrapolate, slot.value, rise))
            assert slot.setter is not None
            slot.setter(value)

    def find_cause(self, growing: dict[str, tuple[Slot, Anything]], k: int) -> Slot:
        """Return the counter that alone changes a module's operations k steps later, or else the first counter."""
        for key, (slot, rise) in growing.items():
            self.set_ahead({key: (slot, rise)}, k, ComparisonLog())
            unchanged = self.is_unchanged()
            self.graph.restore()
            if not unchanged:
                return slot
        return next(slot for slot, _ in growing.values())

    def make_change_problem(self, slot: Slot, step: int) -> Problem:
        unit = "step" if self.form.kind == "step" else "call"
        rule = f"{_describe_slot(slot)} counts, and changes what it does (about {unit} {step + 1})"
        return self.make_problem(slot, rule, ADVICE)

    def make_problem(self, slot: Slot, rule: str, advice: str) -> Problem:
        part = self.form.module.get_submodule(slot.location.path)
        return Problem(slot.location.path or "forward", type(part).__name__, rule, advice)

    def find_draw_line(self, slot: Slot) -> str:
        """Return the line of source code at which a module draws a random number."""
        lines: list[str] = []
        before = format_rng_state(get_rng_state(slot.live)[0])

        def profile(frame: Anything, event: str, argument: object) -> None:
            if (
                not lines
                and event in ("return", "c_return")
                and format_rng_state(get_rng_state(slot.live)[0]) != before
            ):
                lines.append(find_source_line(frame))

        with profile_calls(profile):
            self.call_module()
        return lines[0] if lines else "in some steps"


def _describe_slot(slot: Slot) -> str:
    name = slot.location.name.removeprefix("len(").rstrip(")").partition("[")[0].rpartition(".")[-1]
    return f"{slot.location.name} ({find_access_line(name, slot.location.codes)})"


def _join_names(slots: Mapping[str, Slot]) -> str:
    return ", ".join(slot.location.name for slot in slots.values())


def _has_changed(before: Slot | None, after: Slot) -> bool:
    return before is not None and not after.has_same_value(before)


def _extrapolate(value: float, rise: float, k: int) -> float:
    return value + k * rise


def _first_numbers(value: Anything) -> list[float]:
    return [float(number) for number in np.asarray(value).ravel()[:8]]


def _find_growth(values: list[Anything]) -> Anything:
    """Return the constant growth of a Python value from one step to the next, or None if it is not constant."""
    try:
        rises = [later - earlier for earlier, later in pairwise(values)]
        even = all(np.allclose(np.asarray(rises[0]), np.asarray(rise), equal_nan=True) for rise in rises)
    except Exception:  # of types without subtraction
        return None
    return rises[0] if even else None
