"""Packets and words in the native library: where they lie, straight into frames, numbers made to break it. What frames and words
are, tests/specification says."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.core.base.errors import PlifError
from runtime.core.events import EVENT_DTYPE, make_events, open_source
from runtime.core.events.array import T_LIMIT_US
from runtime.core.events.formats.base import Losses
from runtime.core.events.formats.words import Decoder, Words
from runtime.core.events.framer import Framer
from runtime.core.stream.observe import Observer, Observers
from runtime.core.stream.source_framer import SourceFramer
from runtime.native import interface
from tests.open_frame import OpenFrame, collect, library

LIBRARY = library()

FRAMINGS = (
    "count:T=7",
    "count:T=1",
    "duration:10ms",
    "duration:333us,T=9",
    "duration:2s,T=4,pad=zero",
    "events:n=50,max=20ms",
    "events:n=1,max=1ms",
    "events:n=400,max=5ms,resize=nearest,shape=square",
    "duration:5ms,value=binary,resize=nearest",
    "events:n=4000,max=5ms,value=binary,resize=crop,orientation=sj,polarity=swapped",
)


def noise(seed: int, count: int = 3000) -> np.ndarray:
    """Events of a bad link: jitter, gaps both ways, coordinates off the sensor; some times at the ends of int64."""
    random = np.random.default_rng(seed)
    t = 1_000_000 + np.cumsum(random.choice([0, 3, 70, 900, -400, 30_000, 1_000_000, 1_000_001, -3_000_000], count,
                                            p=[0.2, 0.3, 0.25, 0.2, 0.03, 0.017, 0.001, 0.001, 0.001]))  # fmt: skip
    if seed % 3 == 0:
        ends = np.array([-(1 << 63), (1 << 63) - 1, -(1 << 62), (1 << 62), 0])
        t[random.integers(0, count, 5)] = ends
    return make_events(t, random.integers(0, 70, count), random.integers(0, 52, count), random.random(count) < 0.5)


def test_a_count_stays_where_float32_can_count_no_further() -> None:
    events = make_events(np.zeros(40), np.zeros(40, int), np.zeros(40, int), np.ones(40, bool))
    counts = (ctypes.c_float * 1)((1 << 24) - 7)
    frame = OpenFrame(width=1, height=1, cells=1, most_used=1 << 40, most_seen=1 << 40)
    collect(events, frame, counts, "count:T=1", (1, 1, 1), (1, 1))
    assert list(counts) == [1 << 24] and frame.used == 40


def test_words_between_two_bytes_are_decoded_too() -> None:
    """A view that is not aligned, and one with a stride."""
    random = np.random.default_rng(5)
    raw = random.integers(0, 256, 2001, np.uint8)
    odd, strided = raw[1:].view("<u2"), raw[:2000].view("<u2")[::2]
    for words in (odd, strided):
        expected = Decoder(Words.EVT3).feed(words.copy(), Losses())
        np.testing.assert_array_equal(Decoder(Words.EVT3).feed(words, Losses()), expected)


@pytest.mark.parametrize("name", list(Words))
def test_the_decoder_takes_whole_words_and_writes_no_further_than_it_was_given_room(name: Words) -> None:
    """However little room it gets, the events are those of one call with room for all."""
    data = np.random.default_rng(9).integers(0, 256, 3001, np.uint8)
    data[24::16] = data[25::16] = data[26::16] = 0  # addresses that a DVS128 has
    data[:24].view("<u4")[:] = 4 * [0x80000001] + 2 * [0x80008000]  # a time and a row
    whole = Decoder(name)
    expected, size = whole.feed(data, Losses()), whole.word_bytes
    found, at, decoder, used = [], 0, Decoder(name), ctypes.c_int64()
    while at < len(data) - len(data) % size:
        room = 40 if at % 7 else 33
        out = np.full(13 * room + 12, 0xAA, np.uint8)
        given = data[at:].ctypes.data, len(data) - at, out.ctypes.data, room, ctypes.byref(used)
        made = LIBRARY.plif_decode(name, ctypes.byref(decoder.state), *given)
        assert 0 <= made <= room and used.value > 0 and used.value % size == 0 and (out[13 * made :] == 0xAA).all()
        found.append(out[: 13 * made].view(EVENT_DTYPE))
        at += used.value
    np.testing.assert_array_equal(np.concatenate(found), expected)
    assert len(expected) > 20
    out[:] = 0xAA
    assert LIBRARY.plif_decode(name, ctypes.byref(decoder.state), *given[:3], 0, ctypes.byref(used)) == 0
    assert (out == 0xAA).all()


def test_a_clock_that_starts_again_without_end_goes_on_with_times_that_are_none() -> None:
    words, decoder, losses = np.tile(np.array([0xFFFFFFFF, 0, 0, 0], "<u4"), 9), Decoder(Words.DAT), Losses()
    decoder.state.offset = T_LIMIT_US - (2 << 32)
    t = [*decoder.feed(words, losses)["t"][1::2].tolist(), *decoder.feed(words, losses)["t"][1::2].tolist()]
    assert t == [T_LIMIT_US - (1 << 32), *[T_LIMIT_US] * 17]


class Watching(Observer):
    """Wants to see events, so that they are decoded."""

    def __init__(self) -> None:
        self.seen = 0

    def on_packet(self, source: str, events: np.ndarray, arrived_s: float) -> None:
        self.seen += len(events)


@pytest.mark.parametrize("framing", [f for f in FRAMINGS if not f.startswith("count")])
@pytest.mark.parametrize("sensor", [(2048, 2048), (900, 300)])
def test_words_give_the_frames_that_their_events_give(
    tmp_path: Path, framing: str, sensor: tuple[int, int], cut: Callable[[int], None]
) -> None:
    """Straight into frames, or by way of events: the same frames, account, losses and notes, also where a word is cut in two by
    a frame that is full, lies beyond the sensor or its column 2047, or comes before its time, row or base."""
    for seed in range(6):
        random = np.random.default_rng(seed)
        kind = random.choice([0, 2, 3, 4, 5, 6, 8, 1], 4000, p=[0.1, 0.25, 0.1, 0.2, 0.15, 0.15, 0.04, 0.01])
        words = kind << 12 | random.integers(0, 1 << 12, 4000)
        slow = 0x8000 | np.arange(4000) // (40 if seed % 2 else 4) & 0xFFF  # time, with gaps where it runs fast
        words = np.where(kind == 8, slow, words)
        path = tmp_path / f"{seed}.raw"
        path.write_bytes(b"% evt 3.0\n% end\n" + words.astype("<u2").tobytes() + b"\1" * (seed % 3 == 0))
        cut(1 << 18 if seed % 2 else 34)
        found = []
        for watching in (None, Watching()):
            source = open_source(str(path), sensor=sensor)
            stream = SourceFramer(source, framing, (2, 16, 20), observers=watching and Observers([watching]))
            assert stream.framer.accepts_words
            frames = [(f.x.tobytes(), f.t_start_us, f.t_end_us, f.events, f.discontinuity) for f in stream]
            found.append((frames, stream.account, source.notes, source.count(), stream.framer.time_state.gaps))
        assert found[0] == found[1] and watching.seen == source.count() > 0
        assert stream.account.invalid > 0


def test_a_file_of_words_that_cannot_be_used_is_refused_without_being_decoded(tmp_path: Path) -> None:
    path = tmp_path / "small.raw"
    path.write_bytes(b"% evt 3.0\n% end\n" + np.array([0x8000, 0x6000, 0x0001, *[0x27FF] * 200], "<u2").tobytes())
    stream = SourceFramer(open_source(str(path), sensor=(100, 100)), "duration:10ms", (2, 16, 20))
    with pytest.raises(PlifError, match=r"200 of 200 events cannot be used, read as evt3 .*is the sensor 100x100"):
        list(stream)


@pytest.mark.parametrize("wrong", ["at", "held", "next", "width", "outside"])
def test_words_with_sizes_that_do_not_fit_are_refused(wrong: str) -> None:
    words, tables = np.array([0x8000, 0x0000, 0x2001], "<u2"), np.zeros(4, np.int64)
    frame = OpenFrame(width=5 if wrong == "width" else 4, height=4, cells=16, most_used=9, most_seen=9)
    reader = interface.Evt3Reader(decoder=interface.Decoding.new())
    at, counts = ctypes.c_int64(4 if wrong == "at" else 0), np.zeros(16, np.float32)
    for name, value in (("held", 13), ("next", 1), ("outside", 1 << 62)):
        setattr(reader, name, value if wrong == name else 0)
    given = [ctypes.byref(value) for value in (at, reader, frame)]
    t = tables.ctypes.data
    with pytest.raises(ValueError, match="plif_evt3_collect: sizes that do not fit each other"):
        LIBRARY.plif_evt3_collect(words.ctypes.data, words.nbytes, *given, t, 4, t, 4, t, counts.ctypes.data)
    assert not counts.any()


def test_events_of_another_dtype_are_framed_as_ever() -> None:
    events = noise(2)
    wide = np.zeros(len(events), [("x", "<i8"), ("y", "<i8"), ("p", "?"), ("t", "<i8")])
    for name in EVENT_DTYPE.names:
        wide[name] = events[name]
    one, two = (Framer("duration:10ms", (2, 16, 20), (64, 48)) for _ in range(2))
    for a, b in zip(one.push(events) + one.close(), two.push(wide) + two.close(), strict=True):
        np.testing.assert_array_equal(a.x, b.x)
    assert one.account == two.account


@pytest.mark.parametrize(
    "wrong",
    [
        {"bytes": 13 * 4 - 1},
        {"bytes": -13},
        {"at": -1},
        {"at": 5},
        {"columns": 3},
        {"rows": 3},
        {"width": -1},
        {"cells": -1},
        {"used": -(1 << 63)},
        {"most_used": -1},
        {"invalid": (1 << 63) - 1},
    ],
)
def test_sizes_that_do_not_fit_are_refused_before_anything_is_read(wrong: dict[str, int]) -> None:
    events = make_events(np.zeros(4), np.arange(4), np.arange(4), np.ones(4, bool))
    table, of_p, counts = np.zeros(4, np.int64), np.zeros(2, np.int64), np.zeros(16, np.float32)
    frame = OpenFrame(width=4, height=4, cells=16, most_used=100, most_seen=100)
    given = {"bytes": events.nbytes, "at": 0, "columns": 4, "rows": 4}
    for name, value in wrong.items():
        if name in given:
            given[name] = value
        else:
            setattr(frame, name, value)
    at = ctypes.c_int64(given["at"])
    x, y, p, c = (a.ctypes.data for a in (table, table, of_p, counts))
    tables = (x, given["columns"], y, given["rows"], p)
    with pytest.raises(ValueError, match="plif_collect: sizes that do not fit each other"):
        LIBRARY.plif_collect(
            events.ctypes.data, given["bytes"], ctypes.byref(at), ctypes.byref(frame), *tables, None, c
        )
    assert not counts.any() and at.value == given["at"]


@pytest.mark.parametrize("name", list(Words))
def test_a_decoder_state_that_would_overflow_is_refused(name: Words) -> None:
    words = np.zeros(80, np.uint8)
    for field, _ in interface.Decoding._fields_:
        for value in ((1 << 63) - 1, -(1 << 63)):
            decoder = Decoder(name)
            setattr(decoder.state, field, value)
            with pytest.raises(ValueError, match="plif_decode: sizes that do not fit"):
                decoder.feed(words, Losses())


@pytest.mark.parametrize(("name", "count", "room"), [(7, 8, 8), (-1, 8, 8), (1, -1, 8), (1, 8, -1), (1, 8, 1 << 62)])
def test_a_decoder_refuses_what_is_no_format_and_no_size(name: int, count: int, room: int) -> None:
    words, out, used = np.zeros(8, np.uint8), np.full(104, 0xAA, np.uint8), ctypes.c_int64(5)
    state = ctypes.byref(interface.Decoding.new())
    with pytest.raises(ValueError, match="plif_decode: sizes that do not fit"):
        LIBRARY.plif_decode(name, state, words.ctypes.data, count, out.ctypes.data, room, ctypes.byref(used))
    assert (out == 0xAA).all() and used.value == 5


@pytest.mark.parametrize(
    ("field", "wrong", "found"),
    [
        ("t", np.array([1, 2**64 - 1], np.uint64), "18446744073709551615"),
        ("t", [2**70, 1], "1180591620717411303424"),
        ("t", [1.0, float("nan")], "nan"),
        ("t", [1.0, 1e300], "1e+300"),
        ("x", [3, 65536], "65536"),
        ("x", [-1, 3], "-1"),
        ("y", np.array([3, 2**32 - 1], np.uint32), "4294967295"),
        ("y", ["a", "b"], "a"),
    ],
    ids=lambda value: str(value).replace("\n", ""),
)
def test_numbers_that_an_event_cannot_hold_are_refused_and_never_other_ones(field: str, wrong: Any, found: str) -> None:
    fields = {"t": [1, 2], "x": [3, 4], "y": [5, 6], "p": [True, False]} | {field: wrong}
    with pytest.raises(PlifError, match=f"make_events: {field} holds .*{re.escape(found)}.*; expected numbers from"):
        make_events(**fields)


def test_numbers_of_any_type_that_an_event_can_hold_are_taken() -> None:
    kept = make_events(np.array([2**63 - 1, 0], np.uint64), [65535.0, 0], np.array([7, 0], np.int8), [1, 0])
    assert kept.tolist() == [(2**63 - 1, 65535, 7, True), (0, 0, 0, False)]
    assert len(make_events([], [], [], [])) == 0
