"""A source that a program pushes events into: the same frames, decisions and account as any other live source."""

from __future__ import annotations

import itertools
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runtime
from runtime import PlifError, PushSource
from runtime.core.events.array import EVENT_DTYPE
from runtime.sources import push
from tests.live import SOURCES, FedSource, StreamThread, balanced, packets_of, said, until

PACKETS = packets_of(SOURCES[0])


def test_what_is_pushed_is_decided_as_if_another_live_source_had_brought_it(digits_onnx: Path) -> None:
    model = runtime.load(digits_onnx)
    expected = said(model.stream(FedSource([*PACKETS]), overload="merge:10000"))
    source = PushSource(34, 34)
    stream = StreamThread(model.stream(source, overload="merge:10000"))
    for packet in PACKETS:
        assert source.push(packet) == len(packet)
    source.end()
    stream.end()
    assert said(stream.decisions) == expected and expected
    summary = stream.running.summary()
    assert balanced(summary) and summary["events_used"] == sum(map(len, PACKETS))


def test_a_buffer_that_the_caller_uses_again_changes_nothing() -> None:
    source, buffer = PushSource(34, 34), np.empty(len(PACKETS[0]), EVENT_DTYPE)
    for packet in PACKETS[:3]:
        buffer[:] = packet
        source.push(buffer)
        buffer[:] = 0
    source.end()
    assert np.array_equal(np.concatenate(list(source.packets())), np.concatenate(PACKETS[:3]))


@pytest.mark.parametrize("shape", ["columns", "metavision", "ros"])
def test_events_are_taken_as_drivers_have_them(shape: str) -> None:
    packet, source = PACKETS[0], PushSource(34, 34)
    if shape == "columns":
        given: Any = tuple(packet[name] for name in "txyp")
    else:
        names = {"metavision": ("x", "y", "p", "t"), "ros": ("x", "y", "polarity", "timestamp")}[shape]
        kinds = ("<u2", "<u2", "<i2", "<i8")
        given = np.empty(len(packet), np.dtype(list(zip(names, kinds, strict=True))))
        for name, field in zip(names, "xypt", strict=True):
            given[name] = packet[field]
    source.push(given)
    source.end()
    assert np.array_equal(np.concatenate(list(source.packets())), packet)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros(3), "expected a structured array"),
        (([1], [2], [3]), "expected a structured array"),
        (([1, 2], [2], [3], [1]), "four arrays of one length"),
        (([0.5], [2], [3], [1]), "t has dtype float64; expected integers"),
        (([1], [2], [float("nan")], [1]), "y has dtype float64"),
        (([1], [2], [3], ["on"]), "p has dtype <U2"),
        (([2**70], [2], [3], [1]), "t has dtype object"),
        ((np.zeros(1, "m8[ms]"), [2], [3], [1]), "t has dtype timedelta64"),
        (([[1], [2, 3]], [2], [3], [1]), "found tuple; expected a structured array"),
        ([(1, 2, 3, 1)] * 4, "found list; expected a structured array"),
        (np.array([(1, 2, 3, 1)] * 4), "an array of int64 .4, 4.; expected a structured array"),
        (np.zeros(2, EVENT_DTYPE)[0], "shapes"),
        (np.zeros(2, [("a", int), ("b", int)]), "expected a structured array .* with t, x, y and p"),
        (None, "found NoneType; expected a structured array"),
        (3, "found int"),
        (object(), "found object"),
        ("text", "shapes"),
    ],
)
def test_what_is_no_event_is_refused_and_adds_nothing(given: Any, message: str) -> None:
    source = PushSource(34, 34)
    with pytest.raises(PlifError, match=message) as caught:
        source.push(given)
    source.end()
    assert list(source.packets()) == [] and "\n" not in str(caught.value)


def test_events_outside_the_sensor_are_counted_and_never_wrapped_into_it() -> None:
    source = PushSource(34, 34)
    source.push(([1, 2, 3], [-1, 65536 + 5, 5], [1, 1, 1], [1, 0, 1]))
    source.end()
    events = np.concatenate(list(source.packets()))
    assert events["x"].tolist() == [5] and source.invalid == 2


@pytest.mark.parametrize("t", [2**64 - 1, 2**63, 2**61, -(2**63)])
def test_a_time_that_cannot_be_is_counted_and_never_another(t: int) -> None:
    source = PushSource(34, 34)
    assert source.push((np.array([t]), [1], [1], [1])) == 1 and source.push(([7], [1], [1], [1])) == 1
    source.end()
    assert np.concatenate(list(source.packets()))["t"].tolist() == [7] and source.invalid == 1
    assert source.notes == ["push: 1 event with an impossible time: not used"]


@pytest.mark.parametrize("sizes", [(1,), (100,), (1, 70_000), (40_000,), (200_000,), (1 << 21,)])
def test_what_waits_takes_13_bytes_an_event_however_it_was_pushed(sizes: tuple[int, ...]) -> None:
    source, packets = PushSource(34, 34), [np.zeros(n, EVENT_DTYPE) for n in sizes]
    tracemalloc.start()
    try:
        pushed = list(itertools.islice(itertools.cycle(packets), 20_000 if sizes == (1,) else 2_000))
        taken = sum(map(source.push, pushed))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken == min(push.MOST_EVENTS, sum(map(len, pushed))) and source.dropped == sum(map(len, pushed)) - taken
    assert held < EVENT_DTYPE.itemsize * (taken + push.BLOCK) + 100_000
    source.end()
    assert sum(map(len, source.packets())) == taken


@pytest.mark.parametrize("each", [1, 999, push.BLOCK, push.BLOCK + 1])
def test_events_come_out_as_they_went_in_whatever_the_sizes_of_pushes_and_packets(each: int) -> None:
    events = np.zeros(2 * push.BLOCK + 5 if each > 1 else 500, EVENT_DTYPE)
    events["t"] = np.arange(len(events))
    source = PushSource(34, 34)
    reading = source.packets(max_events=700)
    got = []
    for start in range(0, len(events), each):
        source.push(events[start : start + each])
        if start // each % 3 == 1:
            got.append(next(reading).copy())
    source.end()
    assert np.array_equal(np.concatenate([*got, *reading]), events)
    assert source.push(events) == 0


def test_what_there_is_no_room_for_is_dropped_and_counted(digits_onnx: Path) -> None:
    source, before = PushSource(34, 34), push.MOST_EVENTS - 700
    assert source.push(np.zeros(before, EVENT_DTYPE)) == before
    taken = [source.push(packet) for packet in PACKETS[:3]]
    assert taken == [500, 200, 0] and source.dropped == 800
    source.end()
    running = runtime.load(digits_onnx).stream(source, overload="merge:10000")
    list(running)
    summary = running.summary()
    assert summary["events_in"] == before + 1500 and summary["events_dropped"] >= 800 and balanced(summary)


def test_it_ends_when_told_and_takes_nothing_more(digits_onnx: Path) -> None:
    source = PushSource(34, 34)
    stream = StreamThread(runtime.load(digits_onnx).stream(source))
    pushing = threading.Thread(target=lambda: [source.push(packet) for packet in PACKETS], daemon=True)
    pushing.start()
    pushing.join(30)
    until(lambda: stream.decisions)
    stream.running.close()
    stream.end()
    assert source.push(PACKETS[0]) == 0 and balanced(stream.running.summary())


def test_silence_is_a_loss_and_the_next_push_a_return() -> None:
    source, told = PushSource(34, 34, lost_s=0.01), []
    source.say = told.append
    source.push(PACKETS[0])
    got: list[np.ndarray] = []

    def read() -> None:
        got.extend(source.packets())

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    until(lambda: source.lost)
    source.push(PACKETS[1])
    until(lambda: source.returns == 1)
    source.end()
    reader.join(30)
    assert [len(packet) for packet in got if len(packet)] == [500, 500]
    assert "nothing was pushed" in told[0] and "back after" in told[1]


def test_a_sensor_of_no_size_is_refused() -> None:
    with pytest.raises(PlifError, match="expected a width and a height"):
        PushSource(0, 34)
