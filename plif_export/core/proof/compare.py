"""The comparison that all checks of the gate share: one layer in one step, the reference against the artifact.

A spike that differs is *excused* when the reference itself was near the threshold, |h - v_threshold| < bound. The
bound is the rounding of that very sum (bounds.py), and 0 where arithmetic is exact. h and the next states must agree
within 10 bounds wherever the spike does.

If only membranes are visible, one that is off, or by a reset's size, is wrong unless its neuron was near the threshold:
then it is the consequence of a flip.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from plif_export.core.proof.arithmetic.bounds import LayerBound
from plif_export.core.proof.arithmetic.interpret import Array, LayerStep, State
from plif_export.core.proof.report import LayerReport, Report

MEMBRANE = 10  # bounds; rounding stays below one, a wrong tau, state or weight differs by far more
FLIP = 0.1  # of the threshold: the least that a reset changes a membrane by
ROWS = 1e-4  # tolerance of a batch row against the same row alone, relative to max(1, |value|), at least


@dataclass(frozen=True)
class Observation:
    """The values that an artifact shows of one layer after one step, arrays [rows, ...] float32.

    after  the states after the step, {variable: v};  h: the membrane before the reset;  s: the spikes. Values that
           the artifact does not show are missing or None.
    """

    after: State
    h: Array | None = None
    s: Array | None = None

    def row(self, b: int) -> Observation:
        after = {name: v[b : b + 1] for name, v in self.after.items()}
        return Observation(after, *(None if values is None else values[b : b + 1] for values in (self.h, self.s)))


def compare_layer(
    layer: LayerReport, report: Report, t: int, v_threshold: float, expected: LayerStep, observed: Observation,
    bound: LayerBound, *, edge: bool | None = None, prefix: str = "",
) -> bool:  # fmt: skip
    """Compare an artifact's layer with the reference model's in step t; add differences to the report.

    expected, observed  the layer's step in the reference and in the artifact, arrays [1, ...]
    bound   the rounding error of h, within which a spike near the threshold is excused, and of the states
    edge    whether all neurons count as near the threshold, or none; None decides by h
    prefix  the beginning of a failure message
    Returns whether nothing differs, excused or not.
    """
    h, s = expected.h, expected.s
    pairs = [(v, expected.after[name], bound.after[name]) for name, v in observed.after.items()]
    pairs += [(observed.h, h, bound.h)] if observed.h is not None else []
    for actual, target, _ in pairs:
        if actual.shape != target.shape:
            problem = f"{prefix}its membrane has shape {list(actual.shape)}, the model's {list(target.shape)}"
            report.fail(layer.name, t, problem)
            layer.membranes_off += h.size
            return False
    near = near_threshold(expected, v_threshold, bound) if edge is None else np.full(h.shape, edge)
    dvs = [absolute_error(actual, target) for actual, target, _ in pairs]
    dv = np.max(dvs, axis=0)
    scaled = np.max([scale_by_bound(d, b) for d, (_, _, b) in zip(dvs, pairs, strict=True)], axis=0)
    is_off = scaled > MEMBRANE
    is_off_or_reset = is_off | ((edge is None) & (dv > (FLIP * abs(v_threshold) or np.inf)))
    is_flip = is_off_or_reset & near if observed.s is None else differing_spikes(observed.s, expected)
    dv, scaled, is_off = np.where(is_flip, 0, dv), np.where(is_flip, 0, scaled), is_off & ~is_flip
    flips, excused, off = int(is_flip.sum()), int((is_flip & near).sum()), int(is_off.sum())
    layer.mismatches += flips
    layer.excused += excused
    layer.membranes_off += off
    largest = float(np.finfo(np.float32).max)  # JSON has no infinity
    layer.max_abs_dv = max(layer.max_abs_dv, min(float(dv.max(initial=0)), largest))
    layer.max_scaled_dv = max(layer.max_scaled_dv, min(float(scaled.max(initial=0)), largest))
    shown = observed.s is not None and expected.values == "spikes"
    not_binary = int(np.sum((observed.s != 0) & (observed.s != 1))) if shown else 0
    if flips > excused:
        report.fail(layer.name, t, f"{prefix}{flips - excused} of {s.size} spikes differ, away from the threshold")
    elif off:
        report.fail(layer.name, t, f"{prefix}{off} of {s.size} membranes differ, by up to {dv.max():.2g}")
    elif not_binary:
        report.fail(layer.name, t, f"{prefix}{not_binary} of {s.size} spikes are neither 0 nor 1")
    return not (flips or off or not_binary)


def near_threshold(expected: LayerStep, v_threshold: float, bound: LayerBound) -> Array:
    """Return which neurons of a layer are so near the threshold that rounding decides their spikes, bool [1, ...]."""
    near = np.abs(expected.h - v_threshold) < bound.h
    return near if expected.flips_within is None else near | expected.flips_within(bound.h)


def differing_spikes(spikes: Array, expected: LayerStep) -> Array:
    """Return which of a layer's spikes [...] differ from the expected ones, bool [...].

    Graded values (not only 0 and 1) may differ by rounding.
    """
    if expected.values == "spikes":
        return np.not_equal(spikes > 0.5, expected.s > 0.5)
    return np.asarray(~(np.abs(spikes - expected.s) <= ROWS * np.maximum(1, np.abs(expected.s))))


def absolute_error(values: Array, expected: Array) -> Array:
    """Return |values - expected| of two arrays [...]; infinite for NaN, so that a NaN counts as different."""
    return np.asarray(np.nan_to_num(np.abs(values - expected), nan=np.inf, posinf=np.inf))


def scale_by_bound(dv: Array, bound: Array) -> Array:
    """Return errors [...] divided by their bounds; 0 for no error, infinite for an error with bound 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(dv == 0, 0, dv / bound)


def count_mismatches(values: Array, expected: Array, bound: Array | float = 0.0) -> int:
    """Count the values that differ in two float32 arrays [...] of one shape; a NaN differs.

    The tolerance is the larger of 10 bounds and ROWS max(1, |expected|).
    """
    tolerance = np.maximum(MEMBRANE * np.asarray(bound), ROWS * np.maximum(1, np.abs(expected)))
    return int(np.sum(~(np.abs(values - expected) <= tolerance)))
