"""HDF5 with events as DSEC, TUM-VIE and their like store them, through h5py (extra `hdf5`), behind the guard of base/hdf5.py.

    events/x, y, p, t   whole numbers, t in us, one entry an event; or one data set of a structured type, events or CD/events
    t_offset            us, added to every t (DSEC)
    ms_to_idx           where each millisecond begins: an index for those who jump, not needed to read all

Blosc, which DSEC and TUM-VIE use, is unpacked by hdf5plugin. Metavision's files (CD/events) are packed with Prophesee's
own codec ECF, which comes with their SDK only: the guard says which command converts them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from runtime.base.errors import PlifError
from runtime.base.hdf5 import open_hdf5
from runtime.events.array import T_LIMIT_US, find_fields
from runtime.events.formats.base import Format, Losses, Recording
from runtime.events.formats.npz import check_kinds, to_events

if TYPE_CHECKING:
    import h5py

MAGIC = b"\x89HDF\r\n\x1a\n"
PLACES = ("events", "CD/events")
PIECE = 1 << 16  # events at a time


def open_recording(path: Path) -> Recording:
    with _opened(path) as file:
        _find(path, file)
    return Recording("hdf5", lambda losses: _decode(path, losses))


def _opened(path: Path) -> AbstractContextManager[h5py.File]:
    return open_hdf5(path, "an HDF5 recording", extra="hdf5", mode="pieces")


def _find(path: Path, file: h5py.File) -> tuple[list[h5py.Dataset], int]:
    """([t, x, y, p], or one data set of a structured type; what is added to t in us)."""
    place = next((file[name] for name in PLACES if name in file), None)
    if place is None:
        raise PlifError(f"{path}: an HDF5 file with {sorted(file)[:8]} in it; expected events/ with t, x, y, p")
    if hasattr(place, "keys"):
        names = sorted(place)
        at = find_fields(names)
        if at is None:
            raise PlifError(f"{path}: {place.name} holds {names[:8]}; expected t, x, y, p")
        data = [place[names[at[field]]] for field in "txyp"]
        kinds = {one.name: one.dtype for one in data}
    else:
        data, inner = [place], place.dtype.names or ()
        at = find_fields(inner)
        if at is None:
            raise PlifError(
                f"{path}: {place.name} is of dtype {place.dtype}; expected a structured one with t, x, y, p"
            )
        kinds = {f"{place.name}[{inner[at[field]]!r}]": place.dtype[inner[at[field]]] for field in "txyp"}
    check_kinds(path, kinds)
    for one in data:
        if one.shape != data[0].shape or len(one.shape) != 1:
            raise PlifError(
                f"{path}: {one.name} has shape {one.shape}, {data[0].name} {data[0].shape}; expected one entry an event"
            )
    if not data[0].size:
        raise PlifError(f"{path}: {data[0].name} is empty: it holds no events")
    return data, _offset_us(path, file)


def _offset_us(path: Path, file: h5py.File) -> int:
    if "t_offset" not in file:
        return 0
    found = file["t_offset"]
    if getattr(found, "size", 0) != 1 or found.dtype.kind not in "iu":
        raise PlifError(f"{path}: t_offset is no whole number of us")
    offset = int(np.asarray(found[()]).reshape(()))
    if abs(offset) >= T_LIMIT_US:
        raise PlifError(f"{path}: t_offset {offset} is no possible time in us")
    return offset


def _decode(path: Path, losses: Losses) -> Iterator[np.ndarray]:
    with _opened(path) as file:
        data, offset_us = _find(path, file)
        for start in range(0, len(data[0]), PIECE):
            pieces = [one[start : start + PIECE] for one in data]
            if len(pieces) == 1:
                names = pieces[0].dtype.names
                at = find_fields(names)
                assert at is not None  # it was found when the file was opened
                pieces = [pieces[0][names[at[field]]] for field in "txyp"]
            t, x, y, p = pieces
            events = to_events(t, x, y, p, losses)
            possible = np.abs(events["t"]) < T_LIMIT_US
            events["t"][possible] += (
                offset_us  # the others stay impossible, and are counted where those of all sources are
            )
            yield events


FORMAT = Format("hdf5", MAGIC, open_recording)
