"""CSV as nobody means it: lines of any length, odd numbers, pieces of any size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runtime.core.base.errors import PlifError
from runtime.core.events import open_source
from runtime.core.events.formats.base import Losses
from runtime.formats.csv_text import LINE_LIMIT, CsvParser
from tests.fuzz.recordings import in_memory
from tests.recordings import csv_bytes, some_events

LITTLE = 24 << 20  # bytes: what reading any small file may take
CURIOUS = {
    "a long comment": b"1,2,3,1\n#" + b"x" * 2 * LINE_LIMIT + b"\n2,2,3,1\n",
    "a long empty line": b"1,2,3,1\n" + b" " * 2 * LINE_LIMIT + b"\n2,2,3,1\n",
    "a long event": b"1,2,3,1\n" + b" " * 2 * LINE_LIMIT + b"2,2,3,1\n3,2,3,1",
    "many zeros": b"1,2,3,1\n" + b"0" * 3000 + b"2,2,3,1\n",
    "a long number": b"1,2,3,1\n" + b"0" * 2 * LINE_LIMIT + b"2,2,3,1\n",
    "a long first line": b"0" * 2 * LINE_LIMIT + b"1,2,3,1\n2,2,3,1\n",
    "zeros before p": b"1,2,3,01\n2,2,3,-0\n3,2,3,x\n4,2,3,00\n",
    "a minus alone": b"1,2,3,1\n-,2,3,1\n4,-,3,1\n5,6,7,-\nx\n8,2,3,1\n",
    "the lowest number": b"1,2,3,1\n-9223372036854775808,2,3,1\n-99999999999999999999,2,3,1\n2,2,3,1\n",
    "an exact line": b"1,2,3,1" + b" " * (LINE_LIMIT - 7) + b"\n2,2,3,1" + b" " * (LINE_LIMIT - 6) + b"\n3,2,3,1\n",
    "returns": b"1,2,3,1\r\n" + b"2,2,3,1" + b" " * (LINE_LIMIT - 8) + b"\r\n3,2,3,1\r\n\r\r\n4,2,3,1\r\n",
}


@pytest.mark.parametrize("name", sorted(CURIOUS))
def test_text_that_comes_byte_by_byte_is_the_text_of_the_whole(name: str) -> None:
    data, found = CURIOUS[name], []
    for size in (len(data), 1, 100, 4095):
        losses = Losses()
        parser = CsvParser("-", losses)
        parts = [parser.feed(data[i : i + size]) for i in range(0, len(data), size)]
        found.append((np.concatenate([*parts, parser.finish()])["t"].tolist(), losses.invalid, losses.notes))
    assert all(one == found[0] for one in found[1:]), found


def test_a_line_without_an_end_is_not_kept() -> None:
    losses = Losses()
    parser = CsvParser("-", losses)
    parser.feed(b"1,2,3,1\n2,2,3,1\n")
    with in_memory(LITTLE):
        for _ in range(1000):
            parser.feed(b"7" * 50_000)
    assert len(parser.carry) <= LINE_LIMIT + 1
    events = np.concatenate([parser.feed(b"\n3,2,3,1\n"), parser.finish()])
    assert events["t"][-1] == 3 and losses.invalid == 1


@pytest.mark.parametrize(
    "first", [b"0" * 60_000 + b"1,2,3,1\n", b"9" * 60_000 + b",2,3,1\n", b"t" * 60_000 + b",x,y,p\n"]
)
def test_a_first_line_of_any_length_is_events_or_one_line(first: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(first + csv_bytes(some_events(20)))
    try:
        source = open_source(str(tmp_path / "a.csv"))
        assert sum(map(len, source.packets())) == 20 and source.invalid == 1
    except PlifError as error:
        assert str(error).isprintable() and len(str(error)) < 400
