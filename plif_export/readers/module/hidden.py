"""State that no tensor shows: a counter, a flag, the length of a list, a random generator. Does it change what a step does?

A step whose Python keeps nothing is the same program for ever, since nothing else decides (looks.py refuses values of tensors).
So first is looked what one step more changes in the world around the module. Mostly nothing. What changes is set to what it
will be k steps on, all of it together, and some steps are written down from there: they must be the same nodes of the same
table as now. The steps k are those at which a comparison with a number comes out otherwise (later.py), and those at which
something reaches a number of the code, a power of ten or of two. What grows evenly can be set so; what does not is followed
through the first steps, until it comes round.
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
from plif_export.readers.libraries.rewritten import rewrite
from plif_export.readers.tracing.forms import Form
from plif_export.readers.tracing.nodes import Steps, Table, TraceNode
from plif_export.readers.tracing.record import RANDOM, TraceRun
from plif_export.readers.unseen_state.asks import asked
from plif_export.readers.unseen_state.codes import written
from plif_export.readers.unseen_state.generators import Anything, exact, state_of
from plif_export.readers.unseen_state.later import Comparisons
from plif_export.readers.unseen_state.looks import place, profiled
from plif_export.readers.unseen_state.world import INSIDE, Slot, Surroundings

STEPS = 64  # that are run to see how something changes
SETTLED = 3  # calls after which everything is there that is made at first
WINDOW = 3  # steps that are compared: what one of them changes shows in the output of the next
BATCH = 2
NEAR = [*range(1, 2000), *(10**p + d for p in range(4, 8) for d in (-1, 0, 1)), *(2**p for p in range(11, 24))]
ROUND = [*(10**p for p in range(1, 7)), *(2**p for p in range(3, 17))]
MOST = 120  # windows
KINDS = ("number", "length", "other")  # of what is kept that is no tensor
LONG = 4096  # the longest list that is made to see what it does
ADVICE = "keep it in a tensor, and let every step do the same; use torch.where"


def hidden_state(form: Form) -> tuple[list[Problem], list[str]]:
    """The problem of a state that changes what a step does, if there is one; and what could not be proved."""
    found = _Hidden(form)
    try:
        problems, not_proved = found.run()
        return problems, [*not_proved, *found.asked]
    finally:
        found.start.put_back()


class _Hidden:
    def __init__(self, form: Form) -> None:
        self.form, self.module = form, form.copy()
        rewrite(self.module)
        self.start = Surroundings(self.module)
        self.length = 1 if form.kind == "step" else 2
        self.table = Table(BATCH)
        self.calls, self.asked, self.names = 0, list[str](), set[str]()

    def run(self) -> tuple[list[Problem], list[str]]:
        try:
            worlds = [self.call() for _ in range(SETTLED)]
        except Exception:  # whatever the module's own Python raises: reading it says that better
            return [], []
        before, now = worlds[-2:]
        counted = (name for name in now.counted if name.rpartition(".")[-1] in self.names)
        self.asked += [f"what {name} is, once more are made" for name in counted]
        changed = {where: slot for where, slot in now.slots.items() if _differs(before.slots.get(where), slot)}
        for slot in changed.values():
            if slot.kind == "random":
                rule = f"it draws {slot.place.name} in forward ({self.drawn_at(slot)})"
                return [self.problem(slot, rule, RANDOM)], []
        if not changed:
            return [], []
        self.now = now
        try:
            self.usual, trace = self.window()
        except Exception:  # the reader will say so; where it does not, this was not looked at
            return [], [f"after step {SETTLED} ({_names(changed)})"]
        self.after = Surroundings(self.module).slots
        made = {where: slot.live for where, slot in self.after.items() if slot.kind == "tensor"}
        moved = {where for where, live in made.items() if trace.moves(live)}
        stands = {where: trace.known.get(live) for where, live in made.items()}
        kept = {where for where, node in stands.items() if isinstance(node, TraceNode) and node.op == "param"}
        now.put_back()
        for where, slot in changed.items():
            if where in kept and slot.live is before.slots[where].live:
                return [self.problem(slot, f"{_named(slot)} is changed outside of torch", ADVICE)], []
            if slot.kind == "tensor" and not where.startswith(INSIDE) and slot.put is not None:
                slot.put(slot.live.logical_not())
                same = self.same()
                now.put_back()
                if not same:
                    rule = f"{_named(slot)} is a state outside of the module"
                    return [self.problem(slot, rule, "keep it in the module: self.state")], []
        changed = {w: s for w, s in changed.items() if w not in moved and (s.kind != "tensor" or w.startswith(INSIDE))}
        if not changed:
            return [], []
        with redirect_stdout(io.StringIO()):  # what a module prints at its thousandth step is not the user's
            return self.explore(changed)

    def call(self) -> Surroundings:
        """What there is after one call more."""
        x = self.form.steps(self.length, BATCH, seed=self.calls)
        self.calls += 1
        with torch.no_grad(), self.form.during(self.length):
            run = partial(self.form.forward(self.length), self.module, self.form.arranged(x))
            if self.calls == SETTLED:
                self.asked, self.names = asked(run)
            else:
                run()
        return Surroundings(self.module)

    def window(self) -> tuple[list[TraceNode], TraceRun]:
        """What WINDOW steps give from here on, as nodes, and the run."""
        x = self.form.steps(WINDOW, BATCH)
        with self.form.during(WINDOW):
            run = TraceRun(self.table, self.module, WINDOW)
            run.record(self.form.arranged(x), self.form.axis, self.form.forward(WINDOW))
        items = [each.items if isinstance(each, Steps) else [each] for each in tree_leaves(run.made)]
        return [node for each in items for node in each if isinstance(node, TraceNode)], run

    def same(self) -> bool:
        """Whether the steps from here on are the same as ever."""
        try:
            return self.window()[0] == self.usual
        except Exception:  # what it does there fails, or cannot be exported
            return False

    def explore(self, changed: dict[str, Slot]) -> tuple[list[Problem], list[str]]:
        """What comes of the values that change, in later steps."""
        looks = [self.now.slots, *(self.call().slots for _ in range(STEPS))]
        for look in looks[1:]:
            changed |= self.others(look, self.now.slots, changed)
        values = {where: [look[where].value if where in look else None for look in looks] for where in changed}
        first = self.calls - STEPS
        self.now.put_back()
        rise = {w: _rise(values[w]) for w, slot in changed.items() if slot.put is not None and slot.kind != "other"}
        even = {where: each for where, each in rise.items() if each is not None}
        odd = [where for where in changed if where not in even]
        seen: set[str] = set()
        for k in range(STEPS if odd else 0):
            state = str([values[where][k] for where in odd])
            if state in seen:
                odd = []
                break
            seen.add(state)
            here = Surroundings(self.module)
            if not self.same():
                return [self.changes(changed[odd[0]], first + k)], []
            here.put_back()
            self.call()
        self.now.put_back()
        self.first, self.known, self.unset = first, set(changed), list[Slot]()
        if even and (problem := self.travel({w: (changed[w], each) for w, each in even.items()})):
            return [problem], []
        left = _names({where: changed[where] for where in odd} | {str(id(slot)): slot for slot in self.unset})
        return [], [f"after step {first + STEPS} ({left})"] if left else []

    def others(self, look: dict[str, Slot], usual: dict[str, Slot], known: Container[str]) -> dict[str, Slot]:
        """What else than what is known is not as usual, and no tensor: {where: what it is now}"""
        found = (where for where, slot in look.items() if slot.kind in KINDS and _differs(usual.get(where), slot))
        return {where: self.now.slots[where] for where in found if where not in known and where in self.now.slots}

    def travel(self, places: dict[str, tuple[Slot, Anything]]) -> Problem | None:
        """Goes to later steps, and looks at what is done there. places: {where: (what, by how much it grows in a step)}

        What changes in those steps only (hours, that follow from minutes) is then gone through by itself.
        """
        here, more = self.now, dict[str, tuple[Slot, Anything]]()
        numbers = {*self.now.numbers, *ROUND}
        own = [s.value for s in self.now.slots.values() if s.place.codes and isinstance(s.value, int | float)]
        numbers |= {int(value) for value in own if abs(value) < 1e9}
        ks: dict[int, str | None] = dict.fromkeys([0, 1])
        for slot, rise in places.values():
            for value, each in {*zip(_few(slot.value), _few(rise), strict=True)}:
                steps = (int((n - value) / each) - 1 for n in numbers if each and (n <= LONG or slot.kind != "length"))
                ks.update(dict.fromkeys(k for k in sorted(steps) if k > 0))
        waiting, done = list(ks), set[int]()
        while waiting and len(done) < MOST:
            k = waiting.pop(0)
            if k in done:
                continue
            done.add(k)
            log = Comparisons()
            self.go(places, k, log)
            same = self.same()
            look = Surroundings(self.module).slots
            here.put_back()
            if not same:
                return self.changes(self.who(places, k), self.first + k)
            for where, slot in self.others(look, self.after, self.known).items():
                self.known.add(where)
                more[where] = slot, look[where].value
            waiting = [each for each in log.steps(NEAR) if each not in done] + waiting
        for where, (slot, value) in more.items():
            rise, problem = _rise([slot.value, value]), None
            if slot.put is None or len(self.known) > MOST:
                self.unset.append(slot)
            elif rise is not None and slot.kind != "other":
                problem = self.travel({where: (slot, rise)})
            else:
                slot.put(value)
                self.now = Surroundings(self.module)
                problem = self.travel(places)
                self.now = here
                here.put_back()
            if problem:
                return problem
        return None

    def go(self, places: dict[str, tuple[Slot, Anything]], k: int, log: Comparisons) -> None:
        """Sets what grows to what it is k steps on."""
        for slot, rise in places.values():
            value = slot.value + k * rise
            if slot.kind == "length":
                value = min(value, LONG)
            if type(slot.value) in (int, float) and slot.kind == "number":
                value = log.number(slot.place.name, value, partial(_grown, slot.value, rise))
            assert slot.put is not None
            slot.put(value)

    def who(self, places: dict[str, tuple[Slot, Anything]], k: int) -> Slot:
        """Which of the values makes the difference: by itself, or else the first."""
        for where, (slot, rise) in places.items():
            self.go({where: (slot, rise)}, k, Comparisons())
            same = self.same()
            self.now.put_back()
            if not same:
                return slot
        return next(slot for slot, _ in places.values())

    def changes(self, slot: Slot, step: int) -> Problem:
        what = "step" if self.form.kind == "step" else "call"
        rule = f"{_named(slot)} counts, and changes what it does (about {what} {step + 1})"
        return self.problem(slot, rule, ADVICE)

    def problem(self, slot: Slot, rule: str, advice: str) -> Problem:
        part = self.form.module.get_submodule(slot.place.path)
        return Problem(slot.place.path or "forward", type(part).__name__, rule, advice)

    def drawn_at(self, slot: Slot) -> str:
        """The line that draws from a random generator, in a call more."""
        found: list[str] = []
        before = exact(state_of(slot.live)[0])

        def profile(frame: Anything, event: str, argument: object) -> None:
            if not found and event in ("return", "c_return") and exact(state_of(slot.live)[0]) != before:
                found.append(place(frame))

        with profiled(profile):
            self.call()
        return found[0] if found else "in some steps"


def _named(slot: Slot) -> str:
    name = slot.place.name.removeprefix("len(").rstrip(")").partition("[")[0].rpartition(".")[-1]
    return f"{slot.place.name} ({written(name, slot.place.codes)})"


def _names(slots: Mapping[str, Slot]) -> str:
    return ", ".join(slot.place.name for slot in slots.values())


def _differs(before: Slot | None, now: Slot) -> bool:
    return before is not None and not now.same(before)


def _grown(value: float, rise: float, k: int) -> float:
    return value + k * rise


def _few(value: Anything) -> list[float]:
    return [float(each) for each in np.asarray(value).ravel()[:8]]


def _rise(values: list[Anything]) -> Anything:
    """By how much a value grows in every step; None where that is not the same each time."""
    try:
        rises = [later - earlier for earlier, later in pairwise(values)]
        even = all(np.allclose(np.asarray(rises[0]), np.asarray(each), equal_nan=True) for each in rises)
    except Exception:  # of kinds that have no difference
        return None
    return rises[0] if even else None
