"""Events of any kind that a format can hold come back as they were, from files, packets and datagrams (Hypothesis)."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.events import make_events, no_events, open_source, write_nmnist
from runtime.events.array import T_LIMIT_US
from runtime.events.datagrams import WIRES, encode_datagrams
from runtime.events.formats.aedat import aedat31
from runtime.events.formats.base import Losses
from tests.recordings import WRITERS, npz_bytes

pytest.importorskip("hypothesis", reason="round trips need the extra [dev]")
from hypothesis import given, settings
from hypothesis import strategies as st

# format -> (largest x, largest y, largest t, longest step back, longest step forward)
HOLDS = {
    "nmnist": (255, 239, 1 << 30, 1000, 1 << 20),
    "aedat2": (127, 127, 1 << 40, 1000, 1 << 30),
    "aedat31": (32767, 32767, T_LIMIT_US - 1, T_LIMIT_US, T_LIMIT_US),
    "evt2": (2047, 2047, 1 << 36, 1000, 1 << 32),
    "evt21": (2047, 2047, 1 << 36, 1000, 1 << 32),
    "evt3": (2047, 2047, 1 << 28, 1000, 1 << 22),
    "dat": (16383, 16383, 1 << 40, 1000, 1 << 30),
    "es": (65535, 65535, 1 << 20, 0, 5000),
    "csv": (65535, 65535, T_LIMIT_US - 1, T_LIMIT_US, T_LIMIT_US),
    "npy": (65535, 65535, T_LIMIT_US - 1, T_LIMIT_US, T_LIMIT_US),
    "npz": (65535, 65535, T_LIMIT_US - 1, T_LIMIT_US, T_LIMIT_US),
    "t64": (65535, 65535, T_LIMIT_US - 1, T_LIMIT_US, T_LIMIT_US),
    "t32": (65535, 32767, 1 << 40, 1000, 1 << 30),
    "spif": (32767, 32767, 1 << 40, 1000, 1 << 30),
    "jaer": (127, 127, 1 << 40, 1000, 1 << 30),
}
FILES = {**WRITERS, "npz": (npz_bytes, "a.npz")}
QUICK = settings(max_examples=25, deadline=None, derandomize=True)  # the same in every run: CI finds nothing by luck


@st.composite
def events_of(draw: Any, name: str) -> np.ndarray:
    """Events [1 .. 30]; unwrapped clocks begin in their first period, so the first time is a small one."""
    x_most, y_most, t_most, back, forward = HOLDS[name]
    step = st.one_of(st.integers(0, 3), st.integers(-back, forward))
    point = st.tuples(step, st.integers(0, x_most), st.integers(0, y_most), st.booleans())
    points = draw(st.lists(point, min_size=1, max_size=30))
    t, rows = draw(st.integers(0, min(5000, t_most))), []
    for by, x, y, p in points:
        t = min(max(t + by, 0), t_most) if t + by <= t_most else t
        rows.append((t, x, y, p))
    return make_events(*zip(*rows, strict=True))


def file_of(name: str, events: np.ndarray, folder: Path) -> Path:
    path = folder / FILES[name][1]
    if name == "nmnist":
        write_nmnist(path, events)
    elif name == "aedat31":
        out = io.BytesIO()
        out.write(aedat31.make_header((32768, 32768)))
        aedat31.write_packets(out, events)
        path.write_bytes(out.getvalue())
    else:
        path.write_bytes(FILES[name][0](events))
    return path


@pytest.mark.parametrize("name", sorted(FILES))
def test_what_a_file_holds_comes_back(name: str) -> None:
    @QUICK
    @given(events_of(name), st.sampled_from([1, 7, 65536]))
    def check(events: np.ndarray, max_events: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = file_of(name, events, Path(folder))
            source = open_source(str(path), sensor=(65536, 65536))
            assert source.format == name
            assert np.concatenate(list(source.packets(max_events))).tolist() == events.tolist()
            assert (source.invalid, source.notes) == (0, [])

    check()


@pytest.mark.parametrize("name", sorted(WIRES))
def test_what_datagrams_hold_comes_back_in_any_grouping(name: str) -> None:
    @QUICK
    @given(events_of(name), st.integers(1, 9), st.integers(1, 5), st.integers(0, 2**32 - 1))
    def check(events: np.ndarray, each: int, together: int, sequence: int) -> None:
        sent = list(encode_datagrams(events, name, each, sequence))
        losses = Losses()
        decoder = WIRES[name].decoder(losses)
        assert all(decoder.fits(len(one)) for one in sent)
        parts = [no_events()]
        for i in range(0, len(sent), together):
            some = sent[i : i + together]
            ends = np.cumsum([len(one) for one in some]).tolist()
            parts.append(decoder.feed(np.frombuffer(b"".join(some), np.uint8), ends, [0] * len(some)))
        assert np.concatenate(parts).tolist() == events.tolist()
        assert (losses.invalid, decoder.lost) == (0, 0)

    check()
