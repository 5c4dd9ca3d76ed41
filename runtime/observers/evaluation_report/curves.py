"""Curves of a data set: accuracy against steps, against events, against an early exit; and what a score is worth.

All are computed from traces (measure/evaluate/batches.py) or from predictions, and each is a list of rows, as its CSV has them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from runtime.core.measure.evaluate.batches import Trace
from runtime.core.measure.evaluate.predictions import Prediction
from runtime.core.measure.metrics import wilson
from runtime.native.rules import exit_lead, leads_of

Row = dict[str, Any]  # of a CSV file: numbers and texts by column
MOST_MARGINS = 40

EVENT_POINTS = 24
SCORE_BINS = 10


def by_steps(traces: Sequence[Trace]) -> list[Row]:
    """Accuracy of the answers after every prefix of steps; a sample with fewer steps keeps its last answer."""
    rows = []
    for t in range(max(len(one.votes) for one in traces)):
        right = sum(int(one.answers[min(t, len(one.votes) - 1)] == one.truth) for one in traces)
        rows.append({"steps": t + 1, **accuracy_of(right, len(traces))})
    return rows


def by_events(traces: Sequence[Trace]) -> list[Row]:
    """Accuracy when so many events of each sample have been seen: of the last frame that is complete by then.

    Before the first frame there is no answer, which is not right. Empty for still images.
    """
    seen = [np.cumsum(one.events) for one in traces if one.events is not None]
    if len(seen) < len(traces):
        return []
    right = [one.answers == one.truth for one in traces]
    top = max(float(total[-1]) for total in seen)
    rows = []
    for n in np.linspace(0, top, EVENT_POINTS + 1)[1:]:
        last = [int(np.searchsorted(total, n + 0.5, side="right")) - 1 for total in seen]
        hits = sum(int(at >= 0 and bool(ok[at])) for at, ok in zip(last, right, strict=True))
        rows.append({"events": round(float(n)), **accuracy_of(hits, len(traces))})
    return rows


def reliability(predictions: Iterable[Prediction]) -> tuple[list[Row], float | None]:
    """(bins, ECE): how often an answer of each score is right. None where the scores are no shares (0..1).

    ECE = sum_b n_b / n |accuracy_b - score_b|, over bins of equal width (Guo et al., "On calibration of modern neural
    networks", 2017)
    """
    counts, scores, right = (np.zeros(SCORE_BINS) for _ in range(3))
    for one in predictions:
        predicted = one.predicted
        if predicted is None or one.truth is None:
            continue
        score = one.scores[predicted]
        if not 0 <= score <= 1 or min(one.scores) < 0:
            return [], None
        b = min(int(score * SCORE_BINS), SCORE_BINS - 1)
        counts[b] += 1
        scores[b] += score
        right[b] += predicted == one.truth
    n = counts.sum()
    rows = [
        {
            "from": b / SCORE_BINS,
            "to": (b + 1) / SCORE_BINS,
            "score": float(scores[b] / counts[b]),
            **accuracy_of(int(right[b]), int(counts[b])),
        }
        for b in range(SCORE_BINS)
        if counts[b]
    ]
    ece = sum(row["samples"] / n * abs(row["accuracy"] - row["score"]) for row in rows) if n else None
    return rows, ece


def exit_curve(traces: Sequence[Trace], voters: int, T: int) -> list[Row]:
    """What an early exit at each margin costs and saves (runtime/native/rules/decisions/decide.c), from the smallest margin up.

    lost, won  samples whose answer becomes wrong, or right, because they end early;  steps  mean number of steps
    """
    lead = [leads_of(one.evidence) for one in traces]
    full = np.array([one.answers[-1] == one.truth for one in traces])
    rows = []
    for margin in candidate_margins(lead, voters, T):
        at = [first_at(values, exit_lead(margin, voters, T)) for values in lead]
        right = np.array([one.answers[t] == one.truth for one, t in zip(traces, at, strict=True)])
        steps = float(np.mean([t + 1 for t in at]))
        share = float(np.mean([(t + 1) / len(one.votes) for one, t in zip(traces, at, strict=True)]))
        lost, won = int((full & ~right).sum()), int((~full & right).sum())
        row = {"margin": margin, "steps": steps, "steps_share": share, "lost": lost, "won": won}
        rows.append({**row, **accuracy_of(int(right.sum()), len(traces))})
    return rows


def first_at(lead: np.ndarray, enough: float) -> int:
    """The first step in which the lead is enough; the last one where it never is. lead  float64 [T]"""
    reached = np.flatnonzero(lead >= enough)
    return int(reached[0]) if len(reached) else len(lead) - 1


def candidate_margins(lead: Sequence[np.ndarray], voters: int, T: int) -> list[float]:
    """Margins that differ in what they do, ascending: of the leads [T] that occur, all or as many as MOST_MARGINS quantiles."""
    values = np.unique(np.concatenate(lead) / (voters * T))
    values = values[values > 0]
    if len(values) > MOST_MARGINS:
        values = np.unique(np.quantile(values, np.linspace(0, 1, MOST_MARGINS), method="lower"))
    return [float(f"{v:.9g}") for v in values]


def accuracy_of(right: int, n: int) -> Row:
    low, high = wilson(right, n)
    return {"samples": n, "correct": right, "accuracy": right / n if n else 0.0, "low": low, "high": high}
