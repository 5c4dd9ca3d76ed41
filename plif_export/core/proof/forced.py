"""The first question of the gate: from the reference's states, does each layer do in one call what the reference does?"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import numpy as np

from plif_export.core.proof.arithmetic.bounds import Bounds, LayerBound
from plif_export.core.proof.compare import MEMBRANE, compare, distance, in_bounds, on_edge
from plif_export.core.proof.report import LayerReport, Report
from plif_export.core.proof.subjects.slices import CannotRun
from plif_export.core.proof.subjects.subject import Case, Subject


def teacher_forced(
    subject: Subject, asked: Iterable[Case], bounds: Bounds, report: Report, layers: list[LayerReport] | None = None,
    where: str = "",
) -> int:  # fmt: skip
    """Asks all cases. Adds to `layers`, or, where there are none, to the totals of the report alone; fails the report.

    bounds  the graph whose rounding is excused;  where: what a failure begins with
    Returns the number of steps that were compared to the end. A call of several steps in which a neuron on the edge of the
    threshold left the rest without meaning is not counted.
    """
    totals = [LayerReport(layer) for layer in bounds.neurons] if layers is None else layers
    where = subject.signature + where
    if subject.chunk > 1 and not subject.shows_spikes:
        where += f"after a call of {subject.chunk} steps, "
    shown = 0
    for case in asked:
        conclusive = _agrees(subject, case, bounds, report, totals, where, on_stimulus=layers is not None)
        shown += subject.chunk if conclusive or subject.chunk == 1 else 0
    if layers is None:
        for layer in totals:
            # A file flips random spikes here, not those of the stimulus: they are not counted. The flips of an engine
            # are: after each of them the rest of the call was not compared.
            report.add(layer, counts=not subject.shows_spikes)
    return shown


def require_shown(subject: Subject, shown: int, report: Report) -> None:
    """Fails a gate in which no call of the subject could be compared."""
    if not shown:
        what = f"{subject.signature}every call was on an edge, so nothing was shown"
        report.fail(report.layers[0].name, 0, what)


def _agrees(
    subject: Subject, case: Case, bounds: Bounds, report: Report, layers: list[LayerReport], where: str,
    on_stimulus: bool,
) -> bool:  # fmt: skip
    """Compares layer by layer, in order; False where a difference made the rest of the call meaningless."""
    try:
        answer = subject.forced(case)
    except CannotRun as problem:
        report.fail(problem.layer, case.step, f"{where}{problem}")
        return False
    several = not subject.shows_spikes and subject.chunk > 1
    asked = sorted({*range(len(case.y)), *(k for expected in case.expected.values() for k in expected)})
    steps = {}
    for k in asked:
        fired = {name: spikes[k] for name, spikes in case.spikes.items()}
        steps[k] = bounds.step(case.x[k], fired, partial(case.held, k))
    edges = False
    for layer in (layer for layer in layers if layer.name in case.expected):
        expected, threshold = case.expected[layer.name], float(bounds.neurons[layer.name].attrs["v_threshold"])
        bound: dict[int, LayerBound] = {}
        for k, step in expected.items():
            bounds.saw(layer.name, step)
            bound[k] = steps[k].neuron(layer.name, case.before[layer.name][k])
            # the states before a step are the engine's own, and have what its steps before have rounded; it does not show its
            # spikes, and any step of the call may have a flip
            if several:
                bound[k] = bound[k] if k == 0 else bound[k] + bound[k - 1]
                edges |= bool(np.any(on_edge(expected[k], threshold, bound[k])))
        for k, seen in answer.layers[layer.name].items():
            if k not in expected:
                continue
            t, edge = (case.step, edges) if several else (case.step + k, None)
            same = compare(layer, report, t, threshold, expected[k], seen, bound[k], edge=edge, where=where)
            if not same and on_stimulus:
                report.diverged(layer.name, t)
            if not same and not subject.shows_spikes:  # deeper layers got other spikes than the reference's
                return False
    for k, (y, wanted) in enumerate(zip(answer.y, case.y, strict=True)):
        off = int(np.sum(in_bounds(distance(y, wanted), steps[k].output()) > MEMBRANE))
        report.outputs_off += off
        if off:
            report.fail("output", case.step + k, f"{where}{off} of {y.size} outputs differ")
    return True
