"""Events of any kind that a format can hold come back as they were, from files and packets: drawn by chance."""

from __future__ import annotations

import io
from pathlib import Path
from random import Random

import numpy as np
import pytest

from runtime.core.events import format_names, make_events, open_source, write_nmnist
from runtime.core.events.array import T_LIMIT_US
from tests.recordings import READ, npz_bytes

# format -> (largest x, largest y, largest t, longest step back, longest step forward)
HOLDS = {
    "nmnist": (255, 239, 1 << 30, 0, 1 << 20),  # known by times that rise
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
FILES = {**READ, **({"npz": (npz_bytes, "a.npz")} if "npz" in format_names() else {})}
EXAMPLES = 25  # of each format


def events_of(name: str, rng: Random) -> np.ndarray:
    """Events [1 .. 30], often at the ends of what the format holds; unwrapped clocks begin in their first period, so the first
    time is a small one."""
    x_most, y_most, t_most, back, forward = HOLDS[name]

    def one_of(low: int, high: int) -> int:
        """Of a range with 0 in it: any power of two on either side of 0 alike, and now and then an end of the range."""
        end, sign = rng.choice(((low, -1), (high, 1)))
        size = rng.getrandbits(rng.randint(0, abs(end).bit_length()))
        return end if rng.random() < 0.02 else sign * min(abs(end), size)

    t, rows = one_of(0, min(5000, t_most)), []
    for _ in range(rng.randint(1, 30)):
        by = rng.randint(0, 3) if rng.randint(0, 1) else one_of(-back, forward)
        t = min(max(t + by, 0), t_most) if t + by <= t_most else t
        rows.append((t, one_of(0, x_most), one_of(0, y_most), rng.random() < 0.5))
    return make_events(*zip(*rows, strict=True))


def file_of(name: str, events: np.ndarray, folder: Path) -> Path:
    path = folder / FILES[name][1]
    if name == "nmnist":
        write_nmnist(path, events)
    elif name == "aedat31":
        from runtime.formats import aedat31

        out = io.BytesIO()
        out.write(aedat31.make_header((32768, 32768)))
        aedat31.write_packets(out, events)
        path.write_bytes(out.getvalue())
    else:
        path.write_bytes(FILES[name][0](events))
    return path


@pytest.mark.parametrize("name", sorted(FILES))
def test_what_a_file_holds_comes_back(name: str, tmp_path: Path) -> None:
    rng = Random(0)  # the same in every run: CI finds nothing by luck
    for max_events in (1, 7, 65536) * (EXAMPLES // 3):
        events = events_of(name, rng)
        path = file_of(name, events, tmp_path)
        source = open_source(str(path), sensor=(65536, 65536))
        assert source.format == name
        assert np.concatenate(list(source.packets(max_events))).tolist() == events.tolist()
        assert (source.invalid, source.notes) == (0, [])
