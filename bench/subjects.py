"""A subject: one engine in a comparison. This file opens ours (an artifact in an engine), times steps and compares spikes.

A subject has `reset()`, `step(x float32 [1, C, H, W])`, and `membranes()`, each layer's v [C, H, W] after the last step. The
spikes are read from these: v == v_reset exactly where the neuron fired.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import runtime
from plif_train.core.network.network import Network
from runtime.core.base.errors import PlifError

EPS = 1e-5  # how near to the threshold a spike that differs is excused, relative to max(1, |h|)


@dataclass
class Subject:
    """One engine in a comparison, the times of its steps, and how many of its spikes differ from the reference's."""

    name: str
    engine: str
    precision: str
    reset: Callable[[], None]
    step: Callable[[np.ndarray], Any]
    membranes: Callable[[], list[np.ndarray]]
    times_ms: list[float] = field(default_factory=list)
    mismatches: int | None = 0
    excused: int = 0

    def row(self, threads: int, **more: Any) -> dict[str, Any]:
        """Return the row that every bench prints with --json."""
        return {
            "name": self.name,
            "engine": self.engine,
            "precision": self.precision,
            "threads": threads,
            "p50_ms": round(float(np.median(self.times_ms)), 4),
            "p99_ms": round(float(np.percentile(self.times_ms, 99)), 4),
            "spike_mismatches": self.mismatches,
            "excused": self.excused,
            **more,
        }


def ours(path: Path, engine: str, name: str, threads: int | None) -> Subject | None:
    """Open an artifact in one of plif's engines; return None, with the reason on stderr, if it does not open."""
    try:
        model = runtime.load(path, engine, threads=threads)
        session = model.session()
        session.step(np.zeros((1, *model.input_shape), np.float32))
    except PlifError as error:
        print(f"{name} is left out: {error}", file=sys.stderr)
        return None
    return Subject(
        name,
        engine,
        model.card["precision"],
        session.reset,
        session.step,
        lambda: [v[0] for v in session.state.values()],
    )


def timed(step: Callable[[np.ndarray], Any], x: np.ndarray) -> list[float]:
    """Return the milliseconds of each step through x float32 [T, B, C, H, W]."""
    times = []
    for x_t in x:
        began = time.perf_counter()
        step(x_t)
        times.append(1e3 * (time.perf_counter() - began))
    return times


def take_turns(subjects: list[Subject], x: np.ndarray, rounds: int, warm_up: int, pause_s: float = 0.02) -> None:
    """In each round every subject steps through x [T, 1, C, H, W] from reset, so that a machine that slows down slows all."""
    for _ in range(rounds):
        for s in subjects:
            s.reset()
            s.times_ms += timed(s.step, x)[warm_up:]
            time.sleep(pause_s)


def compare(net: Network, reference: Subject, subjects: list[Subject], x: np.ndarray) -> None:
    """Count the spikes of each subject that differ from the reference's on x [T, 1, C, H, W], free-running from reset.

    A spike that differs is excused if the side without a spike was within 1e-5 of the threshold: two float32 programs
    need not agree there. Later differences that follow from such a flip are not excused.
    """
    neurons = list(net.neurons().values())
    expected = []
    reference.reset()
    for x_t in x:
        reference.step(x_t)
        expected.append([v.copy() for v in reference.membranes()])
    for s in subjects:
        s.reset()
        s.mismatches = s.excused = 0
        for x_t, truth in zip(x, expected, strict=True):
            s.step(x_t)
            for found, true, neuron in zip(s.membranes(), truth, neurons, strict=True):
                r = np.float32(neuron.v_reset or 0.0)
                # v can come near v_reset by arithmetic, too: then neither side has a spike
                differ = ((found == r) != (true == r)) & (np.abs(found - true) > EPS)
                silent = np.where(found == r, true, found)[differ]  # the side that did not fire keeps its h
                s.mismatches += int(differ.sum())
                s.excused += int(np.sum(np.abs(silent - neuron.v_threshold) < EPS * np.maximum(1, np.abs(silent))))
