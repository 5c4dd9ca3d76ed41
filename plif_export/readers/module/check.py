"""Whether a module does what was read of it: its own forward against the program of its steps, over whole sequences.

From reset and in the call that follows, on fresh random inputs. Compared are the output, the spikes of every submodule that is a
layer of neurons, and how often the comparisons of each submodule were true. The output alone shows little: it may be silent. So
the neurons also get random currents on top of the network's own, the same on both sides, louder and louder until each layer
has fired.

A layer that makes all steps at once adds its terms in another order than one step by itself. In a large network one spike in
millions differs for that, and then others behind it. So where the two differ they are compared layer by layer: each neuron gets
the module's own current, from which it must fire the same spikes, and what the layers before it make must be that current but
for rounding.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from plif_export.proof.reference import one_thread
from plif_export.readers.libraries.neurons import keeps_state
from plif_export.readers.module.body import StepProgram, Values
from plif_export.readers.module.copies import Calls
from plif_export.readers.module.elementwise import COMPARES
from plif_export.readers.module.forms import Form, tensors_in
from plif_export.readers.module.neuron_program import NeuronLayer
from plif_export.readers.module.nodes import Argument, Overload, TraceNode, op_name
from plif_export.readers.module.readout import Readout
from plif_export.readers.module.regions import below
from plif_export.readers.module.unseen.world import put_back
from plif_export.readers.rules import REGISTER, Problem
from runtime.model import graph as graphs
from runtime.model.graph import Graph

STEPS = 8  # of a sequence, from reset
DRIVES = (0.0, 1.0, 8.0, 64.0, 512.0)  # random currents on top of the network's own, in thresholds


@dataclass
class _Ran:
    """STEPS steps: the output, the current and spikes of each layer [STEPS, 1, ...], and what comparisons gave by path."""

    y: Tensor = field(default_factory=lambda: torch.zeros(0))
    currents: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    spikes: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    true: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    calls: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    state: Values = field(default_factory=dict)


class _Watched(TorchDispatchMode):
    """Runs a module, and notes what its layers of neurons do. noise: {path: what is added to its current [STEPS, 1, ...]}."""

    def __init__(self, module: nn.Module, neurons: list[str], noise: dict[str, Tensor]) -> None:
        TorchDispatchMode.__init__(self)
        self.module, self.noise, self.ran = module, noise, _Ran()
        self.paths = Calls(module).paths
        for path in neurons:
            part = module.get_submodule(path)
            part.register_forward_pre_hook(lambda m, a, p=path: self._before(p, a))
            part.register_forward_hook(lambda m, a, o, p=path: self._after(p, o), always_call=True)

    def _before(self, path: str, args: tuple[object, ...]) -> tuple[object, ...] | None:
        if not args or not isinstance(args[0], Tensor):
            return None
        t, x = len(self.ran.spikes[path]), args[0]
        if path in self.noise:
            noise = self.noise[
                path
            ]  # [STEPS, 1, ...]; a submodule may join the batch with other axes, or get all steps
            x = x + (noise[t] if x.numel() == noise[0].numel() else noise).reshape(x.shape)
        self.ran.currents[path].append(args[0].clone())
        return (x, *args[1:])

    def _after(self, path: str, out: object) -> None:
        self.ran.spikes[path] += [first.clone() for first in tensors_in(out)[:1]]

    def __torch_dispatch__(
        self, func: Overload, types: object, args: Sequence[Argument] = (), kwargs: Mapping[str, Argument] | None = None
    ) -> object:
        out = func(*args, **(kwargs or {}))
        if op_name(func) in COMPARES and isinstance(out, Tensor) and out.dim():
            self.ran.true[self.paths[-1]] += int(out.sum())
            self.ran.calls[self.paths[-1]] += 1
        return out


def compare(reading: ModuleReading) -> tuple[list[Problem], list[str]]:
    """The problems of a module that does not do what was read, and notes on layers that never fired."""
    with one_thread(), put_back(reading.form.module):
        return _Check(reading).run()


class _Check:
    def __init__(self, reading: ModuleReading) -> None:
        self.reading, self.program, self.form = reading, reading.program, reading.form
        layers = {name: layer for name, layer in reading.layers.items() if layer.h is not None}
        self.layers = dict(sorted(layers.items(), key=lambda item: item[1].spikes.index))  # in the order of forward
        self.by_path = {layer.region.path: layer for layer in self.layers.values() if layer.region.path}
        others = [path for path, part in self.form.module.named_modules() if keeps_state(part)]
        self.neurons = list(dict.fromkeys((*self.by_path, *others)))
        self.notes: list[str] = []
        self.start: Values = {}

    def run(self) -> tuple[list[Problem], list[str]]:
        silent = {name: layer.region.path or name for name, layer in self.layers.items()}
        noisy: dict[str, Tensor] = {}
        for drive in DRIVES:
            noise = {path: drive * each for path, each in noisy.items()}
            watched = _Watched(self.form.copy(), self.neurons, noise)
            state: Values | None = None
            for call in (1, 2):
                x = self.form.steps(STEPS, 1, seed=int(drive) + call, scale=max(drive, 1.0))
                watched.ran = _Ran()
                try:
                    with self.form.during(STEPS), watched:
                        found = self._own_forward(watched, x)
                except Exception as error:  # whatever the module's own Python raises when it runs
                    what = " ".join(str(error).split())[:160]
                    rule = f"its own forward fails over {STEPS} steps ({what})"
                    return [self._problem(rule, "it must run with any number of steps")], []
                tries = [state] if state is None else self._states_of_second_call(state)
                ran = next((r for s in tries if self._same(r := self._steps(x, s, noise), found)), None)
                if ran is None:
                    ran = next((r for s in tries if self._same(r := self._steps(x, s, noise, found), found)), None)
                first = call == 2 and ran is not None and drive == 0 and self.form.kind != "step"
                if first and not self._same(self._steps(x, None, noise), found):
                    name = type(self.form.module).__name__
                    self.notes.append(f"{name}: a call goes on from where the last one ended: reset it between samples")
                if ran is None:
                    ran = self._steps(x, state, noise)
                    return [self._difference(ran, found, call)], []
                if call == 1 and drive == 0:
                    noisy = self._noise(ran, found)
                state = ran.state
                silent = {n: p for n, p in silent.items() if not any(bool((s != 0).any()) for s in ran.spikes[n])}
            if drive and not silent:  # with currents of its own every neuron has a state to lose
                break
        note = f": never fired, whatever current it was given (up to {DRIVES[-1]:g} thresholds); only its states were compared"
        return [], [*self.notes, *(path + note for path in silent.values())]

    def _states_of_second_call(self, state: Values) -> list[Values | None]:
        """What the states may be when forward is called again: as they were left, or anew, or some of each: those of
        submodules, those that the module holds in its tensors, those of its neurons go on."""
        neurons = [path for path, part in self.form.module.named_modules() if path and keeps_state(part)]
        states = self.program.states
        kinds = (
            {s.before for s in states if s.after.path},
            {s.before for s in states if s.after in self.reading.left},
            {s.before for s in states if any(below(s.after.path, path) for path in neurons)},
        )
        mixed = [{**self.start, **{n: v for n, v in state.items() if n in kind}} for kind in kinds]
        return [state, None, *mixed]

    def _noise(self, ran: _Ran, found: _Ran) -> dict[str, Tensor]:
        """Random currents, about a threshold, for each submodule whose current is the one input of its layer; the same for two
        that are alike and read the same, which are one layer."""
        noise = {}
        for place, (name, layer) in enumerate(self.layers.items()):
            path = layer.region.path
            if len(layer.inputs) == 1 and _equal(ran.currents[name], found.currents.get(path, [])):
                generator = torch.Generator().manual_seed(place)
                like = torch.stack(ran.currents[name])
                scale = layer.threshold
                noise[path] = scale * (torch.randn(like.shape, generator=generator) + 0.25)
                for other in self.neurons:
                    alike = other not in self.by_path and _equal(found.currents[path], found.currents.get(other, []))
                    if alike and _equal(found.spikes[path], found.spikes.get(other, [])):
                        noise[other] = noise[path]
        return noise

    def _own_forward(self, watched: _Watched, x: Tensor) -> _Ran:
        out = self.form.forward(STEPS)(watched.module, self.form.arranged(x))
        y = tensors_in(out)[self.reading.output]
        readout = self.reading.readout
        watched.ran.y = y.movedim(readout.axis, 0)[readout.lead :] if readout.how == "stack" else y
        return watched.ran

    def _steps(self, x: Tensor, state: Values | None, noise: dict[str, Tensor], found: _Ran | None = None) -> _Ran:
        """What was read, over STEPS steps. found: what the module did, whose currents the layers get where they are near."""
        program, readout = self.program, self.reading.readout
        image = x if program.image else None
        known = program.static(1, image, readout.tail, readout.reduced)
        self.start = program.start(known, 1)
        ran = _Ran(state=self.start if state is None else state)
        compared = [n for n in program.body if n.name in COMPARES]
        theirs = {} if found is None else self._currents(found)
        values, outputs = known, []
        for t in range(STEPS):
            added: dict[TraceNode, tuple[TraceNode, Tensor]] = {}
            for path, layer in self.by_path.items():
                each = noise.get(path)
                if each is None:
                    continue
                added |= {n: (layer.inputs[0], each[t]) for n in layer.region.nodes if layer.inputs[0] in n.reads}
            given = {node: current[t] for node, current in theirs.items()}
            seen = (lambda n, v, given=given: given[n] if n in given and _near(v, given[n]) else v) if given else None
            values = program.advance(known, ran.state, image if image is not None else x[t], 1, added, seen)
            ran.state = program.next(values)
            outputs.append(readout.of_step(values, 1))
            for name, layer in self.layers.items():
                ran.currents[name].append(values[layer.inputs[0]] if layer.inputs else torch.zeros(0))
                ran.spikes[name].append(values[layer.spikes])
            for n in compared:
                ran.true[n.path] += int(values[n].sum())
                ran.calls[n.path] += 1
        ran.y = readout.join(outputs, known, 1)
        return ran

    def _currents(self, found: _Ran) -> Values:
        """{what a layer of neurons reads: its value in the module, [STEPS, 1, ...]}, where both have one of the same size."""
        values = {}
        for path, layer in self.by_path.items():
            current = found.currents.get(path, [])
            shape = (STEPS, 1, *layer.inputs[0].shape[1:]) if layer.inputs else ()
            if current and len(layer.inputs) == 1 and sum(each.numel() for each in current) == math.prod(shape):
                values[layer.inputs[0]] = torch.stack(current).reshape(shape)
        return values

    # --- comparing ----------------------------------------------------------------------------------------------------

    def _same(self, ran: _Ran, found: _Ran) -> bool:
        y, theirs = ran.y.reshape(-1).float(), found.y.reshape(-1).float()
        agree = torch.equal(y, theirs) or _near(y, theirs)
        return agree and self._first_neuron(ran, found) is None

    def _first_neuron(self, ran: _Ran, found: _Ran) -> str | None:
        """The path of the first layer whose spikes were others."""
        for name, layer in self.layers.items():
            path = layer.region.path
            theirs = found.spikes.get(path, []) if below(layer.spikes.path, path) else []  # of the submodule itself
            comparable = theirs and sum(s.numel() for s in theirs) == sum(s.numel() for s in ran.spikes[name])
            if comparable and not _equal(*([s != 0 for s in each] for each in (ran.spikes[name], theirs))):
                return path
            if (
                not comparable
                and found.calls.get(path) == ran.calls.get(path)
                and found.true.get(path) != ran.true.get(path)
            ):
                return path or name
        return None

    def _difference(self, ran: _Ran, found: _Ran, call: int) -> Problem:
        path = self._first_neuron(ran, found)
        where = f"first in {path}" if path else "in its output"
        step = "a step"
        if self.reading.readout.how == "stack" and found.y.numel() == ran.y.numel():
            wrong = (ran.y.reshape(STEPS, -1) != found.y.reshape(STEPS, -1)).any(1)
            step = f"step {int(wrong.int().argmax())}" if bool(wrong.any()) else step
        again = "" if call == 1 else ", in the second call,"
        return self._problem(
            f"{step} of the module{again} is not what its layers make, one after the other ({where})",
            f"it keeps a state that was not found. If it has a neuron of its own, {REGISTER}",
        )

    def _problem(self, rule: str, advice: str) -> Problem:
        return Problem("forward", type(self.form.module).__name__, rule, advice)


def _near(y: Tensor, found: Tensor) -> bool:
    """Whether two values differ by no more than sums in another order do."""
    near = 1e-5 * float(found.nan_to_num().abs().max().clamp(min=1)) if found.numel() else 0.0
    return y.shape == found.shape and torch.allclose(y, found, 1e-4, near, equal_nan=True)


def _equal(a: list[Tensor], b: list[Tensor]) -> bool:
    if not a or not b:
        return False
    one, two = torch.stack(a).reshape(-1), torch.stack(b).reshape(-1)
    return one.shape == two.shape and bool(torch.all((one == two) | (one.isnan() & two.isnan())))


@dataclass
class ModuleReading:
    """What was read of a module: its form, the program of a step, the readout, and the graph as far as there is one.

    entries   for each node of the graph, or problem, in order
    layers    {layer's name: its neurons}
    left      nodes that the module's own tensors are after a call: states that the next call goes on from
    output    which of the tensors that forward returns is read
    not_proved  what could not be looked at, in short: from which step on
    """

    form: Form
    program: StepProgram
    readout: Readout
    output: int = 0
    left: set[TraceNode] = field(default_factory=set)
    graph: Graph | None = None
    entries: list[graphs.Node | Problem] = field(default_factory=list)
    layers: dict[str, NeuronLayer] = field(default_factory=dict)
    not_proved: list[str] = field(default_factory=list)

    @property
    def neurons(self) -> dict[str, str]:
        """{path of a submodule: the layer of neurons in it}"""
        return {layer.region.path: name for name, layer in self.layers.items()}
