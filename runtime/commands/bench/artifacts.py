"""`plif bench`: latency and throughput of artifacts side by side, with their firing rates and proof.

All artifacts run in one process and take turns, so that a machine that slows down slows all of them. The stimulus is
the same for all artifacts of one input shape: event-like counts, or a constant image for still-image models. After
the measurement come 300 empty steps, then one more timing: membranes that fade away must not cost more.
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
from runtime.core.base.files import hash_artifact
from runtime.core.engines.model import OpenModel
from runtime.core.events.stimulus import make_input
from runtime.core.measure.results import Measurement
from runtime.core.model.grids import list_quantized

SILENT_STEPS = 300
STEPS_A_TURN = 10


class _Candidate:
    """An artifact in a benchmark: its session, its input frames (the stimulus), and the measured times of its steps.

    x is float32 [STEPS_A_TURN, streams, C, H, W].
    """

    def __init__(self, path: str | Path, engine: str, options: BenchOptions) -> None:
        streams, threads = options.streams, options.threads
        model = load(path, engine, threads=threads, confined=options.confined)
        if model.unrolled:
            raise PlifError(f"{path}: is unrolled over T={model.T}; bench times single steps, plif eval times batches")
        parity, choice = model.card.get("parity"), model.engine_choice
        self.path, self.session = path, model.session(streams)
        self.x = make_input(model.card, STEPS_A_TURN, streams, np.random.default_rng(0))
        self.times_ms: list[float] = []
        self.measurement = Measurement(
            Path(path).name,
            model.engine.name,
            model.card["precision"],
            streams,
            threads,
            spike_mismatches=parity.get("spike_mismatches") if isinstance(parity, dict) else None,
            bytes=hash_artifact(Path(path))[0],
            weights=list_quantized(model.card),
            adapter=model.engine.adapter,
            engine_reason=choice.reason if choice is not None and choice.requested == "auto" else None,
        )

    def step(self, x: np.ndarray) -> list[float]:
        """Run an artifact one step for each entry of x [steps, streams, C, H, W]; return each step's milliseconds."""
        times_ms = []
        for x_t in x:
            began_s = time.perf_counter()
            self.session.step(x_t)
            times_ms.append(1e3 * (time.perf_counter() - began_s))
        return times_ms

    def finish(self) -> None:
        """Finish the benchmark of an artifact: compute percentiles of its step times, then time steps on empty frames."""
        row, times = self.measurement, self.times_ms
        row.p50_ms, row.p99_ms = (round(float(np.percentile(times, p)), 4) for p in (50, 99))
        row.steps_per_s = round(row.streams * len(times) / (sum(times) / 1e3), 1)
        for _ in range(SILENT_STEPS // len(self.x)):
            silent_ms = self.step(0 * self.x)
        row.after_silence_p50_ms = round(float(np.median(silent_ms)), 4)
        row.rss_mb = round(_peak_memory_mb(), 1)


def time_steps(
    artifacts: Sequence[str | Path],
    options: BenchOptions,
    progress: Callable[[int, int], None] | None = None,
    check: Callable[[OpenModel], object] | None = None,
) -> list[Measurement]:
    """Measure the times of single steps of each artifact on each engine, for about `options.seconds` each.

    check  is called with each opened model before anything is measured; it may raise

    Raises PlifError for unrolled artifacts: one call runs T steps, so evaluate them instead.
    """
    candidates = [_Candidate(path, engine, options) for path in artifacts for engine in options.engine]
    if check is not None:
        for candidate in candidates:
            check(candidate.session.model)
    for candidate in candidates:
        candidate.step(candidate.x)  # warm up
    began = time.perf_counter()
    budget = options.seconds * len(candidates)
    while time.perf_counter() - began < budget:
        for candidate in candidates:
            candidate.times_ms += candidate.step(candidate.x)
        if progress:
            progress(min(int(1000 * (time.perf_counter() - began) / budget), 1000), 1000)
    for candidate in candidates:
        candidate.finish()
    for candidate in candidates:  # last: counting spikes opens a second engine, which takes memory
        candidate.measurement.firing_rates = _measure_rates(
            candidate.path, candidate.measurement.engine, candidate.x, options
        )
    return [candidate.measurement for candidate in candidates]


def _measure_rates(path: str | Path, engine: str, x: np.ndarray, options: BenchOptions) -> dict[str, float]:
    """Measure the mean firing rate (0..1) of each layer of an artifact, over the steps of x from reset.

    x is float32 [steps, streams, C, H, W].
    """
    session = load(path, engine, rates=True, confined=options.confined).session(options.streams)
    sums: dict[str, float] = {}
    for x_t in x:
        session.step(x_t)
        for layer, rate in session.rates.items():
            sums[layer] = sums.get(layer, 0.0) + rate / len(x)
    return sums


def _peak_memory_mb() -> float:
    """Return the peak resident memory of this process in MB (Linux counts kB, macOS bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)
