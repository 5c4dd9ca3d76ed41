"""The curve of an early exit: what each margin costs and saves, from traces (trace.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from runtime.measure.evaluate.trace import Trace
from runtime.measure.metrics import wilson
from runtime.native.rules import exit_lead, leads_of

Row = dict[str, Any]  # of a CSV file: numbers and texts by column
MOST_MARGINS = 40


def exit_curve(traces: Sequence[Trace], voters: int, T: int) -> list[Row]:
    """What an early exit at each margin costs and saves (runtime/engines/early_exit.py), from the smallest margin up.

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
