"""What tests of live streams share: sources and observers that a test steers, and checks of the outcome."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.events import open_source
from runtime.core.events.frame import Frame
from runtime.core.events.framer import Framer
from runtime.core.events.sources import Source
from runtime.core.stream.observe import Observer
from runtime.core.stream.source_framer import SourceFramer

SOURCES = [f"sim:digits?seed={seed}&seconds={seconds}" for seed, seconds in ((1, 1.1), (2, 0.6), (3, 1.6))]
FIELDS = ("used", "filtered", "late", "invalid", "dropped")


def balanced(summary: dict[str, Any]) -> bool:
    """Whether the account adds up: every event is in one of its fields."""
    return bool(summary["events_in"] == sum(summary[f"events_{field}"] for field in FIELDS))


def said(decisions: Iterable[Any]) -> list[tuple[Any, ...]]:
    """The decisions, without their latency and their source."""
    return [(d.t_us, d.step, d.label, d.index, d.score, d.votes, d.why, d.soft) for d in decisions]


def step(framer: Framer | SourceFramer, frames: Iterable[Frame]) -> None:
    """Enters the events of these frames as used, as a stream does when the network has seen them."""
    for frame in frames:
        framer.account.add(used=frame.events)


def packets_of(spec: str, each: int = 500) -> list[np.ndarray]:
    """The events of a source, `each` of them in a packet."""
    events = np.concatenate(list(open_source(spec).packets()))
    return [events[i : i + each] for i in range(0, len(events), each)]


def free_port() -> int:
    """A UDP port that is free at the moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(true: Callable[[], Any], every_s: float = 0.002) -> None:
    """Waits until the condition holds, and looks every so often; fails the test after a minute."""
    end_s = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end_s, "it did not happen in time"
        time.sleep(every_s)


class FedSource(Source):
    """A live source that a test feeds: packets, None for a loss and a return; it ends when the packets do."""

    format = "test"
    sensor = (34, 34)
    live = True
    endless = True

    def __init__(self, packets: list[np.ndarray | None], each_s: float = 0.0) -> None:
        super().__init__("fed")
        self.feed, self.each_s = packets, each_s
        self.stopped = threading.Event()

    def packets(self, max_events: int = 65536) -> Iterator[np.ndarray]:
        self.begin(max_events)
        for packet in self.feed:
            if packet is None:
                self.returns += 1
                continue
            if self.stopped.wait(self.each_s):
                return
            yield packet

    def close(self) -> None:
        self.stopped.set()


class SlowObserver(Observer):
    """Makes every step take `seconds`, as a larger network would, and stores what it is told."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.frames: list[tuple[int, int, int]] = []
        self.events: dict[str, int] = {}  # by source
        self.notes: list[str] = []
        self.resets: list[tuple[int, str]] = []

    def on_frame(self, source: str, frame: Any, y: np.ndarray, rates: dict[str, float], latency_ms: float) -> None:
        self.frames.append((frame.merged, frame.skipped, frame.events))
        self.events[source] = self.events.get(source, 0) + frame.events
        time.sleep(self.seconds)

    def on_reset(self, source: str, step: int, why: str) -> None:
        self.resets.append((step, why))

    def on_note(self, source: str, text: str) -> None:
        self.notes.append(text)


class StreamThread:
    """Runs a stream to its end in a thread, so that a stream that hangs fails the test instead of blocking it.

    keep   whether its decisions are kept, which takes memory
    """

    def __init__(self, running: Any, keep: bool = True) -> None:
        self.running, self.error, self.decisions, self.keep = running, None, [], keep
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            for decision in self.running:
                if self.keep:
                    self.decisions.append(decision)
        except PlifError as error:
            self.error = error

    def end(self) -> StreamThread:
        self.thread.join(timeout=60)
        assert not self.thread.is_alive(), "the stream hangs"
        return self
