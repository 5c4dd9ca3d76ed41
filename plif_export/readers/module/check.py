"""Whether a module does what was read of it: its own forward against the program of its steps, for as long as it will be run.

A sequence is run with the caller's own T, with LONG or more, and with one more than that; a module of one step for STEPS steps in
a row; batches of BATCHES rows are what their rows are alone. Compared are the output, and of each layer of neurons its current,
its spikes and its states. Neurons also get random currents on top of their own, louder and louder until each layer has fired.

A layer that makes all steps at once adds its terms in another order than one step by itself, and in a large network one spike in
millions differs for that. So where the two differ they are compared layer by layer: each neuron gets the module's own current,
from which it must fire the same spikes, and what the layers before it make must be that current but for rounding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from plif_export.core.proof.reference import one_thread
from plif_export.core.readers.rules import REGISTER, Problem
from plif_export.readers.libraries.neurons import keeps_state
from plif_export.readers.module.body import Values
from plif_export.readers.module.lower import ModuleReading
from plif_export.readers.module.readout import Readout
from plif_export.readers.module.regions import below
from plif_export.readers.module.runs.original import Rollout, compare_with_copy, left_by_reset
from plif_export.readers.module.runs.places import NOWHERE, bare
from plif_export.readers.module.runs.sides import Added, Ran, Watched, near, read_side
from plif_export.readers.tracing.copies import put_back
from plif_export.readers.tracing.nodes import TraceNode

CHUNK = 8  # steps of a stream that are compared at a time
STEPS, LONG = 64, 32  # of a stream, and of a sequence, from reset
LOUDER = (8.0, 64.0, 512.0)  # random currents on top of the network's own, in thresholds, where one was not enough
BATCHES, DIFFERENT = (2, 3, 10, 33), 3  # rows; so many of them are different ones
LARGE, MANY = 10_000_000, 100_000  # weights, neurons: a network of more is run for fewer steps


@dataclass
class Compared:
    """What comparing found. not_proved: what was not tried, in few words; untested: names of layers that never fired; sampled:
    what the module was run on, as it was counted."""

    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    not_proved: list[str] = field(default_factory=list)
    untested: list[str] = field(default_factory=list)
    sampled: str = ""


def compare(reading: ModuleReading, T: int | None = None, steps: int | None = None) -> Compared:
    """Whether a module does what was read. T: of the sequences that it will get; steps: how many to run at least."""
    with one_thread(), put_back(reading.form.module):
        return _Check(reading, T, steps or 0).run()


class _Different(Exception):
    """The module does something else: the rule, and what to do."""


class _Check:
    def __init__(self, reading: ModuleReading, T: int | None, steps: int) -> None:
        self.reading, self.program, self.form = reading, reading.program, reading.form
        layers = {name: layer for name, layer in reading.layers.items() if layer.h is not None}
        self.layers = dict(sorted(layers.items(), key=lambda item: item[1].spikes.index))  # in the order of forward
        self.by_path = {layer.region.path: layer for layer in self.layers.values() if layer.region.path}
        others = [path for path, part in self.form.module.named_modules() if keeps_state(part)]
        self.neurons = list(dict.fromkeys((*self.by_path, *others)))
        large = sum(p.numel() for p in self.form.module.parameters()) > LARGE
        self.own = T or self.form.T or CHUNK
        self.long = max(steps, self.own, *([] if large else [LONG]))
        self.steps = max(steps, 2 * CHUNK if large else STEPS)
        neurons = sum(math.prod(layer.region.shape) for layer in self.layers.values())
        self.in_batch = 2 if large or neurons > MANY else 4
        self.silent = [*self.layers]
        self.rollouts: list[Rollout] = []  # of a copy, so far
        owned = {n for layer in self.layers.values() for n in layer.region.nodes}
        self.current: dict[str, TraceNode] = {}  # of a layer: what it reads, where the place of that is known
        for name, layer in self.layers.items():
            placed = (n for n in map(bare, layer.inputs) if n in reading.places.of and n not in owned)
            if (node := next(placed, None)) is not None and node.dtype.is_floating_point:
                self.current[name] = node
        self.alike: dict[str, list[str]] = {}  # of a layer whose current reaches its submodule: the paths that get it
        self.found = Compared()
        self.given: list[float] = [0.0, 0.0]  # the least and the largest number that went in
        self.lengths: list[int] = []  # of a run: its steps

    def run(self) -> Compared:
        try:
            self._lengths()
            self._batches()
            if self.reading.original is not None:
                self.found.problems = compare_with_copy(self.reading.original, self.form, self.rollouts)
        except _Different as problem:
            return Compared([Problem("forward", type(self.form.module).__name__, *problem.args)])
        for name in self.silent:
            given = f"whatever current it was given (up to {LOUDER[-1]:g} thresholds)"
            if name not in self.current and name not in self.alike:
                given = "and no current of its own could be given to it"
            self.found.notes.append(f"{name}: never fired, {given}; only its states were compared")
        states = {self.reading.left[s.after] for s in self.program.states if s.after in self.reading.left}
        self.found.notes += left_by_reset(self.rollouts[0].watched.module, self.form.copy(), states)
        self.found.untested = self.silent
        low, high = self.given
        lengths = ", ".join(map(str, sorted({*self.lengths})))
        run = f"{lengths} steps in a row" if self.form.kind == "step" else f"sequences of {lengths} steps"
        self.found.sampled = f"{run}, batches of {', '.join(map(str, BATCHES))}, input from {low:g} to {high:g}"
        readout = self.reading.readout
        if self.form.kind == "step" or readout.how not in ("sum", "mean") or not readout.folded:
            self.found.not_proved.append("that the outputs of all steps are added up")
        return self.found

    def _lengths(self) -> None:
        if self.form.kind == "step":
            run = _Stretch(self)
            for i, first in enumerate(range(0, self.steps, CHUNK)):
                run.go(min(CHUNK, self.steps - first), float(i % 2))
            self.lengths = [self.steps]
            self.found.not_proved.append(f"more than {self.steps} steps in a row")
        else:
            run = _Stretch(self)
            run.go(self.own, 0.0)
            run.go(min(self.own, CHUNK), 1.0)
            _Stretch(self).go(self.long, 1.0)
            _Stretch(self).go(self.long + 1, 0.0)
            self.lengths = [self.own, self.long, self.long + 1]
            *some, last = (str(T) for T in sorted({self.own, self.long, self.long + 1}))
            self.found.not_proved.append(f"sequences of other lengths than {', '.join(some)} and {last}")
        for drive in LOUDER:
            if self.silent:
                (run if self.form.kind == "step" else _Stretch(self)).go(CHUNK, drive)

    def _batches(self) -> None:
        T, readout = self.in_batch, self.reading.readout
        axis = 0 if self.form.kind == "static" else 1
        x = self.input_of(T, DIFFERENT, seed=3)
        awake = [layer for name, layer in self.layers.items() if name not in self.silent]
        for drive in (1.0, *LOUDER):
            noise = Added(self.noise(T, drive, DIFFERENT).nodes)
            alone = [self.steps_of(x.narrow(axis, r, 1), T, 0, None, noise.row(r)) for r in range(DIFFERENT)]
            if all(any(bool((ran.values[layer.spikes] != 0).any()) for ran in alone) for layer in awake):
                break
        for batch in BATCHES:
            rows = [r % DIFFERENT for r in range(batch)]
            watched, of = Watched(self.form), torch.tensor(rows)
            wide = Added({node: more.index_select(1, of) for node, more in noise.nodes.items()})
            found = self.own_forward(watched, x.index_select(axis, of), T, wide, f"on a batch of {batch}")
            joint = _joined([alone[r] for r in rows], readout)
            if self.first_difference(joint, found) is None:
                continue
            for r, same in enumerate(rows):
                mine = found.rows([r], readout)
                again = self.steps_of(x.narrow(axis, same, 1), T, 0, None, noise.row(same), mine)
                different = self.first_difference(again, mine)
                if different is not None:
                    rule = f"row {r} of a batch of {batch} is not what it is alone (first in {different[0]})"
                    raise _Different(rule, "no row may depend on others, or on how many there are")

    def input_of(self, T: int, rows: int, seed: int, scale: float = 1.0) -> Tensor:
        """As `Form.steps`; its least and largest number are kept."""
        x = self.form.steps(T, rows, seed, scale)
        self.given = [min(self.given[0], float(x.min())), max(self.given[1], float(x.max()))]
        return x

    def noise(self, T: int, drive: float, rows: int = 1, placed: bool = True) -> Added:
        """Random currents, about a threshold times the drive, for the layers that can be given one."""
        noise = Added()
        for number, (name, layer) in enumerate(self.layers.items() if drive else ()):
            generator = torch.Generator().manual_seed(number)
            node = self.current.get(name) if placed else None
            if node is not None or name in self.alike:
                shape = (node or layer.inputs[0]).shape[1:]
                more = (torch.randn((T, rows, *shape), generator=generator) + 0.25) * drive * layer.threshold
                if node is not None:
                    noise.nodes.setdefault(node, more)
                else:
                    noise.paths |= dict.fromkeys(self.alike[name], more)
        return noise

    def find_hooks(self, ran: Ran, found: Ran) -> None:
        """Which layers' currents are what reaches their submodule, and that of others that are alike and read the same: these are
        one layer."""
        for path, layer in self.by_path.items():
            name = next(name for name, each in self.layers.items() if each is layer)
            current = found.currents.get(path, [])
            mine = ran.values.get(layer.inputs[0]) if len(layer.inputs) == 1 else None
            if mine is not None and current and _alike([mine], current):
                others = [other for other in self.neurons if other not in self.by_path]
                self.alike[name] = [path] + [
                    other for other in others
                    if _alike(current, found.currents.get(other, [])) and _alike(found.spikes[path], found.spikes.get(other, []))
                ]  # fmt: skip

    def own_forward(self, watched: Watched, x: Tensor, T: int, noise: Added, what: str, placed: bool = True) -> Ran:
        """What the module does on x [T, B, ...], or an image [B, ...]."""
        places = self.reading.places if placed else NOWHERE
        try:
            return watched.run(x, T, places, self._shown(), noise, self.reading.readout, self.reading.output)
        except Exception as error:  # whatever the module's own Python raises when it runs
            said = " ".join(str(error).split())[:160]
            advice = "it must run with any number of steps, and of rows"
            raise _Different(f"its own forward fails {what} ({said})", advice) from None

    def steps_of(
        self, x: Tensor, T: int, first: int, state: Values | None, noise: Added, found: Ran | None = None
    ) -> Ran:
        """What was read, on x [T, 1, ...] or an image [1, ...]. found: what the module did."""
        found, theirs = found or Ran(), dict[TraceNode, Tensor]()
        for path, layer in self.by_path.items():
            current = found.currents.get(path, [])
            shape = (T, 1, *layer.inputs[0].shape[1:]) if layer.inputs else ()
            if current and len(layer.inputs) == 1 and sum(each.numel() for each in current) == math.prod(shape):
                theirs[layer.inputs[0]] = torch.stack(current).reshape(shape)
        theirs |= {node: found.values[node] for node in self.current.values() if node in found.values}
        return read_side(
            self.program, self.reading.readout, x, T, first, state, noise, self._shown(), self.by_path,
            self.reading.places, theirs,
        )  # fmt: skip

    def _shown(self) -> list[TraceNode]:
        """The nodes that are compared."""
        return [node for name in self.layers for node in self._shown_of(name)]

    def _shown_of(self, name: str) -> list[TraceNode]:
        layer, current = self.layers[name], [self.current[name]] if name in self.current else []
        return [*current, *layer.inputs[:1], *(s.after for s in layer.variables.values()), layer.spikes]

    # --- comparing ----------------------------------------------------------------------------------------------------

    def first_difference(self, ran: Ran, found: Ran) -> tuple[str, int | None] | None:
        """(layer or output, step) where the two differ first; None where they do not."""
        differ: list[tuple[str, int | None]] = []
        for name, layer in self.layers.items():
            path = layer.region.path or name
            pairs = [(ran.values[node], found.values[node]) for node in self._shown_of(name) if node in found.values]
            left = found.spikes.get(path, []) if below(layer.spikes.path, path) else []  # of the submodule itself
            spikes = ran.values[layer.spikes]
            if layer.spikes not in found.values and sum(each.numel() for each in left) == spikes.numel():
                pairs.append((spikes != 0, torch.stack(left).reshape(spikes.shape) != 0))  # of any size
            for mine, theirs in pairs:
                wrong = ~near(mine[-len(theirs) :], theirs).flatten(1).all(1)
                if bool(wrong.any()):
                    differ.append((name, len(mine) - len(theirs) + int(wrong.int().argmax())))
        comparable = ran.y.numel() == found.y.numel()
        if not comparable or not bool((same := near(ran.y.reshape(found.y.shape), found.y)).all()):
            stacked = comparable and self.reading.readout.how == "stack"
            differ.append(("its output", int((~same).flatten(1).any(1).int().argmax()) if stacked else None))
        return min(differ, key=lambda each: math.inf if each[1] is None else each[1], default=None)


class _Stretch:
    """Steps or calls one after the other, from reset."""

    def __init__(self, check: _Check) -> None:
        self.check, self.form = check, check.form
        self.rollout = Rollout(Watched(check.form, check.neurons))
        check.rollouts.append(self.rollout)
        self.start: Values = {}
        self.state: Values | None = None
        self.first = self.calls = 0  # steps before, of a stream; calls before

    def go(self, T: int, drive: float) -> None:
        """T more steps, or a call of T steps, on both sides. Raises _Different."""
        check, places = self.check, self.check.reading.places
        again = self.calls > 0 and self.form.kind != "step"
        placed = not again and self.first + T > places.since
        seed, scale = int(drive) + self.calls, max(drive, 1.0)

        def given() -> tuple[Tensor, Added]:
            return check.input_of(T, 1, seed, scale), check.noise(T, drive, placed=placed)

        def play(watched: Watched) -> Ran:
            x, noise = given()
            return check.own_forward(watched, x, T, noise, f"over {T} steps", placed)

        x, noise = given()
        found = self.rollout.play(play)
        ran = self._agreeing(x, T, noise, found, again)
        if ran is None:
            raise self._difference(check.first_difference(self._run(x, T, self.state, noise), found), again)
        if placed:
            self._count(T)
        if again and check.first_difference(self._run(x, T, None, noise), found) is not None:
            name = type(self.form.module).__name__
            check.found.notes.append(f"{name}: a call goes on from where the last one ended: reset it between samples")
        if not drive and not self.calls:
            check.find_hooks(ran, found)
        fired = {name for name in check.silent if bool((ran.values[check.layers[name].spikes] != 0).any())}
        check.silent = [name for name in check.silent if name not in fired]
        self.start, self.state, self.calls = ran.start, ran.state, self.calls + 1
        self.first += T if self.form.kind == "step" else 0

    def _run(self, x: Tensor, T: int, state: Values | None, noise: Added, found: Ran | None = None) -> Ran:
        return self.check.steps_of(x, T, self.first, state, noise, found)

    def _agreeing(self, x: Tensor, T: int, noise: Added, found: Ran, again: bool) -> Ran | None:
        """What was read where it does what the module did; then from the module's own currents."""
        for theirs in (None, found):
            for state in self._states(again):
                ran = self._run(x, T, state, noise, theirs)
                if self.check.first_difference(ran, found) is None:
                    return ran
        return None

    def _states(self, again: bool) -> list[Values | None]:
        """What the states may be: as they were left; when forward is called again, anew too, or some of each: those of
        submodules, those that the module holds in its tensors, those of its neurons go on."""
        state = self.state
        if not again or state is None:
            return [state]
        program, reading = self.check.program, self.check.reading
        neurons = [path for path, part in self.form.module.named_modules() if path and keeps_state(part)]
        kinds = (
            {s.before for s in program.states if s.after.path},
            {s.before for s in program.states if s.after in reading.left},
            {s.before for s in program.states if any(below(s.after.path, path) for path in neurons)},
        )
        return [state, None, *({**self.start, **{n: v for n, v in state.items() if n in kind}} for kind in kinds)]

    def _difference(self, different: tuple[str, int | None] | None, again: bool) -> _Different:
        where, t = different or ("its output", None)
        step = f"step {self.first + t}" if t is not None else "a step"
        second = ", in the second call," if again else ""
        rule = f"{step} of the module{second} is not what its layers make, one after the other (first in {where})"
        return _Different(rule, f"it keeps a state that was not found. If it has a neuron of its own, {REGISTER}")

    def _count(self, T: int) -> None:
        """Whether as many operations are made as the steps make."""
        for (path, name), (once, each) in self.check.reading.places.calls.items():
            wanted, made = once + each * (self.first + T), self.rollout.watched.calls[path, name]
            if wanted != made:
                calls = f"call {name}() {made} times in {path or 'forward'}"
                rule = f"{self.first + T} steps {calls}, where its first steps would {wanted} times"
                raise _Different(rule, "every step must do the same")


def _joined(rows: list[Ran], readout: Readout) -> Ran:
    """Rows that were run alone, as a batch."""
    axis = int(readout.how == "stack")
    values = {node: torch.cat([row.values[node] for row in rows], 1) for node in rows[0].values}
    return Ran(torch.cat([row.y for row in rows], axis), values)


def _alike(a: list[Tensor], b: list[Tensor]) -> bool:
    """Whether the values are the same, but for rounding."""
    if not a or not b:
        return False
    one, two = torch.stack(a).reshape(-1), torch.stack(b).reshape(-1)
    return one.shape == two.shape and bool(near(one, two).all())
