"""CSV: lines that are events and lines that are none."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from runtime.core.base.errors import PlifError
from runtime.core.events import open_source
from runtime.core.events.formats.base import CHUNK_BYTES

Make = Callable[..., Path]


def test_csv_columns_follow_the_header_and_other_spellings_of_numbers(make: Make) -> None:
    text = b"\xef\xbb\xbf# made by hand\r\nx,y,polarity,extra,timestamp\r\n"
    text += b"1,2,1,9,100\r\n\r\n3,4,-1,9,200.0\r\n5, 6,true,9,300"
    source = open_source(str(make(text, "a.csv")))
    assert np.concatenate(list(source.packets())).tolist() == [(100, 1, 2, True), (200, 3, 4, False), (300, 5, 6, True)]
    assert source.invalid == 0


@pytest.mark.parametrize(
    "line",
    [b"1,2,3", b"1,2,3,4,5", b"a,1,2,1", b"1,,2,1", b"1.5,2,3,1", b"1,2,3,7", b"1-2,3,4,1", b"9" * 25 + b",1,2,1"],
)
def test_a_line_that_is_no_event_is_one_invalid_event_and_described(line: bytes, make: Make) -> None:
    text = b"10,1,1,1\n20,2,2,0\n" + line + b"\n30,3,3,1\n" + line + b"\n"
    source = open_source(str(make(text, "a.csv")))
    assert np.concatenate(list(source.packets()))["t"].tolist() == [10, 20, 30]
    assert source.invalid == 2
    assert "2 lines are not an event; the first is line 3: " in source.notes[0]
    assert line[:40].decode() in source.notes[0]


def test_csv_coordinates_outside_any_sensor_are_invalid(make: Make) -> None:
    source = open_source(str(make(b"1,2,3,1\n2,-1,3,1\n3,70000,3,1\n4,5,6,0\n", "a.csv")))
    assert np.concatenate(list(source.packets()))["t"].tolist() == [1, 4]
    assert source.invalid == 2


def test_an_endless_csv_line_is_skipped_in_bounded_memory(make: Make) -> None:
    source = open_source(str(make(b"1,2,3,1\n" + b"7" * (40 * CHUNK_BYTES) + b"\n2,2,3,1\nx\n", "a.csv")))
    tracemalloc.start()
    try:
        events = np.concatenate(list(source.packets()))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert events["t"].tolist() == [1, 2] and most < 10 * CHUNK_BYTES
    assert source.invalid == 2
    assert "line 2" in source.notes[0]


def test_a_csv_header_that_lacks_a_field_is_an_error(make: Make) -> None:
    with pytest.raises(PlifError, match="line 1: the header 't,x,y,q'"):
        open_source(str(make(b"t,x,y,q\n1,2,3,1\n", "a.csv")))
