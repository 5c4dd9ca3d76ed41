"""The comparison that all questions of the gate share: one layer in one step, the reference against what was observed.

A spike that differs is *excused* when the reference itself was on the edge, |h - v_threshold| < bound: what rounding of that
very sum can do (bounds.py), and nothing where arithmetic is exact. h and the next states must agree within 10 bounds wherever
the spike does.

Where only membranes are seen, a membrane that is off although its neuron was not on the edge is wrong; on the edge, it is the
consequence of a flip, and excused.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from plif_export.core.proof.arithmetic.bounds import LayerBound
from plif_export.core.proof.arithmetic.interpret import Array, LayerStep, State
from plif_export.core.proof.report import LayerReport, Report

MEMBRANE = 10  # bounds; honest differences stay below one, a wrong tau, state or weight is off by far more
ROWS = 1e-4  # how far a row beside others may be from the same row alone, relative to max(1, |value|), at least


@dataclass(frozen=True)
class Observation:
    """What an artifact shows of one layer in one step, arrays [rows, ...] float32: the states after it, {variable: v}, the
    membrane h before the reset and the spikes s; each is empty or None where it does not show it."""

    after: State
    h: Array | None = None
    s: Array | None = None

    def row(self, b: int) -> Observation:
        after = {name: v[b : b + 1] for name, v in self.after.items()}
        return Observation(after, *(None if values is None else values[b : b + 1] for values in (self.h, self.s)))


def compare(
    layer: LayerReport,
    report: Report,
    t: int,
    v_threshold: float,
    expected: LayerStep,
    found: Observation,
    bound: LayerBound,
    *,
    edge: bool | None = None,
    where: str = "",
) -> bool:
    """One layer in step t, as the reference has it and as it was found; all arrays [1, ...].

    bound  what rounding can do to h, which says how near to the threshold a spike is excused, and to the states
    edge   whether all neurons count as on the edge of the threshold, or none; None asks h
    where  what a failure begins with
    Adds to layer, fails the report, and says whether nothing at all differs, excused or not.
    """
    h, s = expected.h, expected.s
    pairs = [(v, expected.after[name], bound.after[name]) for name, v in found.after.items()]
    pairs += [(found.h, h, bound.h)] if found.h is not None else []
    for mine, wanted, _ in pairs:
        if mine.shape != wanted.shape:
            what = f"{where}its membrane has shape {list(mine.shape)}, the model's {list(wanted.shape)}"
            report.fail(layer.name, t, what)
            layer.membranes_off += h.size
            return False
    near = on_edge(expected, v_threshold, bound) if edge is None else np.full(h.shape, edge)
    dvs = [distance(mine, wanted) for mine, wanted, _ in pairs]
    dv, scaled = np.max(dvs, axis=0), np.max([in_bounds(d, b) for d, (_, _, b) in zip(dvs, pairs, strict=True)], axis=0)
    off = scaled > MEMBRANE
    differ = off & near if found.s is None else other_spikes(found.s, expected)
    dv, scaled, off = np.where(differ, 0, dv), np.where(differ, 0, scaled), off & ~differ
    flips, excused, wrong = int(differ.sum()), int((differ & near).sum()), int(off.sum())
    layer.mismatches += flips
    layer.excused += excused
    layer.membranes_off += wrong
    largest = np.finfo(np.float32).max  # JSON has no infinity
    layer.max_abs_dv = max(layer.max_abs_dv, float(min(dv.max(initial=0), largest)))
    layer.max_scaled_dv = max(layer.max_scaled_dv, float(min(scaled.max(initial=0), largest)))
    not_binary = 0
    if found.s is not None and expected.values == "spikes":
        not_binary = int(np.sum((found.s != 0) & (found.s != 1)))
    if flips > excused:
        report.fail(layer.name, t, f"{where}{flips - excused} of {s.size} spikes differ, away from the threshold")
    elif wrong:
        report.fail(layer.name, t, f"{where}{wrong} of {s.size} membranes differ, by up to {dv.max():.2g}")
    elif not_binary:
        report.fail(layer.name, t, f"{where}{not_binary} of {s.size} spikes are neither 0 nor 1")
    return not (flips or wrong or not_binary)


def on_edge(expected: LayerStep, v_threshold: float, bound: LayerBound) -> Array:
    """bool [1, ...]: where rounding can make the layer decide otherwise."""
    near = np.abs(expected.h - v_threshold) < bound.h
    return near if expected.jumps is None else near | expected.jumps(bound.h)


def other_spikes(found: Array, expected: LayerStep) -> Array:
    """bool [...]: where a layer fires otherwise than expected; values that are not only 0 and 1 may be rounded."""
    if expected.values == "spikes":
        return np.not_equal(found > 0.5, expected.s > 0.5)
    return np.asarray(~(np.abs(found - expected.s) <= ROWS * np.maximum(1, np.abs(expected.s))))


def distance(found: Array, expected: Array) -> Array:
    """|found - expected|, infinite where it is not a number: a NaN is off, not equal."""
    dv = np.abs(found - expected)
    return np.where(np.isfinite(dv), dv, np.inf)


def in_bounds(dv: Array, bound: Array) -> Array:
    """dv / bound, where nothing counts as 0, and more than nothing as infinite if the bound is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(dv == 0, 0, dv / bound)


def count_off(found: Array, expected: Array, bound: Array | float = 0.0) -> int:
    """How many values of two float32 arrays [...] of one shape differ by more than 10 bounds, or by more than ROWS
    max(1, |expected|), whichever is larger; a NaN differs."""
    tolerance = np.maximum(MEMBRANE * np.asarray(bound), ROWS * np.maximum(1, np.abs(expected)))
    return int(np.sum(~(np.abs(found - expected) <= tolerance)))
