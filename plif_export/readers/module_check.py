"""Whether a module does what its trace does: every neuron's spikes and states, and the output, over calls of its own forward.

The output alone shows little: it may be silent, and a forward that drops a neuron's state then looks like one that carries
it. So the neurons themselves are watched with hooks, in the trace and in the module, from reset and over the calls that
follow. First they get the currents that the network makes, and then random currents on top, the same on both sides, louder
and louder until each layer has fired: so each neuron is proved, whatever the weights let through.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from plif_export.readers.neuron_modules import States
from plif_export.readers.rules import REGISTER, Problem
from plif_export.readers.trace import ModuleTrace, Stepper, first_output, flat, one_thread, start_of

STEPS = 4  # calls of forward from reset
DRIVES = (0.0, 1.0, 8.0, 64.0, 512.0)  # random currents on top of the network's own, in thresholds


@dataclass
class _Call:
    """One call of a neuron: its current and spikes, float32 [1, ...], and its states after it {variable: [1, ...]}."""

    x: Tensor
    s: Tensor
    after: States

    def equals(self, s: Tensor, after: States) -> bool:
        return _equal(self.s, s) and all(_equal(value, after[name]) for name, value in self.after.items())


_Step = tuple[Tensor, dict[str, _Call]]  # the output, and the call of each neuron by its path


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool(torch.all((a == b) | (a.isnan() & b.isnan())))


def compare(traced: ModuleTrace) -> tuple[list[Problem], list[str]]:
    """The problems of a module that does not do what its trace does, and notes on the layers that never fired."""
    check = _ModuleCheck(traced)
    with torch.no_grad(), one_thread():
        try:
            return check.run()
        finally:
            traced.restart()


class _ModuleCheck:
    def __init__(self, traced: ModuleTrace) -> None:
        assert traced.graph is not None
        self.traced, self.graph = traced, traced.graph
        paths = {layer: path for path, layer in traced.neurons.items()}
        self.paths = [paths[node.layer] for node in self.graph.neurons]
        self.types = Stepper(traced.program).types
        self.parts = {path: traced.program.get_submodule(path) for path in self.paths}

    def run(self) -> tuple[list[Problem], list[str]]:
        """What `compare` gives."""
        silent = set(self.paths)
        lost: set[str] = set()
        other: Problem | None = None
        for drive in DRIVES:
            x = torch.poisson(
                torch.ones(STEPS, 1, *self.graph.input_shape), generator=torch.Generator().manual_seed(int(drive))
            )
            expected = self._run(Stepper(self.traced.program).step, x, drive)
            try:
                found = self._run(self._own_forward(), x, drive)
            except Exception as error:  # whatever the module's own Python raises when it runs
                what = " ".join(str(error).split())[:160]
                return [self._problem(f"its own forward fails, one step a call ({what})", self._advice_on_held())], []
            at = next((t for t in range(STEPS) if self._differs(expected[t], found[t])), None)
            if at is not None:
                lost.update(self._lost(found))
                other = other or self._difference(at, expected[at], found[at])
            silent -= {path for _, calls in found for path, call in calls.items() if bool((call.s > 0.5).any())}
            if drive and (other or not silent):  # with currents of its own every neuron has a state to lose
                break
        if lost:
            rule = "the module does not carry its state from one call to the next"
            ordered = [path for path in self.paths if path in lost]
            return [Problem(path, type(self.parts[path]).__name__, rule, self.types[path].keep) for path in ordered], []
        note = f": never fired, whatever current it was given (up to {DRIVES[-1]:g} thresholds); only its states were compared"
        return [other] if other else [], [path + note for path in self.paths if path in silent]

    def _run(self, step: Callable[[Tensor], Any], x: Tensor, drive: float) -> list[_Step]:
        """STEPS steps on x [STEPS, 1, ...] from reset, every neuron watched, and driven by random currents.

        The same hooks watch the trace, which calls the same neurons, and the module's own forward.
        """
        self.traced.restart()
        run: list[_Step] = []
        for t, x_t in enumerate(x):
            with self._watched(drive, t) as calls:
                y = first_output(step(x_t.clone()))
            run.append((y.clone(), calls))
        return run

    @contextmanager
    def _watched(self, drive: float, t: int) -> Iterator[dict[str, _Call]]:
        calls: dict[str, _Call] = {}
        currents: dict[str, Tensor] = {}
        handles = []
        for place, (path, part) in enumerate(self.parts.items()):
            scale = drive * (abs(float(self.graph.neurons[place].attrs["v_threshold"])) or 1.0)

            def before(_: Any, args: Any, place: int = place, path: str = path, scale: float = scale) -> Any:
                noise = torch.Generator().manual_seed(1000 * t + place)
                x = args[0] + scale * (torch.randn(args[0].shape, generator=noise) + 0.25) if scale else args[0]
                currents[path] = x.clone()
                return (x, *args[1:])

            def after(module: Any, _: Any, out: Any, path: str = path) -> None:
                states = {name: value.clone() for name, value in self.types[path].after(module, out).items()}
                calls[path] = _Call(currents[path], first_output(out).clone(), states)

            handles += [part.register_forward_pre_hook(before), part.register_forward_hook(after)]
        try:
            yield calls
        finally:
            for handle in handles:
                handle.remove()

    def _own_forward(self) -> Callable[[Tensor], Any]:
        """Steps the module itself, its own way: with hidden states, or with states that it takes and returns."""
        module, fed, returned = self.traced.module, self.traced.fed, self.traced.returned
        takes = len(inspect.signature(module.forward).parameters) - 1
        shapes = {node.layer: node.shape for node in self.graph.neurons}
        first = {layer: self.types[path].first for path, layer in self.traced.neurons.items() if layer in shapes}
        by_hand = {layer: first[layer](shapes[layer]) for layer in fed.values() if layer in shapes}
        passed: list[Any] = []

        def step(x: Tensor) -> Any:
            nonlocal passed
            if fed:  # snnTorch: forward(x, mem1, mem2) -> (y, mem1, mem2)
                out = module(x, *[by_hand.get(layer) for layer in fed.values()])
                by_hand.update(zip(returned, flat(out[1:]) if isinstance(out, tuple | list) else (), strict=False))
            elif returned and takes:  # Norse: forward(x, state=None) -> (y, state)
                out = module(x, *passed)
                passed = list(out[1 : 1 + takes])
            else:
                out = module(x)
            return out

        return step

    def _differs(self, expected: _Step, found: _Step) -> bool:
        return not _equal(expected[0], found[0]) or self._first_neuron(expected[1], found[1]) is not None

    def _first_neuron(self, expected: dict[str, _Call], found: dict[str, _Call]) -> str | None:
        """The first neuron, in the order of the network, whose call was another one or was not made."""
        for path in self.paths:
            if path not in found or not found[path].equals(expected[path].s, expected[path].after):
                return path
        return None

    def _lost(self, found: list[_Step]) -> Iterator[str]:
        """The neurons that start again, in some call after the first, where the state that they had leads elsewhere."""
        for (_, earlier), (_, calls) in pairwise(found):
            for path, call in calls.items():
                kind, part = self.types[path], self.parts[path]
                again = kind.step(part, call.x, start_of(kind, part, call.x))
                carried = kind.step(part, call.x, earlier[path].after) if path in earlier else again
                if call.equals(*again) and not call.equals(*carried):
                    yield path

    def _difference(self, at: int, expected: _Step, found: _Step) -> Problem:
        path = self._first_neuron(expected[1], found[1])
        if at == 0 and path in found[1] and self.traced.held and _equal(expected[1][path].x, found[1][path].x):
            rule = "it starts from a state that the module holds already"
            return Problem(path, type(self.parts[path]).__name__, rule, self._advice_on_held())
        where = f"first in {path}" if path else "in its output"
        return self._problem(
            f"step {at} of the module is not what its layers make, one after the other ({where})",
            f"it keeps a state that was not found. If it has a neuron of its own, {REGISTER}",
        )

    def _advice_on_held(self) -> str:
        names = ", ".join(repr(attribute.name) for attribute in self.traced.held)
        return f"set {names} as before the first step" if names else "check that it takes one step a call"

    def _problem(self, rule: str, advice: str) -> Problem:
        return Problem("forward", type(self.traced.module).__name__, rule, advice)
