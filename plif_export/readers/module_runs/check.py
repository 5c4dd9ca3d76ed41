"""The checks of a module's own forward against the step program found, for as long as it will be run.

A sequence is run with the caller's own T, with LONG or more, and with one step more than that. A module of one step
is run for STEPS steps in a row. Each row of a batch of BATCHES rows must equal the row alone. Random currents on top
of a neuron's own become stronger and stronger until each layer has fired. The module is run as its owner runs it, too
(alone.py).
"""

from __future__ import annotations

from contextlib import nullcontext, suppress

import torch

from plif_export.core.proof.reference import one_thread
from plif_export.core.readers.rules import Problem
from plif_export.readers.module_runs.alone import compare_after_reset, compare_alone
from plif_export.readers.module_runs.comparison import (
    BATCHES,
    CHUNK,
    DISTINCT_ROWS,
    ComparisonResult,
    DifferenceError,
    ForwardComparison,
)
from plif_export.readers.module_runs.original import compare_with_copy, find_reset_leftovers
from plif_export.readers.module_runs.paired import PairedRollout, replace_state
from plif_export.readers.module_runs.sides import ForwardMonitor, NoiseCurrents, stack_rows
from plif_export.readers.step_program.reading import ModuleReading
from plif_export.readers.tracing.copies import preserve_module

DRIVE_GAINS = (8.0, 64.0, 512.0)  # stronger random currents, in thresholds, for layers that did not fire with less


def compare_with_module(reading: ModuleReading, T: int | None = None, steps: int | None = None) -> ComparisonResult:
    """Compare a module's forward, over many steps and batch sizes, with the program found for one step.

    T: of the sequences that the module will get. steps: the number of steps to run at least.
    """
    with one_thread(), preserve_module(reading.form.module):
        return ForwardCheck(reading, T, steps or 0).run()


class ForwardCheck(ForwardComparison):
    """All comparisons of a module's forward with its step program, in turn."""

    def run(self) -> ComparisonResult:
        try:
            self._check_lengths()
            self._check_batches()
            if self.reading.original is not None:
                self.comparison.problems = compare_with_copy(self.reading.original, self.form, self.rollouts)
                if not self.comparison.problems:
                    compare_alone(self, self.reading.original)
                    if self.reading.repeat_first_calls is not None:
                        self.comparison.problems, notes = self.reading.repeat_first_calls()
                        self.comparison.notes += notes
        except DifferenceError as problem:
            return ComparisonResult([Problem("forward", type(self.form.module).__name__, *problem.args)])
        for name in self.silent:
            current = f"whatever current it was given (up to {DRIVE_GAINS[-1]:g} thresholds)"
            if name not in self.current_nodes and name not in self.hooked_paths:
                current = "and no current of its own could be given to it"
            self.comparison.notes.append(f"{name}: never fired, {current}; only its states were compared")
        final_states = self.reading.final_states
        states = {final_states[s.after] for s in self.program.states if s.after in final_states}
        leftovers = find_reset_leftovers(self.rollouts[0].monitor.module, self.form.copy(), states)
        if leftovers == [] and self.reading.original is not None and not self.comparison.problems:
            leftovers = compare_after_reset(self, self.reading.original)
        self.comparison.notes += leftovers or []
        self.comparison.untested = self.silent
        for batch in sorted(self.held_rows):
            self.comparison.notes.append(
                f"{type(self.form.module).__name__}: it holds a state of {batch} rows, from which PyTorch goes on; "
                "the file starts anew"
            )
        low, high = self.input_range
        lengths, batches = (", ".join(map(str, sorted({*sizes}))) for sizes in (self.lengths, [1, *self.batches]))
        values = "images" if self.form.kind == "static" else "counts"
        self.comparison.sampled = f"{lengths} steps, batches {batches}, {values} {low:g} to {high:g}"
        readout = self.reading.readout
        if self.form.kind == "step" or readout.reduction not in ("sum", "mean") or not readout.folded:
            self.comparison.not_proved.append("that the outputs of all steps are added up")
        return self.comparison

    def _check_lengths(self) -> None:
        if self.form.kind == "step":
            run = PairedRollout(self)
            for i, first in enumerate(range(0, self.steps, CHUNK)):
                run.advance(min(CHUNK, self.steps - first), float(i % 2))
            self.lengths = [self.steps]
            self.comparison.not_proved.append(f"more than {self.steps} steps in a row")
        else:
            run = PairedRollout(self)
            run.advance(self.caller_T, 0.0)
            run.advance(min(self.caller_T, CHUNK), 1.0)
            PairedRollout(self).advance(self.long_T, 1.0)
            PairedRollout(self).advance(self.long_T + 1, 0.0)
            self.lengths = [self.caller_T, self.long_T, self.long_T + 1]
            *shorter, last = (str(T) for T in sorted({self.caller_T, self.long_T, self.long_T + 1}))
            self.comparison.not_proved.append(f"sequences of other lengths than {', '.join(shorter)} and {last}")
        for drive in DRIVE_GAINS:
            if self.silent:
                (run if self.form.kind == "step" else PairedRollout(self)).advance(CHUNK, drive)

    def _check_batches(self) -> None:
        T, readout = self.batch_T, self.reading.readout
        axis = 0 if self.form.kind == "static" else 1
        x = self.form.make_input(T, DISTINCT_ROWS, seed=3)  # extremes would hide the noise; compare_alone gives them
        awake = [layer for name, layer in self.layers.items() if name not in self.silent]
        for drive in (1.0, *DRIVE_GAINS):
            noise = NoiseCurrents(self.make_noise(T, drive, DISTINCT_ROWS).nodes)
            alone_inputs = [(x.narrow(axis, r, 1), noise.select_row(r)) for r in range(DISTINCT_ROWS)]
            alone = [self.run_program(row, T, 0, None, row_noise) for row, row_noise in alone_inputs]
            if all(any(bool((ran.values[layer.spikes] != 0).any()) for ran in alone) for layer in awake):
                break
        for batch in BATCHES:
            rows = [r % DISTINCT_ROWS for r in range(batch)]
            row_indices = torch.tensor(rows)
            wide = NoiseCurrents({node: current.index_select(1, row_indices) for node, current in noise.nodes.items()})
            wide_x, joint = x.index_select(axis, row_indices), stack_rows([alone[r] for r in rows], readout)
            for rows_before in (0, batch + 1):  # a state of as many rows may be left from an earlier call
                watched = ForwardMonitor(self.form)
                replace_state(self.form, watched.module, rows_before)
                with suppress(DifferenceError) if rows_before else nullcontext():  # or it cannot change its rows
                    module_run = self.run_module(watched, wide_x, T, wide, f"on a batch of {batch}")
                if self.find_difference(joint, module_run) is None:
                    break
            else:
                self.check_rows(module_run, [alone_inputs[r] for r in rows], T)
            if rows_before:
                self.held_rows.add(batch)
