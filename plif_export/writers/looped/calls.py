"""The gate's check of a loop form with a proved step: a call of T steps must equal the unrolled form for T."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from plif_export.core.proof.arithmetic.bounds import Bounds
from plif_export.core.proof.arithmetic.interpret import Array, State
from plif_export.core.proof.gate import find_mismatches, run_calls
from plif_export.core.proof.report import Report
from plif_export.core.proof.subjects.slices import CannotRun
from plif_export.core.proof.subjects.subject import Subject

LOOPS = (1, 3, 7)  # steps in a call of a loop form


def compare_calls(subject: Subject, x: Array, start: Sequence[State], bounds: Bounds, report: Report) -> None:
    """Compare one call of T steps of a looped ONNX model with T calls of its step, for three values of T.

    The bound is that of the rows check.
    """
    rows = x.shape[1] if subject.batch is None else 1
    states = {key: np.concatenate([state[key] for state in start[:rows]]) for key in start[0]}
    for T in LOOPS:
        sequence = {**subject.card["input"], "kind": "events"}  # also of images, of which it takes one for each step
        loop = subject.with_card({**subject.card, "form": "unrolled", "T": T, "input": sequence})
        frames = x[:, :rows].take(range(T), 0, mode="wrap")
        try:
            actual, expected = (
                run_calls(form, form.run_call if form.batch is None else form.run_single, frames, states)
                for form in (loop, subject)
            )
        except CannotRun as problem:
            report.fail(problem.layer, 0, f"{subject.signature}in a call of {T} steps, {problem}")
            return
        for layer, name, mismatches in find_mismatches(subject, actual, expected, T, bounds):
            text = f"a call of {T} steps gives other {name} than its step as often ({mismatches} differ)"
            report.fail(layer, 0, subject.signature + text)
            return
    report.loops = list(LOOPS)
