"""A UDP port that anybody can reach: garbage stops no stream, an overload has bounds, and every event is counted."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.core.api import Model
from runtime.core.events import make_events
from runtime.sources.udp.datagrams import DATAGRAM_FORMATS, encode_datagrams
from tests.live import SlowObserver, StreamThread, balanced, free_port, until
from tests.runtime.core.test_stream_live import artifact, model
from tests.runtime.sources.udp.conftest import Clock

__all__ = ["artifact", "model"]  # fixtures


def garbage(random: np.random.Generator, body: bytes, largest: int) -> bytes:
    """Random bytes, a datagram that was cut, one that is far too long, or one with a flipped bit in each of its bytes."""
    kind = int(random.integers(4))
    if kind == 0:
        return random.bytes(int(random.integers(0, 300)))
    if kind == 1:
        return body[: int(random.integers(0, len(body)))]
    if kind == 2:
        return random.bytes(int(random.integers(20_000, largest)))
    return bytes(byte ^ (1 << int(random.integers(8))) for byte in body)


@pytest.mark.parametrize("form", DATAGRAM_FORMATS)
@pytest.mark.parametrize("datagrams", (300, pytest.param(3000, marks=pytest.mark.large)))
def test_a_port_that_is_flooded_with_garbage_stops_no_stream_and_all_is_counted(
    model: Model, form: str, datagrams: int, clock: Clock
) -> None:
    """A millisecond a datagram, by a clock of the test, each received before the next. On a clock of its own a busy machine
    stops the sender for 0.25 s, and a jump is believed for a moment (timeline.py); or it leaves datagrams on their way, and
    garbage without a time, which counts as of now, is ahead of them. Then honest events are late, as they have to be."""
    random = np.random.default_rng(7)
    spec = f"udp://127.0.0.1:{free_port()}?format={form}"
    seen = SlowObserver()
    running = model.stream(spec if form == "jaer" else spec + "&sensor=34x34", overload="drop:100000", observers=[seen])
    source = running.streams[0].source
    source.tick_s = None  # for the same reason: it is not silent
    there = StreamThread(running)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(("127.0.0.1", int(spec.split(":")[2].split("?")[0])))
        sent = 0
        for number in range(datagrams):
            clock.now_us += 1000
            t_us = np.linspace(clock.now_us - 999, clock.now_us, 10).astype(np.int64)
            honest = make_events(t_us, random.integers(0, 34, 10), random.integers(0, 34, 10), np.ones(10))
            (body,) = encode_datagrams(honest, form, 10, number)
            bodies = [body, *(garbage(random, body, 60_000) for _ in range(3))]
            for one in bodies:
                sender.send(one)
            sent += len(bodies)
            until(lambda: source.datagrams["received"] == sent or there.error)  # noqa: B023
        assert there.error is None and there.thread.is_alive()
    running.controls.end()
    summary = there.end().running.summary()
    assert there.error is None and balanced(summary)
    assert summary["datagrams"]["dropped_by_kernel"] == 0 and summary["datagrams"]["malformed"] > datagrams / 4
    assert summary["events_invalid"] > datagrams
    assert summary["events_late"] <= datagrams // 10, "of garbage whose time is one of the last second"
    assert summary["events_in"] - summary["events_invalid"] >= 10 * datagrams, "no honest event is refused"


@pytest.mark.parametrize("overload", ("merge:4", "drop:4"))
@pytest.mark.parametrize("seconds", (1.0, pytest.param(60.0, marks=pytest.mark.large)))
def test_a_feed_ten_times_faster_than_real_time_stays_within_bounds_and_is_counted_exactly(
    model: Model, overload: str, seconds: float
) -> None:
    """20 ms frames, each step takes 4 ms, and the feed's time runs ten times faster than ours: half of it is too much."""
    port = free_port()
    spec = f"udp://127.0.0.1:{port}?format=t64&sensor=34x34&end=2s"
    rss: list[int] = []

    class Watch(SlowObserver):
        def on_decision(self, decision: Any) -> None:
            rss.append(int(Path("/proc/self/statm").read_text().split()[1]) * 4096)

    seen = Watch(0.004)
    running = model.stream(spec, overload=overload, observers=[seen], framing="duration:20ms")
    sent: list[int] = []

    def camera() -> None:
        random, began_s, t_us = np.random.default_rng(0), time.monotonic(), 0
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.connect(("127.0.0.1", port))
            while t_us < 10e6 * seconds:
                events = make_events(
                    t_us + np.arange(100) * 50, random.integers(0, 34, 100), random.integers(0, 34, 100), np.ones(100)
                )
                sender.send(next(encode_datagrams(events, "t64", 100)))
                sent.append(100)
                t_us += 5000
                time.sleep(max(0.0, began_s + t_us / 10e6 - time.monotonic()))

    feeding = threading.Thread(target=camera)
    feeding.start()
    there = StreamThread(running, keep=seconds < 30)
    feeding.join()
    summary = there.end().running.summary() if seconds < 30 else finished(there)
    lost = 100 * summary["datagrams"]["dropped_by_kernel"]
    assert there.error is None and balanced(summary) and summary["events_in"] + lost == sum(sent)
    assert summary["events_late"] == summary["events_invalid"] == 0 and summary["waiting_most"] <= 4
    assert summary["events_used"] == sum(events for _, _, events in seen.frames)
    assert summary["events_dropped"] == summary["events_in"] - summary["events_used"]
    if overload.startswith("merge"):
        assert summary["events_dropped"] == 0 and summary["frames_merged"] > 20
    else:
        assert summary["events_dropped"] > 0 and summary["frames_dropped"] > 20
    if seconds > 30:
        assert rss[-1] - rss[len(rss) // 10] < 5_000_000


def finished(there: StreamThread) -> dict[str, Any]:
    there.thread.join(timeout=120)
    assert not there.thread.is_alive()
    return dict(there.running.summary())
