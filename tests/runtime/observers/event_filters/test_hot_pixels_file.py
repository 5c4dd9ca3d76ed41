"""hot:FILE, a list of pixels in a text file: what it may hold, and the line that refuses another."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from runtime.core.base.errors import PlifError
from runtime.core.events import make_events
from tests.passing import Filters
from tests.runtime.observers.event_filters.test_filters import H, W, noise, passing


def test_hot_pixels_can_be_given_as_a_list(tmp_path: Path) -> None:
    (tmp_path / "hot.txt").write_text("# of this camera\n5, 6\n\n0,0  # corner\n")
    events = noise()
    kept = passing(f"hot:{tmp_path / 'hot.txt'}", events)
    assert (
        len(kept) == ((events["x"] != 5) | (events["y"] != 6)).sum() - ((events["x"] == 0) & (events["y"] == 0)).sum()
    )
    (tmp_path / "bad.txt").write_text("5,6\n99,1\n")
    with pytest.raises(PlifError, match=r"bad.txt: line 2: '99,1' is no pixel x,y of the 20x14 sensor"):
        Filters(f"hot:{tmp_path / 'bad.txt'}", (W, H))
    with pytest.raises(PlifError, match=r"nowhere.txt: no such file; expected a list of pixels"):
        Filters("hot:nowhere.txt", (W, H))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"1,1\n# \xff", r": cannot be read as a list of pixels .not UTF-8.$"),
        (b"# \xc3(", "not UTF-8"),
        (b"# \xe2\x82(", "not UTF-8"),
        (b"# \xc0\x80", "not UTF-8"),
        (b"# \xe0\x80\x80", "not UTF-8"),
        (b"# \xed\xa0\x80", "not UTF-8"),
        (b"# \xf0\x80\x80\x80", "not UTF-8"),
        (b"# \xf4\x90\x80\x80", "not UTF-8"),
        (b"# \xe2\x82", "not UTF-8"),
        (b"1,1\r\n2,2\n3,3\r4,4\x0b20,1", r"line 5: '20,1' is no pixel x,y of the 20x14 sensor$"),
        (b"1,14", "line 1: '1,14' is no pixel"),
        (b"1", "line 1: '1' is no pixel"),
        (b"000001,1", "line 1: '000001,1' is no pixel"),
        (b"1,1,1", "line 1: '1,1,1' is no pixel"),
        (b"-1,1", "line 1: '-1,1' is no pixel"),
        (b"y" * 99, f"line 1: '{'y' * 40}' is no pixel"),
    ],
)
def test_a_list_that_cannot_be_is_refused_with_the_line(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "hot.txt").write_bytes(content)
    with pytest.raises(PlifError, match=says):
        Filters(f"hot:{tmp_path / 'hot.txt'}", (W, H))


def test_what_is_no_file_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the names of sockets are short
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as one:  # to open it would be another error
        one.bind("socket")
    for what in ("pipe", "socket"):
        with pytest.raises(PlifError, match=f": is a {what}, not a file; expected a list of pixels, one x,y a line$"):
            Filters(f"hot:{what}", (W, H))


def test_a_list_may_have_any_characters_in_its_comments_and_name_and_any_ends_of_lines(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode("h\u00f6t-\u20ac".encode() + b"\xff")
    path.write_bytes("# \u00e9 \u20ac \U0001f600 \U0010ffff\r\n 1 ,\t1 #\r\x1f2,1\x1c\x1e3,1\x0c".encode())
    row = make_events(range(5), range(5), [1] * 5, [True] * 5)
    assert passing(f"hot:{path}", row)["x"].tolist() == [0, 4]


def test_a_list_of_hot_pixels_is_read_no_further_than_a_list_can_be_long(tmp_path: Path) -> None:
    with open(tmp_path / "long", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(PlifError, match="is larger than 16777216 bytes; expected a list of pixels, one x,y a line"):
        Filters(f"hot:{tmp_path / 'long'}", (W, H))
    (tmp_path / "just").write_bytes(b"1,1".ljust(1 << 24))
    assert len(passing(f"hot:{tmp_path / 'just'}", make_events([0], [1], [1], [True]))) == 0
