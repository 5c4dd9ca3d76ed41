"""CSV events on standard input."""

from __future__ import annotations

import io

import numpy as np
import pytest

from runtime.core.base.errors import PlifError
from runtime.core.events import open_source
from runtime.core.stream.source_framer import SourceFramer
from runtime.sources.stdin import StdinSource


class Pipe(io.RawIOBase):
    """Gives what a pipe would: one written piece at a time."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces

    def read1(self, size: int) -> bytes:
        del size
        return self.pieces.pop(0) if self.pieces else b""


def test_events_come_out_as_soon_as_their_lines_are_there() -> None:
    pieces = [b"t,x,y,on\n1,2,3,1\n", b"2,2,", b"3,0\n3,2,3,1\nbad\n", b"4,99,3,1\n5,1,1,1"]
    source = StdinSource("-", (34, 34), Pipe(pieces))
    assert [packet["t"].tolist() for packet in source.packets()] == [[1], [2, 3], [5]]
    assert source.invalid == 2
    assert len(source.notes) == 2


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_how_the_pipe_splits_the_text_changes_nothing(size: int) -> None:
    text = b"".join(b"%d,%d,%d,%d\r\n" % (i, i % 34, i % 30, i % 2) for i in range(100))
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    events = np.concatenate(list(StdinSource("-", (34, 34), Pipe(pieces)).packets()))
    assert events.tolist() == [(i, i % 34, i % 30, bool(i % 2)) for i in range(100)]


def test_standard_input_needs_the_sensor_and_cannot_be_read_twice_or_counted() -> None:
    with pytest.raises(PlifError, match="--sensor 346x260"):
        open_source("-")
    source = StdinSource("-", (34, 34), Pipe([b"1,2,3,1\n"]))
    assert source.live
    with pytest.raises(PlifError, match="live"):
        source.count()
    list(source.packets())
    with pytest.raises(PlifError, match="twice"):
        list(source.packets())


def test_count_framing_of_a_live_source_names_the_framings_to_use() -> None:
    source = StdinSource("-", (34, 34), Pipe([]))
    with pytest.raises(PlifError, match=r"duration:10ms or events:n=5000,max=20ms"):
        SourceFramer(source, "count:T=10", (2, 34, 34))
