"""HDF5 with events as DSEC, TUM-VIE and their like store them, through h5py (extra `hdf5`), in a process of its own.

    events/x, y, p, t   whole numbers, t in us, one entry an event; or one data set of a structured type, events or CD/events
    t_offset            us, added to every t (DSEC)
    ms_to_idx           where each millisecond begins: an index for those who jump, not needed to read all

Blosc, which DSEC and TUM-VIE use, is unpacked by hdf5plugin. Metavision's files (CD/events) are packed with Prophesee's
own codec ECF, which comes with their SDK only: the error says which command converts them.

This file is that process, too (child.py has the records): H says that there are events, L how many were outside any sensor
(uint64 LE).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from runtime.core.base.errors import MissingExtra
from runtime.core.events.array import T_LIMIT_US, no_events
from runtime.core.events.formats.base import Format, Losses, Recording
from runtime.formats.child.records import PIECE, events_of, header_of, run_decoder, write_record
from runtime.formats.columns import check_kinds, find_fields, to_events
from runtime.formats.hdf5.decode import member

if TYPE_CHECKING:
    import h5py

CHILD = Path(__file__)
CACHE_BYTES = 16 << 20  # h5py keeps chunks of so many bytes: one is unpacked once, however many pieces are read of it


def open_recording(path: Path) -> Recording:
    if importlib.util.find_spec("h5py") is None:
        raise MissingExtra("reading an HDF5 file", "hdf5")
    header_of(CHILD, path, "this HDF5 recording")
    return Recording("hdf5", lambda losses: _decode(path, losses))


def _decode(path: Path, losses: Losses) -> Iterator[np.ndarray]:
    def lost(payload: bytes) -> np.ndarray:
        losses.add(int.from_bytes(payload[:8], "little"), "outside any sensor")
        return no_events()

    yield from events_of(CHILD, path, losses, {b"L": lost})


# --- in the process that decodes ----------------------------------------------------------------------------------


def _find(file: h5py.File) -> tuple[list[h5py.Dataset], int]:
    """([t, x, y, p], or one data set of a structured type; what is added to t in us)."""
    import h5py

    place = _member(file, "events") or _member(_member(file, "CD"), "events")
    if place is None:
        raise ValueError(f"an HDF5 file with {sorted(file)[:8]} in it; expected events/ with t, x, y, p")
    names = (
        sorted(one for one in place if isinstance(one, str))
        if isinstance(place, h5py.Group)
        else place.dtype.names or ()
    )
    at = find_fields(names)
    if at is None:
        raise ValueError(f"{place.name} holds {list(names)[:8]}; expected t, x, y, p")
    if isinstance(place, h5py.Group):
        data = [_data(place, names[at[field]]) for field in "txyp"]
        check_kinds("its events", {one.name: one.dtype for one in data})
    else:
        data = [place]
        check_kinds(f"its {place.name}", {names[at[field]]: place.dtype[names[at[field]]] for field in "txyp"})
    for one in data:
        if one.shape != data[0].shape or len(one.shape) != 1:
            raise ValueError(
                f"{one.name} has shape {one.shape}, {data[0].name} {data[0].shape}; expected one entry an event"
            )
    if not data[0].size:
        raise ValueError(f"{data[0].name} is empty: it holds no events")
    return data, _offset_us(file)


def _member(group: h5py.Group | h5py.Dataset | None, name: str) -> h5py.Group | h5py.Dataset | None:
    import h5py

    if not isinstance(group, h5py.Group) or not group.id.links.exists(name.encode()):
        return None
    return member(group, name, f"{group.name}/{name}".strip("/"))


def _data(group: h5py.Group, name: str) -> h5py.Dataset:
    import h5py

    found = _member(group, name)
    if not isinstance(found, h5py.Dataset) or found.shape is None:
        raise ValueError(f"{group.name}/{name} holds no numbers; expected one entry an event")
    return found


def _offset_us(file: h5py.File) -> int:
    import h5py

    found = _member(file, "t_offset")
    if found is None:
        return 0
    if not isinstance(found, h5py.Dataset) or found.size != 1 or found.dtype.kind not in "iu":
        raise ValueError("t_offset is no whole number of us")
    offset = int(np.asarray(found[()]).reshape(()))
    if abs(offset) >= T_LIMIT_US:
        raise ValueError(f"t_offset {offset} is no possible time in us")
    return offset


def decode(path: str) -> None:
    import h5py

    with open(path, "rb") as raw, h5py.File(raw, "r", rdcc_nbytes=CACHE_BYTES) as file:
        data, offset_us = _find(file)
        write_record(b"H")
        for start in range(0, len(data[0]), PIECE):
            pieces = [one[start : start + PIECE] for one in data]
            if len(pieces) == 1:
                names = pieces[0].dtype.names
                at = find_fields(names)
                assert at is not None  # it was found when the file was opened
                pieces = [pieces[0][names[at[field]]] for field in "txyp"]
            losses = Losses()
            t, x, y, p = pieces
            events = to_events(t, x, y, p, losses)
            possible = np.abs(events["t"]) < T_LIMIT_US
            events["t"][possible] += offset_us  # the others stay impossible, and are counted with those of all sources
            write_record(b"P", events.tobytes())
            if losses.invalid:
                write_record(b"L", losses.invalid.to_bytes(8, "little"))


FORMAT = Format(open_recording)

if __name__ == "__main__":
    run_decoder(decode)
