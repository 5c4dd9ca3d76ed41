"""HDF5 with events as DSEC, TUM-VIE and similar sets store them, read by h5py (extra `hdf5`) in a child process.

    events/x, y, p, t   whole numbers, t in us, one entry an event; or one data set of a structured type, events or CD/events
    t_offset            us, added to every t (DSEC)
    ms_to_idx           the index of each millisecond's first event; a sequential reader does not need it

Blosc, which DSEC and TUM-VIE use, is unpacked by hdf5plugin. Metavision's files (CD/events) are packed with Prophesee's
codec ECF, which is part of their SDK only: the error names the command that converts them.

This file is also the program of the child process (runtime/formats/child/records.py): H means that the file has events, L
counts the events outside any sensor (uint64 LE).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from runtime.core.base.errors import MissingExtra
from runtime.core.events.array import T_LIMIT_US, empty_events
from runtime.core.events.formats.base import Format, Losses, Recording
from runtime.formats.child.records import PIECE, read_decoded_events, read_header_record, run_decoder, write_record
from runtime.formats.columns import check_integer_dtypes, columns_to_events, find_event_columns
from runtime.formats.hdf5.decode import open_member

if TYPE_CHECKING:
    import h5py

CHILD = Path(__file__)
CACHE_BYTES = 16 << 20  # the chunk cache of h5py: each chunk is unpacked once, even when it is read in many pieces


def open_recording(path: Path) -> Recording:
    if importlib.util.find_spec("h5py") is None:
        raise MissingExtra("reading an HDF5 file", "hdf5")
    read_header_record(CHILD, path, "this HDF5 recording")
    return Recording("hdf5", lambda losses: _decode(path, losses))


def _decode(path: Path, losses: Losses) -> Iterator[np.ndarray]:
    def count_outside(payload: bytes) -> np.ndarray:
        losses.add(int.from_bytes(payload[:8], "little"), "outside any sensor")
        return empty_events()

    yield from read_decoded_events(CHILD, path, losses, {b"L": count_outside})


# --- in the process that decodes ----------------------------------------------------------------------------------


def _find_events(file: h5py.File) -> tuple[list[h5py.Dataset], int]:
    """Find the data sets with events in an HDF5 file, and the offset in us to add to their times.

    The list holds t, x, y, p, or one data set of a structured type.
    """
    import h5py

    events = _open_member(file, "events") or _open_member(_open_member(file, "CD"), "events")
    if events is None:
        raise ValueError(f"an HDF5 file with {sorted(file)[:8]} in it; expected events/ with t, x, y, p")
    names = (
        sorted(column for column in events if isinstance(column, str))
        if isinstance(events, h5py.Group)
        else events.dtype.names or ()
    )
    positions = find_event_columns(names)
    if positions is None:
        raise ValueError(f"{events.name} holds {list(names)[:8]}; expected t, x, y, p")
    if isinstance(events, h5py.Group):
        data = [_open_column(events, names[positions[field]]) for field in "txyp"]
        check_integer_dtypes("its events", {column.name: column.dtype for column in data})
    else:
        data = [events]
        check_integer_dtypes(
            f"its {events.name}", {names[positions[field]]: events.dtype[names[positions[field]]] for field in "txyp"}
        )
    for column in data:
        if column.shape != data[0].shape or len(column.shape) != 1:
            raise ValueError(
                f"{column.name} has shape {column.shape}, {data[0].name} {data[0].shape}; expected one entry an event"
            )
    if not data[0].size:
        raise ValueError(f"{data[0].name} is empty: it holds no events")
    return data, _read_offset_us(file)


def _open_member(group: h5py.Group | h5py.Dataset | None, name: str) -> h5py.Group | h5py.Dataset | None:
    import h5py

    if not isinstance(group, h5py.Group) or not group.id.links.exists(name.encode()):
        return None
    return open_member(group, name, f"{group.name}/{name}".strip("/"))


def _open_column(group: h5py.Group, name: str) -> h5py.Dataset:
    import h5py

    dataset = _open_member(group, name)
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
        raise ValueError(f"{group.name}/{name} holds no numbers; expected one entry an event")
    return dataset


def _read_offset_us(file: h5py.File) -> int:
    import h5py

    dataset = _open_member(file, "t_offset")
    if dataset is None:
        return 0
    if not isinstance(dataset, h5py.Dataset) or dataset.size != 1 or dataset.dtype.kind not in "iu":
        raise ValueError("t_offset is no whole number of us")
    offset = int(np.asarray(dataset[()]).reshape(()))
    if abs(offset) >= T_LIMIT_US:
        raise ValueError(f"t_offset {offset} is no possible time in us")
    return offset


def decode(path: str) -> None:
    import h5py

    with open(path, "rb") as raw, h5py.File(raw, "r", rdcc_nbytes=CACHE_BYTES) as file:
        data, offset_us = _find_events(file)
        write_record(b"H")
        for start in range(0, len(data[0]), PIECE):
            pieces = [column[start : start + PIECE] for column in data]
            if len(pieces) == 1:
                names = pieces[0].dtype.names
                positions = find_event_columns(names)
                assert positions is not None  # _find_events has checked it
                pieces = [pieces[0][names[positions[field]]] for field in "txyp"]
            losses = Losses()
            t, x, y, p = pieces
            events = columns_to_events(t, x, y, p, losses)
            possible = np.abs(events["t"]) < T_LIMIT_US
            events["t"][possible] += (
                offset_us  # impossible times stay as they are; `usable` counts them for all sources
            )
            write_record(b"P", events.tobytes())
            if losses.invalid:
                write_record(b"L", losses.invalid.to_bytes(8, "little"))


FORMAT = Format(open_recording)

if __name__ == "__main__":
    run_decoder(decode)
