"""Events in arrays that NumPy has saved: .npz (npz.py) and .npy (npy.py)."""

from __future__ import annotations

from pathlib import Path

from runtime.core.events.formats.base import Format, Recording
from runtime.formats.npz import npy, npz


def open_recording(path: Path) -> Recording:
    with open(path, "rb") as file:
        packed = file.read(2) == b"PK"
    return npz.open_recording(path) if packed else npy.open_recording(path)


FORMAT = Format(open_recording)
