"""Which time a sender is believed to tell: one wrong time makes nothing late, a jump loses nothing, and all is counted."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import numpy as np
import pytest

from runtime.core.events import make_events
from runtime.core.events.formats.base import Losses
from runtime.core.stream.source_framer import SourceFramer
from runtime.sources.udp.datagrams import DATAGRAM_FORMATS, TimeUnwrapper, encode_datagrams
from runtime.sources.udp.timeline import Timeline
from tests.live import FedSource, step, until
from tests.runtime.sources.udp.test_udp import ReaderThread, listen

SHAPE = (2, 34, 34)
HOUR_US = 3_600_000_000
START_US = 50_000_000  # of our own clock


def at(*t_us: int) -> np.ndarray:
    return make_events(list(t_us), [3] * len(t_us), [4] * len(t_us), [True] * len(t_us))


class Feed:
    """A timeline, our clock, and what it was given."""

    def __init__(self) -> None:
        self.timeline, self.now_us = Timeline(self._refuse), START_US
        self.believed: list[int] = []
        self.sent = self.refused = 0

    def _refuse(self, count: int) -> None:
        self.refused += count

    def send(self, *t_us: int, after_us: int = 0) -> None:
        """One datagram that comes after_us later."""
        self.now_us += after_us
        self.sent += len(t_us)
        self._take(self.timeline.accept_datagram(at(*t_us), self.now_us))

    def wait(self, us: int) -> None:
        self.now_us += us
        self._take(self.timeline.flush_pending(self.now_us))

    def honest(self, begin_us: int, count: int, every_us: int = 1000) -> None:
        for i in range(count):
            self.send(begin_us + i * every_us, after_us=every_us)

    def _take(self, packets: list[np.ndarray]) -> None:
        for events in packets:
            self.believed += events["t"].tolist()

    def end(self) -> None:
        self._take(self.timeline.flush_pending(self.now_us, end=True))
        assert len(self.believed) + self.refused == self.sent, "nothing is lost uncounted"


# --- wrong times --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ahead_us", (5_000, 50_000, 900_000, 1_100_000, HOUR_US, -1_100_000, -HOUR_US))
def test_a_wrong_time_is_refused_however_far_off_and_makes_nothing_late(ahead_us: int) -> None:
    feed = Feed()
    for i in range(2000):
        feed.send(10 * HOUR_US + 1000 * i, after_us=1000)
        if i % 100 == 50:
            feed.send(10 * HOUR_US + 1000 * i + ahead_us)
    feed.end()
    assert feed.believed == [10 * HOUR_US + 1000 * i for i in range(2000)] and feed.refused == 20


@pytest.mark.parametrize("bit", range(13, 63))
def test_one_flipped_bit_of_a_time_costs_no_event_of_another_datagram(bit: int) -> None:
    feed = Feed()
    sent = [10 * HOUR_US + 1000 * i for i in range(100)]
    for i, t_us in enumerate(sent):
        feed.send(t_us ^ (1 << bit) if i == 50 else t_us, after_us=1000)
    feed.end()
    assert feed.believed == sent[:50] + [sent[50] ^ (1 << bit)] * (1 - feed.refused) + sent[51:]
    assert feed.refused == 1 or (abs((sent[50] ^ (1 << bit)) - sent[50]) < 1_000_000 and feed.believed[50] < sent[50])


def test_a_wrong_time_in_a_feed_that_is_as_slow_as_it_is_far_is_refused() -> None:
    feed = Feed()
    for i in range(300):
        feed.send(100_000 * i, after_us=50_000)
        feed.send(100_000 * i + 950_000, after_us=50_000)
    feed.send(30_000_000, after_us=50_000)
    feed.end()
    assert feed.believed == [100_000 * i for i in range(301)] and feed.refused == 300


def test_a_wrong_time_in_a_feed_that_is_slower_still_is_past_when_it_is_believed() -> None:
    feed = Feed()
    for i in range(20):
        feed.send(1_200_000 * i, after_us=1_100_000)
        feed.send(1_200_000 * i + 999_000, after_us=100_000)
        feed.wait(1_000_000)
        feed.now_us -= 1_000_000
    feed.end()
    assert feed.refused == 0 and feed.believed == sorted(feed.believed)


def test_a_wrong_time_in_a_feed_that_is_faster_than_real_time_is_refused() -> None:
    feed = Feed()
    for i in range(3000):
        feed.send(20_000 * i, after_us=100)
        if i % 100 == 50:
            feed.send(20_000 * i + 900_000)
    feed.end()
    assert feed.believed == [20_000 * i for i in range(3000)] and feed.refused == 30


def test_datagrams_that_are_late_on_their_way_or_come_in_a_burst_are_no_jump() -> None:
    feed, random = Feed(), np.random.default_rng(0)
    for i in range(2000):
        due_us = START_US + 1000 * i + int(random.integers(0, 30_000))
        if 1000 <= i < 1300:
            due_us = max(due_us, START_US + 1_300_000)  # nothing came for 0.3 s, and then all at once
        feed.now_us = max(feed.now_us, due_us)
        feed.send(1000 * i)
    feed.end()
    assert feed.believed == [1000 * i for i in range(2000)]


# --- honest jumps -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("to_us", (0, 3_000_000, HOUR_US, 20 * HOUR_US))
def test_a_camera_that_begins_again_at_another_time_is_believed_when_a_second_datagram_agrees(to_us: int) -> None:
    feed = Feed()
    feed.honest(10 * HOUR_US, 100)
    feed.send(to_us, after_us=1000)
    assert feed.believed[-1] == 10 * HOUR_US + 99_000
    feed.send(to_us + 1000, after_us=1000)
    assert feed.believed[-1] in (to_us, to_us + 1000)
    feed.honest(to_us + 2000, 100)
    feed.end()
    assert feed.believed[100:] == [to_us + 1000 * i for i in range(102)] and feed.refused == 0


@pytest.mark.parametrize("first", ([1, 0], [0, None, 1], [1, None, 0]))
def test_a_camera_that_begins_again_loses_nothing_where_datagrams_change_places(first: list[int | None]) -> None:
    """None is one of before, that was long on its way."""
    feed = Feed()
    feed.honest(10 * HOUR_US, 100)
    sent = [10 * HOUR_US + 50_000 if i is None else 10_000 * i for i in first]
    for t_us in sent:
        feed.send(t_us, after_us=1000)
    feed.honest(20_000, 10)
    assert sorted(feed.believed[100:]) == sorted([*sent, *(20_000 + 1000 * i for i in range(10))])
    feed.send(529_000, after_us=1000)  # a wrong time, as the new clock says
    feed.send(31_000, after_us=1000)
    assert feed.refused == 1 and feed.believed[-1] == 31_000


@pytest.mark.parametrize("to_us", (0, 20 * HOUR_US))
def test_after_a_jump_datagrams_are_given_at_once_again(to_us: int) -> None:
    feed = Feed()
    feed.honest(10 * HOUR_US, 100)
    feed.honest(to_us, 3, every_us=5000)
    assert feed.believed[100:] == [to_us, to_us + 5000, to_us + 10_000]


def test_what_was_quick_on_its_way_is_given_at_once_where_others_were_as_quick() -> None:
    feed = Feed()
    feed.honest(0, 100)
    feed.send(100_000, after_us=21_000)  # 20 ms late
    feed.send(119_000, after_us=-1000)
    assert feed.believed[-1] == 119_000


def test_a_sender_that_is_slower_than_real_time_is_followed() -> None:
    feed = Feed()
    for i in range(1000):
        feed.send(1000 * i, after_us=2000)
    expected_us = feed.timeline.expected_us(feed.now_us)
    assert expected_us is not None and 999_000 <= expected_us <= 1_049_000


@pytest.mark.parametrize("pause_us", (2_000_000, HOUR_US, 30 * HOUR_US))
@pytest.mark.parametrize("clock_goes_on", (True, False))
def test_after_a_pause_the_first_datagram_is_believed_at_once(pause_us: int, clock_goes_on: bool) -> None:
    feed = Feed()
    feed.honest(0, 100)
    feed.wait(pause_us)
    t_us = 100_000 + pause_us * clock_goes_on
    feed.send(t_us, after_us=1000)
    assert feed.believed[-1] == t_us


def test_one_datagram_that_jumps_and_then_silence_is_not_kept_back_for_ever() -> None:
    feed = Feed()
    feed.honest(0, 100)
    feed.send(HOUR_US, after_us=1000)
    due_us = feed.timeline.due_us
    assert due_us is not None and due_us - feed.now_us <= 1_000_000 and len(feed.believed) == 100
    feed.wait(due_us - feed.now_us - 1)
    assert len(feed.believed) == 100
    feed.wait(1)
    assert feed.believed[-1] == HOUR_US and feed.timeline.due_us is None


@pytest.mark.parametrize("every_us", (500, 20_000, 999_000, 5_000_000))
@pytest.mark.parametrize("took_us", (10, 1000))
def test_a_recording_that_is_sent_faster_than_real_time_loses_no_event(every_us: int, took_us: int) -> None:
    feed = Feed()
    for i in range(1000):
        feed.send(every_us * i, after_us=took_us)
    feed.end()
    assert feed.believed == [every_us * i for i in range(1000)] and feed.refused == 0


# --- 32 bits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ("t32", "spif", "jaer"))
def test_datagrams_that_change_places_where_32_bits_end_are_not_an_hour_apart(form: str) -> None:
    t_us = 2**32 + np.array([-3000, -2000, -1000, 1000, 0, 2000, -500, 3000, 4000])
    decoder = DATAGRAM_FORMATS[form].decoder(Losses())
    decoder.unwrap.expected_us = 2**32 - 4000
    read: list[int] = []
    for body in encode_datagrams(at(*t_us.tolist()), form, 1):
        read += decoder.feed(np.frombuffer(body, np.uint8), [len(body)], [0])["t"].tolist()
    assert read == t_us.tolist()


@pytest.mark.parametrize("pause_us", (HOUR_US, 2 * HOUR_US, 30 * HOUR_US))
def test_32_bits_mean_the_time_that_is_expected_after_any_pause(pause_us: int) -> None:
    feed, nearest = Feed(), TimeUnwrapper()
    feed.honest(2**32 - 50_000, 100)
    feed.wait(pause_us)
    nearest.expected_us = feed.timeline.expected_us(feed.now_us)
    t_us = 2**32 + 50_000 + pause_us
    assert nearest(np.array([t_us & 0xFFFFFFFF], np.uint32)).tolist() == [t_us]


# --- over a socket ----------------------------------------------------------------------------------------------------


def with_wrong_times(honest: np.ndarray, every: int, each: int) -> Iterator[np.ndarray]:
    """The events in pieces of `each`, and one that is 0.9 s ahead after each `every` of them."""
    for number, begin in enumerate(range(0, len(honest), each), 1):
        piece = honest[begin : begin + each]
        yield piece
        if number % every == 0:
            yield at(int(piece["t"][-1]) + 900_000)


@pytest.mark.parametrize("form", ("t64", "t32"))
def test_ten_wrong_times_a_second_make_no_other_event_late(form: str) -> None:
    """30 s at 1000 events a second, sent as fast as they go; t32 starts again in the middle."""
    honest = at(*(2**32 - 15_000_000 + np.arange(30_000) * 1000).tolist())
    source = listen(f"format={form}", sensor="&sensor=34x34")
    said: list[str] = []
    source.say = said.append
    frames = SourceFramer(source, "duration:10ms", SHAPE)
    source.tick_s = None  # however slow this machine is, the sender is not silent
    reading = Frames(frames)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(("127.0.0.1", source.port))
        sent = 0
        for piece in [*with_wrong_times(honest[:-1], 10, 10), honest[-1:]]:
            sent += len(piece)
            sender.send(next(encode_datagrams(piece, form, len(piece))))
            until(lambda: source.datagrams["received"] > sent // 10 - 1000)  # noqa: B023
        until(lambda: frames.account.events_in + source.datagrams["dropped_by_kernel"] >= sent - 10)
    source.close()
    reading.end()
    account = frames.account
    account.close()
    assert account.waiting == 0 and account.late == 0
    assert account.used == 30_000 and account.invalid == account.events_in - 30_000 == 300
    assert sum("refused" in line for line in said) == 1
    assert any("300 events" in note and "no other datagram confirmed" in note for note in source.notes)


class Frames(ReaderThread):
    """Frames a source in a thread, as if each frame were stepped."""

    def __init__(self, frames: SourceFramer) -> None:
        self.frames = frames
        super().__init__(frames.source)  # type: ignore[arg-type]

    def _run(self) -> None:
        step(self.frames, self.frames)

    def end(self) -> None:
        self.thread.join(timeout=60)
        assert not self.thread.is_alive()


@pytest.fixture
def now_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock by which frames are made from a feed: a test sets its only entry."""
    clock = [100.0]
    monkeypatch.setattr("runtime.core.stream.source_framer.time.perf_counter", lambda: clock[0])
    return clock


def test_a_feed_most_of_whose_events_are_late_says_so_once(now_s: list[float]) -> None:
    class Behind(FedSource):
        def packets(self, max_events: int = 65536) -> Iterator[np.ndarray]:
            for i in range(300):
                now_s[0] += 0.01
                yield at(900_000 + 10_000 * i)  # of somebody else
                yield at(*range(10_000 * i, 10_000 * i + 5000, 1000))

    source, said = Behind([]), []
    source.say = said.append
    frames = SourceFramer(source, "duration:10ms", SHAPE)
    step(frames, frames)
    frames.account.close()
    assert frames.account.late > 1000 and frames.account.waiting == 0
    assert source.returns > 1
    assert len(said) == 1 and "events of the last 0.5 s were late" in said[0] and said[0] in frames.notes[0]
    honest, quiet = FedSource([at(*range(10_000 * i, 10_000 * i + 5000, 1000)) for i in range(300)]), []
    honest.say = quiet.append
    frames = SourceFramer(honest, "duration:10ms", SHAPE)
    step(frames, frames)
    assert quiet == [] and frames.notes == []


@pytest.mark.parametrize("back_us", (300_000, 900_000))
def test_after_a_small_step_back_the_frames_follow_when_most_events_were_late_for_half_a_second(
    back_us: int, now_s: list[float]
) -> None:
    class Stepped(FedSource):
        def packets(self, max_events: int = 65536) -> Iterator[np.ndarray]:
            for i in range(300):
                now_s[0] += 0.01
                t_us = 10_000 * i - back_us * (i >= 100)
                yield at(*range(t_us, t_us + 10_000, 1000))

    frames = SourceFramer(Stepped([]), "duration:10ms", SHAPE)
    step(frames, frames)
    frames.account.close()
    most = min(back_us, 750_000) // 1000
    assert frames.account.waiting == 0 and 200 < frames.account.late <= most and frames.source.returns <= 1
    assert (frames.account.late < back_us // 1000) == (frames.source.returns == 1)
