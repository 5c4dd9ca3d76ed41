"""`plif bench`: latency and throughput of artifacts side by side, with firing rates and proof beside the times.

All of them run in one process and take turns, so that a machine that slows down slows all of them. The stimulus is the
same for all artifacts of one input shape: event-like counts, or a constant image for still-image models. After the
measurement comes silence: 300 empty steps, then the time of a step again (membranes that fade away must not cost more).
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from runtime.commands.bench.options import BenchOptions
from runtime.core.api import load
from runtime.core.base.errors import PlifError
from runtime.core.base.files import measure
from runtime.core.engines.model import OpenModel
from runtime.core.events.stimulus import seen_by
from runtime.core.measure.results import Measurement
from runtime.core.model.grids import named_in

SILENT_STEPS = 300
STEPS_A_TURN = 10


class _Candidate:
    """An opened artifact, its stimulus x float32 [STEPS_A_TURN, streams, C, H, W], and the times of its steps."""

    def __init__(self, path: str | Path, engine: str, streams: int, threads: int | None) -> None:
        model = load(path, engine, threads=threads)
        if model.unrolled:
            raise PlifError(f"{path}: is unrolled over T={model.T}; bench times single steps, plif eval times batches")
        parity, choice = model.card.get("parity"), model.engine_choice
        self.path, self.session = path, model.session(streams)
        self.x = seen_by(model.card, STEPS_A_TURN, streams, np.random.default_rng(0))
        self.times_ms: list[float] = []
        self.result = Measurement(
            Path(path).name,
            model.engine.name,
            model.card["precision"],
            streams,
            threads,
            spike_mismatches=parity.get("spike_mismatches") if isinstance(parity, dict) else None,
            bytes=measure(Path(path))[0],
            weights=named_in(model.card),
            adapter=model.engine.adapter,
            engine_reason=choice.reason if choice is not None and choice.asked == "auto" else None,
        )

    def step(self, x: np.ndarray) -> list[float]:
        """Milliseconds of each step, one for each entry of x [steps, streams, C, H, W]."""
        times_ms = []
        for x_t in x:
            began_s = time.perf_counter()
            self.session.step(x_t)
            times_ms.append(1e3 * (time.perf_counter() - began_s))
        return times_ms

    def finish(self) -> None:
        """Percentiles of the times so far; then silence, and the time of a step again."""
        row, times = self.result, self.times_ms
        row.p50_ms, row.p99_ms = (round(float(np.percentile(times, p)), 4) for p in (50, 99))
        row.steps_per_s = round(row.streams * len(times) / (sum(times) / 1e3), 1)
        for _ in range(SILENT_STEPS // len(self.x)):
            silent = self.step(0 * self.x)
        row.after_silence_p50_ms = round(float(np.median(silent)), 4)
        row.rss_mb = round(_memory_mb(), 1)


def time_steps(
    artifacts: Sequence[str | Path],
    how: BenchOptions,
    progress: Callable[[int, int], None] | None = None,
    check: Callable[[OpenModel], object] | None = None,
) -> list[Measurement]:
    """Times every artifact on every engine for about `how.seconds` each.

    check  is given each of them, opened, before anything is measured; it may raise
    Raises PlifError for unrolled artifacts (a call of theirs is T steps; evaluate them instead).
    """
    subjects = [_Candidate(path, engine, how.streams, how.threads) for path in artifacts for engine in how.engine]
    if check is not None:
        for subject in subjects:
            check(subject.session.model)
    for subject in subjects:
        subject.step(subject.x)  # warm up
    began = time.perf_counter()
    budget = how.seconds * len(subjects)
    while time.perf_counter() - began < budget:
        for subject in subjects:
            subject.times_ms += subject.step(subject.x)
        if progress:
            progress(min(int(1000 * (time.perf_counter() - began) / budget), 1000), 1000)
    for subject in subjects:
        subject.finish()
    for subject in subjects:  # at the end, since counting spikes needs an engine of its own, which takes memory
        subject.result.firing_rates = _rates(subject.path, subject.result.engine, subject.x, how.streams)
    return [subject.result for subject in subjects]


def _rates(path: str | Path, engine: str, x: np.ndarray, streams: int) -> dict[str, float]:
    """{layer: mean firing rate (0..1) over the steps of x}, from reset."""
    session = load(path, engine, rates=True).session(streams)
    sums: dict[str, float] = {}
    for x_t in x:
        session.step(x_t)
        for layer, rate in session.rates.items():
            sums[layer] = sums.get(layer, 0.0) + rate / len(x)
    return sums


def _memory_mb() -> float:
    """Resident memory of the process at its largest, in MB (Linux counts kB, macOS bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)
