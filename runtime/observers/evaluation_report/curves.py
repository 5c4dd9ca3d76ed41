"""Curves of an evaluation: accuracy against steps, events and early exit, and the reliability of scores.

All are computed from traces (measure/evaluate/batches.py) or from predictions. Each is a list of rows, as in its CSV
file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from runtime.core.measure.evaluate.batches import Trace
from runtime.core.measure.evaluate.predictions import Prediction
from runtime.core.measure.metrics import wilson_interval
from runtime.native.rules import compute_leads, exit_lead

Row = dict[str, Any]  # of a CSV file: numbers and texts by column
MAX_MARGINS = 40

EVENT_POINTS = 24
SCORE_BINS = 10


def accuracy_by_steps(traces: Sequence[Trace]) -> list[Row]:
    """Return the accuracy of a network's answers after each number of time-steps.

    A sample with fewer steps keeps its last answer.
    """
    rows = []
    for t in range(max(len(trace.votes) for trace in traces)):
        right = sum(int(trace.answers[min(t, len(trace.votes) - 1)] == trace.truth) for trace in traces)
        rows.append({"steps": t + 1, **accuracy_row(right, len(traces))})
    return rows


def accuracy_by_events(traces: Sequence[Trace]) -> list[Row]:
    """Return the accuracy after each number of events of a sample, by the answer at the last frame complete by then.

    Before the first frame there is no answer, which counts as wrong. Empty for still images.
    """
    totals = [np.cumsum(trace.events) for trace in traces if trace.events is not None]
    if len(totals) < len(traces):
        return []
    right = [trace.answers == trace.truth for trace in traces]
    top = max(float(total[-1]) for total in totals)
    rows = []
    for n in np.linspace(0, top, EVENT_POINTS + 1)[1:]:
        last = [int(np.searchsorted(total, n + 0.5, side="right")) - 1 for total in totals]
        hits = sum(int(step >= 0 and bool(is_right[step])) for step, is_right in zip(last, right, strict=True))
        rows.append({"events": round(float(n)), **accuracy_row(hits, len(traces))})
    return rows


def reliability_bins(predictions: Iterable[Prediction]) -> tuple[list[Row], float | None]:
    """Group predictions into bins by score; return each bin's accuracy, and the expected calibration error (ECE).

    ECE is None if the scores are no shares (0..1).

    ECE = sum_b n_b / n |accuracy_b - score_b|, over bins of equal width (Guo et al., "On calibration of modern neural
    networks", 2017)
    """
    counts, scores, right = (np.zeros(SCORE_BINS) for _ in range(3))
    for prediction in predictions:
        predicted = prediction.predicted
        if predicted is None or prediction.truth is None:
            continue
        score = prediction.scores[predicted]
        if not 0 <= score <= 1 or min(prediction.scores) < 0:
            return [], None
        b = min(int(score * SCORE_BINS), SCORE_BINS - 1)
        counts[b] += 1
        scores[b] += score
        right[b] += predicted == prediction.truth
    n = counts.sum()
    rows = [
        {
            "from": b / SCORE_BINS,
            "to": (b + 1) / SCORE_BINS,
            "score": float(scores[b] / counts[b]),
            **accuracy_row(int(right[b]), int(counts[b])),
        }
        for b in range(SCORE_BINS)
        if counts[b]
    ]
    ece = sum(row["samples"] / n * abs(row["accuracy"] - row["score"]) for row in rows) if n else None
    return rows, ece


def exit_curve(traces: Sequence[Trace], voters: int, T: int) -> list[Row]:
    """Return the accuracy and the mean steps of an early exit at each margin, smallest margin first.

    The rule is that of runtime/native/rules/decisions/decide.c.

    lost, won  samples with an answer that becomes wrong, or right, because they end early;  steps  mean number of steps
    """
    lead = [compute_leads(trace.evidence) for trace in traces]
    full = np.array([trace.answers[-1] == trace.truth for trace in traces])
    rows = []
    for margin in choose_margins(lead, voters, T):
        ends = [first_step(values, exit_lead(margin, voters, T)) for values in lead]
        right = np.array([trace.answers[t] == trace.truth for trace, t in zip(traces, ends, strict=True)])
        steps = float(np.mean([t + 1 for t in ends]))
        share = float(np.mean([(t + 1) / len(trace.votes) for trace, t in zip(traces, ends, strict=True)]))
        lost, won = int((full & ~right).sum()), int((~full & right).sum())
        row = {"margin": margin, "steps": steps, "steps_share": share, "lost": lost, "won": won}
        rows.append({**row, **accuracy_row(int(right.sum()), len(traces))})
    return rows


def first_step(lead: np.ndarray, enough: float) -> int:
    """Return the first step at which the lead of the answer, float64 [T], is at least `enough`, else the last step."""
    reached = np.flatnonzero(lead >= enough)
    return int(reached[0]) if len(reached) else len(lead) - 1


def choose_margins(lead: Sequence[np.ndarray], voters: int, T: int) -> list[float]:
    """Choose early-exit margins that differ in their effect, ascending, at most MAX_MARGINS.

    They are the leads [T] that occur, or quantiles of these.
    """
    values = np.unique(np.concatenate(lead) / (voters * T))
    values = values[values > 0]
    if len(values) > MAX_MARGINS:
        values = np.unique(np.quantile(values, np.linspace(0, 1, MAX_MARGINS), method="lower"))
    return [float(f"{v:.9g}") for v in values]


def accuracy_row(right: int, n: int) -> Row:
    low, high = wilson_interval(right, n)
    return {"samples": n, "correct": right, "accuracy": right / n if n else 0.0, "low": low, "high": high}
