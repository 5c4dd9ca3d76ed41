"""NumPy .npz with 1-D arrays t, x, y, p (or one structured array with these fields), read in pieces.

t in integer microseconds. Pickled objects are refused: the members are read as raw numbers and nothing is unpickled.
All members are unpacked side by side, a piece at a time, so a large file needs little memory.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from runtime.base.errors import PlifError
from runtime.events.array import FIELD_NAMES, find_fields, make_events
from runtime.events.formats.base import Format, Losses, Recording

MAGIC = (b"PK\x03\x04", b"PK\x05\x06")  # the second is a zip of nothing
ROWS = 1 << 16
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError)


@dataclass(frozen=True)
class _Layout:
    """Which members of the zip to read, and where t, x, y, p are in them."""

    members: tuple[str, ...]  # t, x, y, p; or one structured array
    fields: tuple[str, ...]  # the names of t, x, y, p in the structured array; empty without one
    count: int


def open_recording(path: Path) -> Recording:
    try:
        with zipfile.ZipFile(path) as archive:
            layout = _find_arrays(path, archive)
    except DAMAGED as error:
        raise PlifError(f"{path}: not a complete .npz file: {' '.join(str(error).split())}") from None
    return Recording("npz", lambda losses: _decode(path, layout, losses))


def _find_arrays(path: Path, archive: zipfile.ZipFile) -> _Layout:
    names = [name for name in archive.namelist() if name.endswith(".npy")]
    found = find_fields([name[:-4] for name in names])
    if found is not None:
        members = tuple(names[found[field]] for field in "txyp")
        fields: tuple[str, ...] = ()
    elif len(names) == 1:
        members = (names[0],)
        fields = ("",)
    else:
        known = "; ".join("|".join(aliases) for aliases in FIELD_NAMES.values())
        raise PlifError(f"{path}: holds the arrays {names}; expected t, x, y, p (known names: {known})")
    counts = []
    for member in members:
        with archive.open(member) as file:
            shape, dtype = _read_header(path, member, file)
        if len(shape) != 1:
            raise PlifError(f"{path}: {member} has shape {shape}; expected one dimension, an entry for each event")
        if fields:
            inner = dtype.names or ()
            at = find_fields(inner)
            if at is None:
                raise PlifError(f"{path}: {member} has dtype {dtype}; expected a structured array with t, x, y, p")
            fields = tuple(inner[at[field]] for field in "txyp")
        kinds = {name: dtype[name] for name in fields} if fields else {member: dtype}
        for name, kind in kinds.items():
            if kind.kind not in "iub" or kind.shape:
                raise PlifError(f"{path}: {name} has dtype {kind}; expected integers (t in whole microseconds)")
        counts.append(shape[0])
    if len(set(counts)) != 1:
        raise PlifError(f"{path}: t, x, y, p have {counts} entries; expected the same number")
    if not counts[0]:
        raise PlifError(f"{path}: the arrays are empty: no events")
    return _Layout(members, fields, counts[0])


def _read_header(path: Path, member: str, file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise PlifError(f"{path}: {member} is of .npy version {version}; expected 1.0 or 2.0")
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise PlifError(f"{path}: {member} holds pickled Python objects, which are never read: save plain integers")
    return shape, dtype


def _decode(path: Path, layout: _Layout, losses: Losses) -> Iterator[np.ndarray]:
    done = 0
    with ExitStack() as stack:
        try:
            archive = stack.enter_context(zipfile.ZipFile(path))
            files = [stack.enter_context(archive.open(member)) for member in layout.members]
            dtypes = [_read_header(path, member, file)[1] for member, file in zip(layout.members, files, strict=True)]
        except DAMAGED as error:
            raise PlifError(f"{path}: not a complete .npz file: {' '.join(str(error).split())}") from None
        while done < layout.count:
            rows = min(ROWS, layout.count - done)
            try:
                columns = [
                    np.frombuffer(file.read(rows * dtype.itemsize), dtype)
                    for file, dtype in zip(files, dtypes, strict=True)
                ]
                if any(len(column) != rows for column in columns):
                    raise EOFError("a member ends early")
            except DAMAGED as error:
                losses.add(layout.count - done, f"in the damaged part of the file ({' '.join(str(error).split())})")
                return
            done += rows
            t, x, y, p = [columns[0][name] for name in layout.fields] if layout.fields else columns
            inside = (x >= 0) & (x <= 65535) & (y >= 0) & (y <= 65535)
            losses.add(int(rows - inside.sum()), "outside any sensor")
            yield make_events(t[inside].astype(np.int64), x[inside], y[inside], p[inside] > 0)


FORMAT = Format("npz", lambda head, path: head.startswith(MAGIC), open_recording)
