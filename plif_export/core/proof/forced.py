"""The teacher-forced check of the gate: each layer, started from the reference's states, must match its step."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import numpy as np

from plif_export.core.proof.arithmetic.bounds import Bounds, LayerBound, StepBounds
from plif_export.core.proof.compare import MEMBRANE, absolute_error, compare_layer, near_threshold, scale_by_bound
from plif_export.core.proof.report import LayerReport, Report
from plif_export.core.proof.subjects.slices import CannotRun
from plif_export.core.proof.subjects.subject import Answer, Case, Subject


def check_teacher_forced(
    subject: Subject, cases: Iterable[Case], bounds: Bounds, report: Report, layers: list[LayerReport] | None = None,
    prefix: str = "", answer: Answer | None = None,
) -> int:  # fmt: skip
    """Compare each layer of an artifact with the reference model, in calls from the latter's states.

    Fails the report on errors.

    layers  reports to add to; None adds to the totals of the report alone
    bounds  the rounding that is excused;  prefix: the beginning of a failure message
    answer  that of the artifact to a single case, if it ran already
    Returns the number of steps that were compared to the end. A call of several steps is not counted if a neuron near
    the threshold made the remaining steps meaningless.
    """
    totals = [LayerReport(layer) for layer in bounds.neurons] if layers is None else layers
    prefix = subject.signature + prefix
    if subject.chunk > 1 and not subject.shows_spikes:
        prefix += f"after a call of {subject.chunk} steps, "
    compared = 0
    for case in cases:
        conclusive = _compare_case(subject, case, bounds, report, totals, prefix, layers is not None, answer)
        compared += subject.chunk if conclusive or subject.chunk == 1 else 0
    if layers is None:
        for layer in totals:
            # The flips of a file are of random spikes, not of the stimulus, so they are not counted. The flips of an
            # engine count: after each of them the rest of the call was not compared.
            report.add_layer(layer, counts=not subject.shows_spikes)
    return compared


def require_compared(subject: Subject, compared: int, report: Report) -> None:
    """Fail the proof's report if no call of the artifact under test could be compared to its end."""
    if not compared:
        problem = f"{subject.signature}every call was on an edge, so nothing was shown"
        report.fail(report.layers[0].name, 0, problem)


def _bound_steps(case: Case, bounds: Bounds) -> dict[int, StepBounds]:
    """Return the rounding bounds of each compared step of a call; the last call's are kept for the next subject."""
    if bounds.last[0] is not case:
        bounds.last = case, {
            k: bounds.step(case.x[k], {name: spikes[k] for name, spikes in case.spikes.items()}, partial(case.state_at, k))
            for k in sorted({*range(len(case.y)), *(k for expected in case.expected.values() for k in expected)})
        }  # fmt: skip
    return bounds.last[1]


def _compare_case(
    subject: Subject, case: Case, bounds: Bounds, report: Report, layers: list[LayerReport], prefix: str,
    on_stimulus: bool, answer: Answer | None,
) -> bool:  # fmt: skip
    """Compare one call of an artifact layer by layer; return False if the rest of the call became meaningless."""
    try:
        answer = answer or subject.run_forced(case)
    except CannotRun as problem:
        report.fail(problem.layer, case.step, f"{prefix}{problem}")
        return False
    several = not subject.shows_spikes and subject.chunk > 1
    steps = _bound_steps(case, bounds)
    any_edge = False
    for layer in (layer for layer in layers if layer.name in case.expected):
        expected, threshold = case.expected[layer.name], float(bounds.neurons[layer.name].attrs["v_threshold"])
        bound: dict[int, LayerBound] = {}
        for k, step in expected.items():
            bounds.record_coverage(layer.name, step)
            bound[k] = steps[k].neuron_bound(layer.name, case.before[layer.name][k])
            # the states before a step are the engine's own, with the rounding of its earlier steps; it does not show its
            # spikes, and any step of the call may have a flip
            if several:
                bound[k] = bound[k] if k == 0 else bound[k] + bound[k - 1]
                any_edge |= bool(np.any(near_threshold(expected[k], threshold, bound[k])))
        for k, observed in answer.layers[layer.name].items():
            if k not in expected:
                continue
            t, edge = (case.step, any_edge) if several else (case.step + k, None)
            matches = compare_layer(
                layer, report, t, threshold, expected[k], observed, bound[k], edge=edge, prefix=prefix
            )
            if not matches and on_stimulus:
                report.record_divergence(layer.name, t)
            if not matches and not subject.shows_spikes:  # deeper layers got spikes that differ from the reference's
                return False
    for k, (y, expected_y) in enumerate(zip(answer.y, case.y, strict=True)):
        off = int(np.sum(scale_by_bound(absolute_error(y, expected_y), steps[k].output_bound()) > MEMBRANE))
        report.outputs_off += off
        if off:
            report.fail("output", case.step + k, f"{prefix}{off} of {y.size} outputs differ")
    return True
