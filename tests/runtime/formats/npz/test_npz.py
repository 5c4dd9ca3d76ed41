"""NumPy's .npz and .npy: what arrays are events, and nothing is unpickled."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from runtime.core.base.errors import PlifError
from runtime.core.events import events_sha256, open_source
from tests.recordings import (
    npy_bytes,
    some_events,
)

Make = Callable[..., Path]


def test_npz_reads_four_arrays_or_one_structured_array(tmp_path: Path) -> None:
    events = some_events(200_000)
    np.savez(tmp_path / "a.npz", t=events["t"], x=events["x"].astype(">i4"), y=events["y"], p=events["p"])
    np.savez_compressed(tmp_path / "b.npz", ts=events["t"], x=events["x"], y=events["y"], polarity=events["p"] * 2 - 1)
    np.savez(tmp_path / "c.npz", events=events)
    for name in ("a", "b", "c"):
        source = open_source(str(tmp_path / f"{name}.npz"))
        assert events_sha256(np.concatenate(list(source.packets()))) == events_sha256(events)
        assert (source.format, source.sensor, source.invalid) == ("npz", (34, 34), 0)


def test_npz_never_unpickles(tmp_path: Path) -> None:
    marker = tmp_path / "marker"

    class Attack:
        def __reduce__(self) -> tuple[object, tuple[str]]:

            return os.system, (f"touch {marker}",)

    np.savez(tmp_path / "a.npz", t=np.array([Attack()], dtype=object), x=[1], y=[1], p=[1])
    with pytest.raises(PlifError, match="never read"):
        open_source(str(tmp_path / "a.npz"))
    assert not marker.exists()


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"t": [1.5], "x": [1], "y": [1], "p": [1]}, "expected integers"),
        ({"t": [1, 2], "x": [1], "y": [1], "p": [1]}, "same number"),
        ({"t": [[1]], "x": [[1]], "y": [[1]], "p": [[1]]}, "one dimension"),
        ({"a": [1], "b": [2]}, "expected t, x, y, p"),
        ({"t": np.zeros(0, int), "x": np.zeros(0, int), "y": np.zeros(0, int), "p": np.zeros(0, int)}, "no events"),
    ],
)
def test_npz_without_four_integer_arrays_is_refused(arrays: dict[str, list[int]], reason: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(PlifError, match=reason):
        open_source(str(tmp_path / "a.npz"))


def test_a_damaged_npz_counts_what_is_lost(tmp_path: Path) -> None:
    events = some_events(200_000)
    path = tmp_path / "a.npz"
    np.savez(path, events=events)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    source = open_source(str(path))
    decoded = sum(map(len, source.packets()))
    assert decoded + source.invalid == 200_000 and source.invalid > 0
    assert "damaged" in source.notes[0]
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(PlifError, match="not a complete"):
        open_source(str(path))


def test_a_npy_file_that_is_cut_or_no_array_of_events_is_said(make: Make) -> None:
    whole = npy_bytes(some_events(300))
    source = open_source(str(make(whole[:-1], "a.npy")))
    assert sum(map(len, source.packets())) == 299 and source.invalid == 1 and len(source.notes) == 2
    with pytest.raises(PlifError, match=r"expected one structured array of events \[N\] with t, x, y, p"):
        open_source(str(make(npy_bytes(np.zeros((5, 4))), "b.npy")))
    with pytest.raises(PlifError, match="expected integers"):
        open_source(str(make(npy_bytes(np.zeros(5, [("t", "f8"), ("x", "u2"), ("y", "u2"), ("p", "?")])), "c.npy")))
