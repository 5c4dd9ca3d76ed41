"""What clocks do, in every format that can hold it: wraps, steps back, jumps, equal times; and each event is accounted for."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from runtime.core.events import events_sha256, format_names, make_events, open_source, write_nmnist
from runtime.core.events.formats import base
from runtime.core.stream.source_framer import SourceFramer
from tests.recordings import READ, npz_bytes

# format -> where its clock begins again, us
WRAPS = {"nmnist": 1 << 23, "aedat2": 1 << 32, "aedat31": 1 << 31, "evt2": 1 << 34, "evt3": 1 << 24, "dat": 1 << 32}
WORD = {"nmnist": 5, "aedat2": 8, "aedat31": 8, "evt2": 4, "evt3": 2, "dat": 8, "es": 5, "csv": 1, "npz": 1}
PIECES = {  # what else cuts a file
    "es": ("runtime.formats.es.BLOCK_BYTES",), "npz": ("runtime.formats.npz.npz.ROWS",),
    "aedat31": ("runtime.formats.aedat31.PIECE",),
}  # fmt: skip
STEPS_US = {  # between events
    "equal times": 0,
    "1 us back": -1,
    "100 us back": -100,
    "10 ms back": -10_000,
    "1 s forward": 1_000_000,
    "1 h forward": 3_600_000_000,
}
CANNOT = {  # a clock without signs; an hour in steps of 127 us; 214 wraps of which the file has no trace
    *(("es", course) for course in STEPS_US if "back" in course),
    ("es", "1 h forward"),
    ("evt3", "1 h forward"),
}
SLOW = ("nmnist", "1 h forward")  # half a minute: an hour of frames
FRAMINGS = ("count:T=7", "duration:20ms", "duration:300ms,T=5", "duration:300ms,T=40,pad=zero", "events:n=9,max=20ms")
CASES = [
    *(
        pytest.param(name, course, marks=pytest.mark.large if (name, course) == SLOW else ())
        for name in WORD
        if name in format_names()
        for course in STEPS_US
        if (name, course) not in CANNOT
    ),
    *((name, f"wrap at {wrap}") for name, wrap in WRAPS.items() if name in format_names()),
]


def times(name: str, course: str) -> np.ndarray:
    """Times of 60 events, int64 [60], some us apart, on which the course happens once or three times."""
    t = 200_000 + np.arange(60, dtype=np.int64) * 1700
    if course.startswith("wrap"):
        return np.concatenate([t[:20], WRAPS[name] - 30_000 + np.arange(40) * 1500])
    for at in (30,) if "1 h" in course else (15, 30, 45):  # twice an hour is more than 32 bits tell from a wrap
        t[at:] += STEPS_US[course] - 1700
    return t


def written(name: str, course: str, folder: Path) -> tuple[Path, np.ndarray]:
    """A file, and the events [60] that are in it."""
    t = times(name, course)
    events = make_events(t, np.arange(60) % 30, np.arange(60) * 7 % 31, np.arange(60) % 3 == 0)
    if name == "nmnist":
        write_nmnist(folder / "a.bin", events)
        return folder / "a.bin", events
    if name == "aedat31":
        from runtime.formats import aedat31

        out = io.BytesIO()
        out.write(aedat31.make_header((34, 34)))
        aedat31.write_packets(out, events)
        data, file_name = out.getvalue(), "a.aedat"
    else:
        writer, file_name = {**READ, "npz": (npz_bytes, "a.npz")}[name]
        data = writer(events)
    (folder / file_name).write_bytes(data)
    return folder / file_name, events


@pytest.mark.parametrize(("name", "course"), CASES)
def test_a_clock_is_read_as_it_ran_however_the_file_is_cut(
    name: str, course: str, tmp_path: Path, cut: Callable[..., None]
) -> None:
    path, events = written(name, course, tmp_path)
    for chunk, max_events in ((base.CHUNK_BYTES, 65536), (WORD[name], 1), (41, 7)):  # word by word, and across words
        cut(chunk, *PIECES.get(name, ()))
        source = open_source(str(path))
        assert source.format == name
        decoded = np.concatenate(list(source.packets(max_events)))
        assert decoded["t"].tolist() == events["t"].tolist()
        assert events_sha256(decoded) == events_sha256(events)
        assert (source.invalid, source.notes) == (0, [])


@pytest.mark.parametrize(("name", "course"), CASES)
def test_every_event_of_every_clock_is_accounted_for(name: str, course: str, tmp_path: Path) -> None:
    path, events = written(name, course, tmp_path)
    (tmp_path / f"cut{path.suffix}").write_bytes(path.read_bytes()[:-1])
    for framing in FRAMINGS:
        for one in (path, path.with_stem("cut")):
            if one.stem == "cut" and name == "npz":
                continue  # a zip without its end is no zip
            frames = SourceFramer(open_source(str(one), sensor=(25, 40)), framing, (2, 16, 16))  # some lie outside
            used = 0
            for frame in frames:
                assert frame.x.sum() == frame.events or "T=" in framing
                used += frame.events
                frames.account.add(used=frame.events)
            account = frames.account
            assert account.waiting == 0 and account.used == used
            assert len(events) - account.events_in <= (one.stem == "cut")
            assert account.invalid >= int((events["x"][:-1] >= 25).sum())
            assert account.late == 0 or "back" in course
