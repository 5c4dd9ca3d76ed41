"""What the gate asks of a loop form whose step has passed: a call of T steps is what the unrolled form is for T."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from plif_export.core.proof.arithmetic.bounds import Bounds
from plif_export.core.proof.arithmetic.interpret import Array, State
from plif_export.core.proof.gate import differing, run_calls
from plif_export.core.proof.report import Report
from plif_export.core.proof.subjects.slices import CannotRun
from plif_export.core.proof.subjects.subject import Subject

LOOPS = (1, 3, 7)  # steps in a call of a loop form


def compare_calls(subject: Subject, x: Array, start: Sequence[State], bounds: Bounds, report: Report) -> None:
    """A loop form in one call of T steps against T calls of its step, for three T, within the same bound as rows."""
    rows = x.shape[1] if subject.batch is None else 1
    states = {key: np.concatenate([state[key] for state in start[:rows]]) for key in start[0]}
    for T in LOOPS:
        sequence = {**subject.card["input"], "kind": "events"}  # also of images, of which it takes one for each step
        loop = subject.with_card({**subject.card, "form": "unrolled", "T": T, "input": sequence})
        frames = x[:, :rows].take(range(T), 0, mode="wrap")
        try:
            found, wanted = (
                run_calls(one, one.call if one.batch is None else one.alone, frames, states) for one in (loop, subject)
            )
        except CannotRun as problem:
            report.fail(problem.layer, 0, f"{subject.signature}in a call of {T} steps, {problem}")
            return
        for layer, name, off in differing(subject, found, wanted, T, bounds):
            what = f"a call of {T} steps gives other {name} than its step as often ({off} differ)"
            report.fail(layer, 0, subject.signature + what)
            return
    report.loops = list(LOOPS)
