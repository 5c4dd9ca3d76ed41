"""Long silence and long runs: membranes stay numbers, and memory, threads and open files stay where they were.

No clock is asserted here: bench/silence.py, bench/soak.py, bench/soak_live.py and bench/soak_files.py measure how long it takes.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.core.events import make_events
from tests.conftest import REPOSITORY
from tests.live import FedSource, balanced
from tests.networks import firing, frames
from tests.reliability.opened import ENGINES, Artifacts, opened, spiking_frames

SILENT = 5_000  # steps
LENGTHS = [pytest.param(6_000, id="6k"), pytest.param(1_000_000, id="1M", marks=pytest.mark.large)]  # steps
WARM = 1_000  # steps after which everything that is made on demand has been made
GROWTH, MADE_ONCE = 5_000_000, 25_000_000  # bytes


@pytest.mark.parametrize("engine", ENGINES)
def test_five_thousand_silent_steps_are_forgotten_and_events_answered_as_ever(engine: str, tmp_path: Path) -> None:
    """Without normalisation, whose shift is a current of its own, nothing fires in silence, and membranes fade to zero."""
    net = firing("c8k3s1-PLIF-MPk2s2-DP-FC30-PLIF-APk10s10")
    x = frames(net, np.random.default_rng(8), T=20, streams=1)
    model = opened(engine, net, tmp_path, threads=1)
    session = model.session()
    active = session.run(x)
    for _ in range(SILENT):
        y = session.step(0 * x[0])
        assert not y.any()
    assert session.steps[0] == len(x) + SILENT and active.any()
    assert all(np.abs(v).max() < 1e-30 for v in session.snapshot())  # not NaN, either
    np.testing.assert_array_equal(session.run(x), active)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_network_that_fires_in_silence_stays_within_numbers(artifacts: Artifacts, engine: str) -> None:
    x = spiking_frames()[:, :1]
    session = artifacts.load(engine, threads=1).session()
    session.run(x)
    fired, largest = 0.0, 0.0
    for t in range(SILENT):
        fired += float(session.step(0 * x[0]).sum())
        if t == 100:
            largest = max(float(np.abs(v).max()) for v in session.snapshot())
    assert fired > 100, "it fires in silence, by the shift of its normalisation"
    for v in session.snapshot():
        assert np.isfinite(v).all() and np.abs(v).max() <= 2 * largest + 1
    assert session.run(x).any()


# --- a soak -----------------------------------------------------------------------------------------------------------


class Resources:
    """What this process holds: bytes of memory, threads (the engine's, too), and open files."""

    def __init__(self) -> None:
        gc.collect()
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        # its own pages: those of libraries, which it shares, the system takes and brings back as it likes
        resident, shared = (int(pages) for pages in Path("/proc/self/statm").read_text().split()[1:3])
        self.memory = (resident - shared) * os.sysconf("SC_PAGE_SIZE")
        self.counts = {
            "threads": int(status["Threads"]),
            "Python threads": threading.active_count(),
            "open files": len(os.listdir("/proc/self/fd")),
        }


class Watch:
    """Called after each step: resources after WARM steps and at five times, no count above the first.

    What leaks grows from each time to the next. What is made once, when two threads first meet, does not: so the median
    counts, of what each fifth of the steps added, and on a busy machine no single one, up to MADE_ONCE in all."""

    def __init__(self, steps: int) -> None:
        self.every, self.seen = steps // 5, 0
        self.first: Resources | None = None
        self.memory: list[int] = []

    def __call__(self) -> None:
        self.seen += 1
        if self.seen == WARM:
            self.first = Resources()
            self.memory.append(self.first.memory)
        elif self.seen > WARM and self.seen % self.every == 0:
            now = Resources()
            assert self.first is not None
            more = {name: n for name, n in now.counts.items() if n > self.first.counts[name]}
            assert not more, f"{more} after {self.seen} steps, {self.first.counts} after {WARM}"
            self.memory.append(now.memory)

    def leak(self) -> int:
        """Bytes that all steps would have added, if each fifth added the median."""
        assert len(self.memory) >= 5
        leak = 5 * int(np.median(np.diff(self.memory)))
        assert leak <= GROWTH and max(self.memory) - self.memory[0] <= MADE_ONCE, (
            f"{leak / 1e6:.1f} MB more; MB after {WARM} steps and each fifth: {np.array(self.memory) / 1e6}"
        )
        return leak


needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc here")


@pytest.mark.one_in(3)
@needs_proc
@pytest.mark.parametrize("steps", LENGTHS)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_session_holds_no_more_after_a_million_steps_than_after_a_thousand(
    artifacts: Artifacts, engine: str, steps: int, record_property: Callable[[str, Any], None]
) -> None:
    x = spiking_frames()
    session, watch = artifacts.load(engine, threads=1).session(2), Watch(steps)
    for t in range(steps):
        if t % (steps // 5) == 500:  # another model comes, with threads of its own, and goes
            artifacts.load(engine, threads=2).session().step(x[0, :1])
        if t % 3:
            session.step(x[t % len(x), :2])
        else:
            session.step(x[t % len(x), :1], [t % 2])
        if t % 997 == 0:
            session.restore(session.snapshot())
            session.reset([0])
        watch()
    record_property("bytes more", watch.leak())
    assert session.steps[1] > steps // 2


class Scene(FedSource):
    """Frames of a millisecond with some events each, for ever; now and then nothing comes, and now and then too late."""

    waits = True
    sensor = (16, 16)

    def __init__(self, frames: int) -> None:
        super().__init__([])
        self.frames = frames

    def packets(self, max_events: int = 65536) -> Iterator[np.ndarray]:
        self.begin(max_events)
        rng = np.random.default_rng(0)
        t, x, y, p = np.sort(rng.integers(0, 100_000, 4000)), *rng.integers(0, 16, (2, 4000)), rng.random(4000) < 0.5
        for start_us in range(0, 1000 * self.frames, 100_000):
            packet = make_events(t + start_us, x, y, p)
            if start_us % 700_000 == 0:
                packet = packet[t > 60_000]
            if start_us % 1_100_000 == 0 and start_us:
                packet["t"][:50] -= 200_000
            yield packet
        yield make_events([1000 * self.frames], [0], [0], [True])


@needs_proc
@pytest.mark.parametrize("steps", LENGTHS)
def test_a_stream_holds_no_more_after_a_million_frames_than_after_a_thousand(
    artifacts: Artifacts, steps: int, record_property: Callable[[str, Any], None]
) -> None:
    model, watch = artifacts.load("onnxruntime", threads=1), Watch(steps)
    running = model.stream(
        Scene(steps),
        framing="duration:1ms",
        filters="refractory:500us,background:10ms",
        decide="leak:100ms,margin=0.1,idle=500",
        reset="silence:20",
    )
    for _ in running:
        watch()
    summary = running.summary()
    record_property("bytes more", watch.leak())
    assert summary["frames"] > steps - 200 and balanced(summary) and summary["events_late"] > 0


# --- the commands for an hour -----------------------------------------------------------------------------------------


def measured(*words: str) -> str:
    done = subprocess.run([sys.executable, *words], cwd=REPOSITORY, capture_output=True, text=True, timeout=1200)
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


@pytest.mark.large
@needs_proc
def test_half_a_minute_of_the_hour_ends_with_full_accounts_and_a_whole_recording(tmp_path: Path) -> None:
    """Two feeds, a camera that is lost twice, a clock that wraps, the dashboard, SIGTERM; times and memory are not judged."""
    out = tmp_path / "soak"
    words = ["--minutes", "0.5", "--rate", "100000", "--losses", "2", "--no-browser", "--out", str(out)]
    measured("bench/soak_live.py", *words)
    result = json.loads(out.with_suffix(".json").read_text())
    assert result["tenths"][-1]["pss_mb"] > 1 and out.with_suffix(".png").exists()
    about = ("account", "recording is", "decisions", "ended with", "did not answer")
    assert not [one for one in result["wrong"] if any(words in one for words in about)]
    assert all(balanced(summary) and summary["events_used"] > 1000 for summary in result["summaries"])


@pytest.mark.large
@needs_proc
def test_a_simulated_minute_is_told_minute_by_minute() -> None:
    lines = measured("bench/soak.py", "--minutes", "1").splitlines()
    assert lines[1].split()[:2] == ["minute", "steps"] and int(lines[2].split()[1]) > 1000


@pytest.mark.large
@needs_proc
@pytest.mark.parametrize(
    "words",
    [("predict", "--files", "2000"), ("predict", "--files", "100000"), ("csv", "--gb", "0.05")],
    ids=" ".join,
)
def test_many_files_and_a_long_one_have_all_their_answers_in_the_memory_of_few(words: tuple[str, ...]) -> None:
    result = json.loads(measured("bench/soak_files.py", *words, "--json"))
    assert all(one["found"] == one["count"] > 0 for one in (*result["few"], *result["many"]))
    assert not [one for one in result["wrong"] if "memory" in one]
