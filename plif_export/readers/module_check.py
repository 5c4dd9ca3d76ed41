"""Whether a module does what was read of it: its own forward against the program of its steps, over whole sequences.

From reset and in the call that follows, on fresh random inputs, which get louder until each layer has fired. Compared are the
output, and the results of every comparison that a neuron decides its spikes with.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from plif_export.readers.elementwise import COMPARES
from plif_export.readers.module import Reading
from plif_export.readers.record import Node, op_name
from plif_export.readers.rules import REGISTER, Problem

STEPS = 8
DRIVES = (1.0, 8.0, 64.0, 512.0)  # how loud the input is


class _Watched(TorchDispatchMode):
    """Runs a module and notes how often comparisons were true, by the submodule that they are made in."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.paths, self.true, self.calls = [""], defaultdict[str, int](int), defaultdict[str, int](int)
        for path, part in module.named_modules():
            part.register_forward_pre_hook(lambda m, a, p=path: self.paths.append(p))
            part.register_forward_hook(lambda m, a, o: (self.paths.pop(), None)[1], always_call=True)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if op_name(func) in COMPARES and isinstance(out, Tensor) and out.dim():
            self.true[self.paths[-1]] += int(out.sum())
            self.calls[self.paths[-1]] += 1
        return out


def compare(reading: Reading) -> tuple[list[Problem], list[str]]:
    """The problems of a module that does not do what was read, and notes on layers that never fired."""
    check = _Check(reading)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            return check.run()
    finally:
        torch.set_num_threads(threads)


class _Check:
    def __init__(self, reading: Reading) -> None:
        self.reading, self.program, self.form = reading, reading.program, reading.form
        self.spikes = {name: layer.spikes for name, layer in reading.layers.items() if layer.h is not None}

    def run(self) -> tuple[list[Problem], list[str]]:
        silent = dict(self.spikes)
        notes: list[str] = []
        for drive in DRIVES:
            module = self.form.copy()
            watched = _Watched(module)
            state: dict[Node, Tensor] | None = None
            for call in (1, 2):
                x = self.form.steps(STEPS, 1, seed=int(drive) + call, scale=drive)
                try:
                    with self.form.during(STEPS), watched:
                        found = self._forward(module, x)
                except Exception as error:  # whatever the module's own Python raises when it runs
                    what = " ".join(str(error).split())[:160]
                    return [self._problem(f"its own forward fails over {STEPS} steps ({what})", "check that it takes any number")], []
                true, calls = dict(watched.true), dict(watched.calls)
                watched.true.clear()
                watched.calls.clear()
                expected = [self._steps(x, None)] if call == 1 else [self._steps(x, state), self._steps(x, None)]
                which = next((i for i, e in enumerate(expected) if self._agrees(e, found, true, calls)), None)
                if which is None:
                    return [self._difference(expected[0], found, call)], []
                state = expected[which].state
                if call == 2 and self.form.kind != "step" and which == 0 and len(self.program.states) and drive == DRIVES[0]:
                    if not self._agrees(expected[1], found, true, calls):
                        notes.append("forward goes on from where the last call ended: reset it between samples")
                silent = {n: s for n, s in silent.items() if not expected[which].fired[n]}
            if not silent:
                break
        paths = {name: layer.region.path or name for name, layer in self.reading.layers.items()}
        note = f": never fired, whatever current it was given (input up to {DRIVES[-1]:g} times); only its states were compared"
        return [], [*notes, *(paths[name] + note for name in silent)]

    def _forward(self, module: nn.Module, x: Tensor) -> Tensor:
        out = self.form.forward(STEPS)(module, self.form.arranged(x))
        tensors = [each for each in tree_leaves(out) if isinstance(each, Tensor)]
        y = tensors[self.reading.output]
        readout = self.reading.readout
        return y.movedim(readout.axis, 0)[readout.lead :] if readout.how == "stack" else y

    def _steps(self, x: Tensor, state: dict[Node, Tensor] | None) -> _Ran:
        program, readout = self.program, self.reading.readout
        image = x if program.image else None
        known = program.static(1, image)
        now = program.start(known, 1) if state is None else state
        ran = _Ran([], now, dict.fromkeys(self.spikes, False))
        compared = [n for n in program.body if n.name in COMPARES]
        for t in range(STEPS):
            values = program.advance(known, now, image if image is not None else x[t], 1)
            now = program.next(values)
            ran.values.append(values[readout.value])
            for name, node in self.spikes.items():
                ran.fired[name] |= bool((values[node] != 0).any())
            for n in compared:
                ran.true[n.path] += int(values[n].sum())
                ran.calls[n.path] += 1
        ran.state = now
        tail = [n for n in readout.tail]
        known = program.static(1, image, tail, readout.reduced) if tail else known
        ran.y = readout.join(ran.values, known, 1)
        return ran

    def _agrees(self, ran: _Ran, found: Tensor, true: dict[str, int], calls: dict[str, int]) -> bool:
        y = ran.y.reshape(-1)
        if y.numel() != found.numel():
            return False
        found = found.reshape(-1)
        same = bool(torch.equal(y, found) or torch.allclose(y, found, 1e-4, 1e-5 * float(found.abs().max().clamp(min=1)), equal_nan=True))
        return same and all(true.get(path) == ran.true[path] for path in ran.true if calls.get(path) == ran.calls[path])

    def _difference(self, ran: _Ran, found: Tensor, call: int) -> Problem:
        where = "in its output"
        if self.reading.readout.how == "stack" and found.numel() == ran.y.numel():
            wrong = (ran.y.reshape(STEPS, -1) - found.reshape(STEPS, -1)).abs().amax(1) > 1e-5
            if bool(wrong.any()):
                where = f"first in step {int(wrong.int().argmax())}"
        again = "" if call == 1 else " in the second call"
        return self._problem(
            f"its forward{again} is not what its steps make, one after the other ({where})",
            f"it keeps a state that was not found. If it has a neuron of its own, {REGISTER}",
        )

    def _problem(self, rule: str, advice: str) -> Problem:
        return Problem("forward", type(self.form.module).__name__, rule, advice)


class _Ran:
    """The program over STEPS steps: values of the readout's node, and what the comparisons gave."""

    def __init__(self, values: list[Tensor], state: dict[Node, Tensor], fired: dict[str, bool]) -> None:
        self.values, self.state, self.fired = values, state, fired
        self.true, self.calls = defaultdict[str, int](int), defaultdict[str, int](int)
        self.y = torch.zeros(0)
