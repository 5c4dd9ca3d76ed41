"""EVT 2.0, 2.1 and 3.0: words, wraps, headers and files without one."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from runtime.core.base.errors import PlifError
from runtime.core.events import make_events, open_source, read_events
from tests.recordings import (
    EVT3_HEADER,
    evt2_bytes,
    evt3_bytes,
    some_events,
    words16,
)

Make = Callable[..., Path]


def test_evt2_without_a_header_is_recognised_and_early_events_are_counted(make: Make) -> None:
    events = some_events(300, width=320, height=320)
    early = struct.pack("<III", 1 << 22, 2 << 22, 3 << 22)
    source = open_source(str(make(early + evt2_bytes(events, header=b""), "a.raw")))
    assert np.concatenate(list(source.packets())).tolist() == events.tolist()
    assert (source.format, source.sensor, source.invalid) == ("evt2", (320, 320), 3)
    assert source.notes == [f"{source.name}: 3 events before the first TIME_HIGH: not used"]


def test_evt2_wraps_at_2_to_the_34_us(make: Make) -> None:
    events = make_events([(1 << 34) - 1, (1 << 34) + 5, (1 << 34) + 100], [1, 2, 3], [4, 5, 6], [1, 0, 1])
    assert read_events(make(evt2_bytes(events))).tolist() == events.tolist()


def test_evt3_wraps_at_2_to_the_24_us_however_often(make: Make) -> None:
    t = [(k << 24) + d for k in range(3) for d in (5, 6_000_000, (1 << 24) - 1)]
    events = make_events(t, range(9), range(9), [True] * 9)
    assert read_events(make(evt3_bytes(events))).tolist() == events.tolist()


def test_evt3_vectors_share_row_time_and_polarity_and_move_their_base(make: Make) -> None:
    data = words16(
        0x8001, 0x6002, 0x0007,  # time 0x1002, row 7
        0x3000 | 1 << 11 | 100,  # base 100, ON
        0x4000 | 0b100000000001,  # columns 100 and 111
        0x5000 | 0b10000001,  # base is 112 now: columns 112 and 119
        0x2000 | 50,  # one event, OFF, leaves the base alone
        0x5F00 | 0b1,  # base 120; the upper four bits mean nothing
        0x3000 | 200, 0x4000 | 0b10,  # a new base, OFF
    )  # fmt: skip
    events = read_events(make(EVT3_HEADER + data))
    assert events["x"].tolist() == [100, 111, 112, 119, 50, 120, 201]
    assert events["p"].tolist() == [True, True, True, True, False, True, False]
    assert set(events["t"].tolist()) == {0x1002} and set(events["y"].tolist()) == {7}


def test_evt3_events_without_time_row_or_base_are_counted_each(make: Make) -> None:
    data = words16(0x0003, 0x2001, 0x8000, 0x2002, 0x4003, 0x3000, 0x4001)
    source = open_source(str(make(EVT3_HEADER + data)))
    assert np.concatenate(list(source.packets())).tolist() == [(0, 2, 3, False), (0, 0, 3, False)]
    assert source.invalid == 3
    assert [note.split(": ")[1] for note in source.notes] == [
        "1 event before the first TIME_HIGH",
        "2 events in a vector without a base",
    ]


def test_evt3_a_new_time_high_clears_time_low_and_a_repeated_one_does_not(make: Make) -> None:
    data = words16(0x8001, 0x6005, 0x0000, 0x2001, 0x8001, 0x2002, 0x8002, 0x2003)
    assert read_events(make(EVT3_HEADER + data))["t"].tolist() == [0x1005, 0x1005, 0x2000]


def test_evt3_vectors_past_the_last_column_are_invalid_not_wrapped(make: Make) -> None:
    data = words16(0x8000, 0x0000, 0x3000 | 2040, *[0x4FFF] * 9000)
    source = open_source(str(make(EVT3_HEADER + data)))
    with pytest.raises(PlifError, match="108000 of 108000 events cannot be used"):
        list(source.packets())
    assert source.invalid == 12 * 9000


def test_words_without_a_header_are_known_by_their_types_and_a_clock_that_runs_forward(make: Make) -> None:
    """EVT 2.0 of 20 times with events, times backwards, words that go on where none began, and ones that did begin; EVT 3.0 whose
    clock starts again and again, and one that runs backwards."""
    times = [0x80000000 | 64 * i for i in range(20)]
    event, goes_on, begun = 0x10000000 | 70 << 11 | 90, 0xF0000000 | 77, 0xE0000000 | 55

    def evt2(*words: int) -> Path:
        return make(struct.pack(f"<{len(words)}I", *words), "a.raw")

    pairs = [word for time in times for word in (time, event, event)]
    assert open_source(str(evt2(*pairs))).format == "evt2"
    assert open_source(str(evt2(*pairs, *[goes_on] * 8))).format == "evt2"
    assert open_source(str(evt2(*pairs, begun, *[goes_on] * 16))).format == "evt2"
    words = [0x6003, 0x0007, 0x2009]
    assert open_source(str(make(words16(*[0x8FFF, *words, 0x8000, *words] * 9), "a.raw"))).format == "evt3"
    for other in (
        evt2(*pairs[::-1]),
        evt2(*pairs, *[goes_on] * 9),
        evt2(*pairs, begun, *[goes_on] * 17),
        make(words16(*[word for i in range(20, 0, -1) for word in (0x8000 | i, *words)]), "b.raw"),
    ):
        with pytest.raises(PlifError, match="known format"):
            open_source(str(other))


def test_the_header_of_a_raw_file_ends_at_its_end_although_events_look_like_a_line(make: Make) -> None:
    looks_like_a_line = b"% \n\x80" + evt2_bytes(some_events(20), header=b"")
    source = open_source(str(make(b"% evt 2.0\n% geometry 640x480\n% end\n" + looks_like_a_line)))
    assert len(np.concatenate(list(source.packets()))) >= 20


def test_a_word_of_evt21_holds_a_row_of_up_to_32_pixels(make: Make) -> None:
    def words(*words: int) -> bytes:
        return b"% evt 2.1\n% geometry 64x64\n% end\n" + struct.pack(f"<{len(words)}Q", *words)

    event = 5 << 54 | 32 << 43 | 9 << 32
    data = words(
        1 << 60 | event | 0b111, 0x8 << 60 | 2 << 32, 1 << 60 | event | 1 << 31 | 0b101, event, event | 2, 0x3 << 60
    )
    source = open_source(str(make(data)))
    events = np.concatenate(list(source.packets())).tolist()
    assert events == [(133, 32, 9, True), (133, 34, 9, True), (133, 63, 9, True), (133, 33, 9, False)]
    assert source.invalid == 3 and "1 words of a type" in source.notes[0] + source.notes[-1]


def test_evt21_with_swapped_halves_is_refused_and_not_misread(make: Make) -> None:
    with pytest.raises(PlifError, match="endianness=legacy is not read"):
        open_source(str(make(b"% evt 2.1\n% format EVT21;endianness=legacy\n% end\n" + bytes(64))))


def test_evt_takes_the_sensor_from_its_header(make: Make) -> None:
    events = some_events(10)
    assert open_source(str(make(evt2_bytes(events)))).sensor == (640, 480)
    assert open_source(str(make(evt3_bytes(events)))).sensor == (1280, 720)


@pytest.mark.parametrize("line", [b"% evt 4.0", b"% format EVT4;height=720;width=1280"])
def test_another_version_is_named(line: bytes, make: Make) -> None:
    with pytest.raises(PlifError, match=r"EVT 4\.0 is not read"):
        open_source(str(make(line + b"\n% end\n" + bytes(64), "new.raw")))
