"""CSV as people have it: found where it is certain, said in a note, asked for where it is not."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from runtime.core.base.errors import PlifError
from runtime.core.events import open_source, read_events
from runtime.sources.stdin import StdinSource
from tests.recordings import some_events

Line = Callable[[int, int, int, int, int], str]  # number, t, x, y, p

# what it is: (text before, a line, what the note says or "")
CERTAIN: dict[str, tuple[str, Line, str]] = {
    "plif": ("", lambda i, t, x, y, p: f"{t},{x},{y},{p}", ""),
    "metavision": ("", lambda i, t, x, y, p: f"{x},{y},{p},{t}", "x,y,p,t=us"),
    "metavision with its size": ("%geometry:128,128\n", lambda i, t, x, y, p: f"{x},{y},{p},{t}", "x,y,p,t=us"),
    "uzh": ("", lambda i, t, x, y, p: f"{t / 1e6:.9f} {x} {y} {p}", "t=s,x,y,p"),
    "e2vid": ("128 128\n", lambda i, t, x, y, p: f"{t / 1e6:.6f} {x} {y} {p}", "t=s,x,y,p"),
    "savetxt": ("", lambda i, t, x, y, p: " ".join(f"{v:.18e}" for v in (t / 1e6, x, y, p)), "t=s,x,y,p"),
    "decimal commas": ("", lambda i, t, x, y, p: f"{t / 1e6:.6f};{x};{y};{p}".replace(".", ","), "t=s,x,y,p"),
    "tabs": ("# events\n", lambda i, t, x, y, p: f"{t}\t{x}\t{y}\t{2 * p - 1}", ""),
    "pandas": (",t,x,y,p\n", lambda i, t, x, y, p: f"{i},{t},{x},{y},{bool(p)}", ""),
    "words": ("timestamp_us,x@128,y@128,polarity\n", lambda i, t, x, y, p: f"{t},{x},{y},{'ON' if p else 'OFF'}", ""),
    "milliseconds by name": ("x,y,p,t_ms\n", lambda i, t, x, y, p: f"{x},{y},{p},{t / 1e3}", ""),
    "nanoseconds by name": ("ts [ns],x,y,on\n", lambda i, t, x, y, p: f"{t * 1000},{x},{y},{p}", ""),
    "seconds in a column of a name": ("p,t,y,x\n", lambda i, t, x, y, p: f"{p},{t / 1e6:.6f},{y},{x}", "t=s"),
}
EVENTS = some_events(600, width=128, height=128)


def text(before: str, line: Line) -> bytes:
    rows = [(i, int(t), int(x), int(y), int(p)) for i, (t, x, y, p) in enumerate(EVENTS.tolist())]
    return (before + "".join(line(*row) + "\n" for row in rows)).encode()


@pytest.mark.parametrize("name", CERTAIN)
def test_a_layout_that_is_certain_is_read_exactly_and_said(name: str, tmp_path: Path) -> None:
    before, line, said = CERTAIN[name]
    path = tmp_path / "a.csv"
    path.write_bytes(text(before, line))
    source = open_source(str(path))
    assert np.concatenate(list(source.packets())).tolist() == EVENTS.tolist()
    assert (source.format, source.sensor, source.invalid, source.notes) == ("csv", (128, 128), 0, [])
    assert source.sensor_from == ("recording" if "128" in before else "guess")
    about = [guess for guess in source.guesses if "columns" in guess]
    assert len(about) == bool(said) and all(said in guess for guess in about)


@pytest.mark.parametrize("size", [1, 50, 100_000])
@pytest.mark.parametrize("name", CERTAIN)
def test_a_pipe_gives_the_same_events_however_it_is_cut(name: str, size: int) -> None:
    data = text(*CERTAIN[name][:2])[: 6000 if size == 1 else None]
    data = data[: data.rfind(b"\n") + 1]
    pieces = [data[i : i + size] for i in range(0, len(data), size)]

    class Pipe(io.RawIOBase):
        def read1(self, most: int) -> bytes:
            return pieces.pop(0) if pieces else b""

    source = StdinSource("-", (128, 128), Pipe())
    read = np.concatenate(list(source.packets())).tolist()
    assert len(read) > 50 and read == EVENTS.tolist()[: len(read)] and source.invalid == 0
    assert len(source.guesses) == bool(CERTAIN[name][2])


UNCERTAIN: dict[str, tuple[Line, str, str]] = {
    "ms or s": (lambda i, t, x, y, p: f"{t / 1e3},{x},{y},{p}", "may be s or ms", "t=ms,x,y,p"),
    "an index": (lambda i, t, x, y, p: f"{i},{t},{x},{y},{p}", "five columns", "-,t,x,y,p"),
    "another column": (lambda i, t, x, y, p: f"{t},{x},{y},{p},{i % 3}", "five columns", "t,x,y,p,-"),
    "ns": (lambda i, t, x, y, p: f"{t * 1000},{x},{y},{p}", "look like nanoseconds", "t=ns,x,y,p"),
}


@pytest.mark.parametrize("name", UNCERTAIN)
def test_what_is_not_certain_is_asked_for_and_read_when_it_is_said(name: str, tmp_path: Path) -> None:
    line, problem, said = UNCERTAIN[name]
    path = tmp_path / "a.csv"
    path.write_bytes(text("", line))
    with pytest.raises(PlifError, match=problem):
        open_source(str(path))
    assert np.concatenate(list(open_source(str(path), csv=said).packets())).tolist() == EVENTS.tolist()


def test_columns_of_any_order_can_be_said(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(text("", lambda i, t, x, y, p: f"{p},{x},{y},7,{t}"))
    assert np.concatenate(list(open_source(str(path), csv="p,x,y,-,t").packets())).tolist() == EVENTS.tolist()


@pytest.mark.parametrize("wrong", ["", "t", "t,x,y", "t=h,x,y,p", "t,x,y,p,p", "t,x,y,p,q", "x=3,t,y,p"])
def test_a_layout_that_is_none_is_refused(wrong: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"1,2,3,1\n")
    with pytest.raises(PlifError, match=r"expected each of t, x, y, p once"):
        open_source(str(tmp_path / "a.csv"), csv=wrong)


def test_one_damaged_line_at_the_beginning_does_not_turn_the_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"5,6,1,77\n" + text("", CERTAIN["plif"][1]))
    source = open_source(str(path))
    assert len(np.concatenate(list(source.packets()))) == 600 and source.invalid == 1


def test_a_file_of_which_nearly_nothing_is_usable_is_refused_with_the_suspicion(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(text("", lambda i, t, x, y, p: f"{x},{y},{t},{p + 5 * (i > 0)}"))
    source = open_source(str(path), csv="x,y,t,p")
    with pytest.raises(PlifError, match=r"599 of 600 events cannot be used.*--csv t=s,x,y,p"):
        list(source.packets())
    path.write_bytes(text("", lambda i, t, x, y, p: f"{t},{x + 200},{y},{p}"))
    with pytest.raises(PlifError, match=r"600 of 600 events cannot be used.*is the sensor 34x34\?"):
        open_source(str(path), sensor=(34, 34)).count()


def test_uzh_text_is_read(tmp_path: Path) -> None:
    """events.txt of the UZH sets (Mueggler 2017): seconds x y polarity, apart by a blank, without a header."""
    path = tmp_path / "events.txt"
    lines = [f"{t / 1e6:.9f} {x} {y} {int(p)}" for t, x, y, p in EVENTS.tolist()]
    path.write_text("\n".join(lines) + "\n")
    assert read_events(path).tolist() == EVENTS.tolist()


def test_a_text_of_uzh_with_its_size_in_the_first_line(tmp_path: Path) -> None:
    path = tmp_path / "events.txt"
    lines = [f"{t / 1e6:.6f} {x} {y} {int(p)}" for t, x, y, p in EVENTS.tolist()]
    path.write_text("\n".join(["346 260", *lines]) + "\n")
    source = open_source(str(path))
    assert source.sensor == (346, 260) and np.concatenate(list(source.packets())).tolist() == EVENTS.tolist()
