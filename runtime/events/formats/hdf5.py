"""HDF5 with events as DSEC, TUM-VIE and their like store them, through h5py (extra `hdf5`), in a process of its own.

    events/x, y, p, t   whole numbers, t in us, one entry an event; or one data set of a structured type, events or CD/events
    t_offset            us, added to every t (DSEC)
    ms_to_idx           where each millisecond begins: an index for those who jump, not needed to read all

Blosc, which DSEC and TUM-VIE use, is unpacked by hdf5plugin. Metavision's files (CD/events) are packed with Prophesee's
own codec ECF, which comes with their SDK only: the process (`hdf5_decode.py`) says which command converts them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from runtime.base.errors import MissingExtra, PlifError
from runtime.events.array import no_events
from runtime.events.formats.base import Format, Losses, Recording
from runtime.events.formats.child import MOST_TEXT, events_of, records_of

MAGIC = b"\x89HDF\r\n\x1a\n"
CHILD = Path(__file__).with_name("hdf5_decode.py")


def open_recording(path: Path) -> Recording:
    if importlib.util.find_spec("h5py") is None:
        raise MissingExtra("reading an HDF5 file", "hdf5")
    reason = "the file is cut or damaged"
    with records_of(CHILD, path) as records:
        for tag, payload in records:
            if tag == b"H":
                break
            reason = payload.decode(errors="replace")[:MOST_TEXT] if tag == b"E" else reason
        else:
            raise PlifError(f"{path}: this HDF5 recording cannot be read: {reason}")
    return Recording("hdf5", lambda losses: _decode(path, losses))


def _decode(path: Path, losses: Losses) -> Iterator[np.ndarray]:
    def lost(payload: bytes) -> np.ndarray:
        losses.add(int.from_bytes(payload[:8], "little"), "outside any sensor")
        return no_events()

    yield from events_of(CHILD, path, losses, {b"L": lost})


FORMAT = Format("hdf5", MAGIC, open_recording)
