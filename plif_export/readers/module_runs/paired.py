"""A run of a module beside the program found for its steps, call by call, with the same input and noise."""

from __future__ import annotations

from contextlib import suppress

import torch
from torch import Tensor, nn

from plif_export.core.readers.rules import REGISTER
from plif_export.readers.module_runs.comparison import DifferenceError, ForwardComparison
from plif_export.readers.module_runs.original import Rollout, list_start_states
from plif_export.readers.module_runs.sides import ForwardMonitor, NoiseCurrents, RunValues
from plif_export.readers.step_program.body import NodeValues
from plif_export.readers.tracing.forms import CallForm


def replace_state(form: CallForm, module: nn.Module, rows: int) -> None:
    """Call a module once with another number of rows, so that it makes its state anew; 0 rows: do not call it."""
    if rows and form.kind == "step":
        with torch.no_grad(), suppress(Exception):  # a module that cannot change its rows keeps its state
            form.make_call(1)(module, form.arrange_input(torch.zeros((1, rows, *form.shape))))


class PairedRollout:
    """A run of a module side by side with the program found for its steps, over consecutive steps or calls."""

    def __init__(self, check: ForwardComparison) -> None:
        self.check, self.form = check, check.form
        self.rollout = Rollout(ForwardMonitor(check.form, check.neurons))
        check.rollouts.append(self.rollout)
        self.start: NodeValues = {}
        self.state: NodeValues | None = None
        self.first = self.calls = 0  # steps before, of a stream; calls before

    def advance(self, T: int, drive: float) -> None:
        """Run T more steps on a module and its step program side by side. Raises an error if they differ."""
        check, call_sites = self.check, self.check.reading.call_sites
        is_repeated = self.calls > 0 and self.form.kind != "step"
        placed = not is_repeated and self.first + T > call_sites.since
        seed, scale = 0 if self.form.kind == "step" else int(drive) + self.calls, max(drive, 1.0)

        def make_x_and_noise(first: int = self.first) -> tuple[Tensor, NoiseCurrents]:
            return check.make_input(T, 1, seed, first, scale), check.make_noise(T, drive, placed=placed)

        def play(watched: ForwardMonitor) -> RunValues:
            x, noise = make_x_and_noise()
            return check.run_module(watched, x, T, noise, f"over {T} steps", placed)

        x, noise = make_x_and_noise()
        module_run = self.rollout.play(play)
        program_run = self._find_agreement(x, T, noise, module_run, is_repeated)
        if program_run is None:
            different = check.find_difference(check.run_program(x, T, self.first, self.state, noise), module_run)
            raise self._make_difference(different, is_repeated)
        if placed:
            self._check_call_counts(T)
        if (
            is_repeated
            and check.find_difference(check.run_program(x, T, self.first, None, noise), module_run) is not None
        ):
            note = "a call goes on from where the last one ended: reset it between samples"
            check.comparison.notes.append(f"{type(self.form.module).__name__}: {note}")
        if not drive and not self.calls:
            check.find_hooked_layers(program_run, module_run)
        fired = {name for name in check.silent if bool((program_run.values[check.layers[name].spikes] != 0).any())}
        check.silent = [name for name in check.silent if name not in fired]
        self.start, self.state, self.calls = program_run.start, program_run.state, self.calls + 1
        self.first += T if self.form.kind == "step" else 0

    def _find_agreement(
        self, x: Tensor, T: int, noise: NoiseCurrents, module_run: RunValues, is_repeated: bool
    ) -> RunValues | None:
        """Return a run of the step program, on its own currents or the module's, equal to the module's run, or None."""
        check, states = self.check, [self.state]
        if is_repeated and self.state is not None:
            final_states = check.reading.final_states
            states = list_start_states(check.program, self.form.module, final_states, self.start, self.state)
        for currents_from in (None, module_run):
            for state in states:
                program_run = check.run_program(x, T, self.first, state, noise, currents_from)
                if check.find_difference(program_run, module_run) is None:
                    return program_run
        return None

    def _make_difference(self, different: tuple[str, int | None] | None, is_repeated: bool) -> DifferenceError:
        layer, t = different or ("its output", None)
        step = f"step {self.first + t}" if t is not None else "a step"
        second = ", in the second call," if is_repeated else ""
        rule = f"{step} of the module{second} is not what its layers make, one after the other (first in {layer})"
        return DifferenceError(rule, f"it keeps a state that was not found. If it has a neuron of its own, {REGISTER}")

    def _check_call_counts(self, T: int) -> None:
        """Check that a module calls each PyTorch operation as often as its number of time-steps predicts."""
        for (path, name), (offset, per_step) in self.check.reading.call_sites.calls.items():
            expected, actual = offset + per_step * (self.first + T), self.rollout.monitor.calls[path, name]
            if expected != actual:
                calls = f"call {name}() {actual} times in {path or 'forward'}"
                rule = f"{self.first + T} steps {calls}, where its first steps would {expected} times"
                raise DifferenceError(rule, "every step must do the same")
