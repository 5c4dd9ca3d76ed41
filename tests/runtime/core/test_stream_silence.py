"""A live feed that falls silent: its time goes on, its answer fades, no event is lost, and a replay gives the same."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest

from runtime.core.events import Framer, make_events, open_source
from runtime.core.events.sources.base import TICK
from runtime.core.stream.source_framer import SourceFramer
from tests.live import SOURCES, FedSource, packets_of, step
from tests.runtime.core.test_stream_live import artifact, model

__all__ = ["artifact", "model"]  # fixtures
SHAPE = (2, 34, 34)
FRAMINGS = ("duration:10ms", "events:n=300,max=10ms")


def at(*t_us: int) -> np.ndarray:
    return make_events(list(t_us), [3] * len(t_us), [4] * len(t_us), [True] * len(t_us))


# --- frames -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_tick_closes_the_frames_that_have_ended_and_no_other(framing: str) -> None:
    framer = Framer(framing, SHAPE, (34, 34))
    assert framer.clock_us is None and list(framer.tick(10**9)) == [], "time begins with the first event"
    assert framer.push(at(1000, 4000)) == []
    assert list(framer.tick(10_999)) == []
    first, second, third = framer.tick(31_500)
    assert [(f.t_start_us, f.t_end_us, f.events) for f in (first, second, third)] == [
        (1000, 11_000, 2),
        (11_000, 21_000, 0),
        (21_000, 31_000, 0),
    ]
    framer.resume(33_000)
    assert framer.push(at(33_000)) == []
    (last,) = framer.close()
    step(framer, [first, second, third, last])
    assert last.t_start_us == 31_000 and last.events == 1 and not last.discontinuity
    assert framer.account.waiting == 0 and framer.account.used == 3


@pytest.mark.parametrize("framing", FRAMINGS)
def test_events_that_were_long_on_their_way_are_not_late_because_of_ticks(framing: str) -> None:
    framer = Framer(framing, SHAPE, (34, 34))
    framer.push(at(1000, 4000))
    ticked = list(framer.tick(5_000_000))
    assert len(ticked) == 499
    framer.resume(5000)
    (again,) = framer.push(at(5000, 12_000))
    assert (again.t_start_us, again.t_end_us, again.events, again.discontinuity) == (1000, 11_000, 1, False)
    assert framer.account.late == 0 and framer.account.waiting == 4
    step(framer, [*ticked, again, *framer.tick(100_000)])
    framer.resume(500)  # before all of that: late, as it would have been
    framer.push(at(500))
    assert framer.account.late == 1 and framer.account.used == 4 and framer.account.waiting == 0


def test_a_sender_that_gathers_events_is_not_silent_meanwhile() -> None:
    """Each packet reaches a second back, and ticks come in between: the frames are those of the recording."""
    events = np.concatenate(packets_of(SOURCES[2]))
    halves = [events[events["t"] < 800_000], events[events["t"] >= 800_000]]

    class Gathering(FedSource):
        def packets(self, max_events: int = 65536) -> Iterator[np.ndarray]:
            for half in halves:
                yield half
                for _ in range(5):
                    time.sleep(0.005)
                    yield TICK

    frames = list(SourceFramer(Gathering([]), "duration:5ms", SHAPE))
    recording = list(SourceFramer(open_source(SOURCES[2]), "duration:5ms", SHAPE))
    assert len(frames) == len(recording) and all((a.x == b.x).all() for a, b in zip(frames, recording, strict=True))


# --- decisions --------------------------------------------------------------------------------------------------------


# --- lag --------------------------------------------------------------------------------------------------------------


def test_lag_counts_from_the_packet_with_the_last_event_of_the_frame() -> None:
    """0.2 s between two packets: the frame that the second one closes is as old as the first one."""

    class Pause(FedSource):
        def packets(self, max_events: int = 65536) -> Iterator[np.ndarray]:
            yield at(0, 1000)
            arrived.append(time.perf_counter())
            time.sleep(0.2)
            yield at(35_000)
            arrived.append(time.perf_counter())

    arrived: list[float] = []
    first, second, third, last = SourceFramer(Pause([]), "duration:10ms", SHAPE)
    assert first.due_s <= arrived[0]
    assert all(arrived[0] + 0.2 <= frame.due_s <= arrived[1] for frame in (second, third, last))
