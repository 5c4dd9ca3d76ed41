"""NumPy .npz with 1-D arrays t, x, y, p (or one structured array with these fields), read in pieces.

t in integer microseconds. Pickled objects are refused: the members are read as raw numbers and nothing is unpickled.
The members stream out of the zip side by side, so a large file needs no large memory.
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
from runtime.events.formats.base import Format, Log, Recording

MAGIC = (b"PK\x03\x04", b"PK\x05\x06")  # the second is a zip of nothing
ROWS = 1 << 16
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError)


@dataclass(frozen=True)
class _Plan:
    """Which members to read, in which order of rows, and where t, x, y, p are in them."""

    members: tuple[str, ...]  # four members t, x, y, p; or one structured
    fields: tuple[str, ...]  # the names of t, x, y, p inside the structured one
    count: int


def open_recording(path: Path, head: bytes) -> Recording:
    del head
    try:
        with zipfile.ZipFile(path) as archive:
            plan = _plan(path, archive)
    except DAMAGED as error:
        raise PlifError(f"{path}: not a complete .npz file: {' '.join(str(error).split())}") from None
    return Recording("npz", lambda log: _decode(path, plan, log))


def _plan(path: Path, archive: zipfile.ZipFile) -> _Plan:
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
            shape, dtype = _npy_header(path, member, file)
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
    return _Plan(members, fields, counts[0])


def _npy_header(path: Path, member: str, file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise PlifError(f"{path}: {member} is of .npy version {version}; expected 1.0 or 2.0")
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise PlifError(f"{path}: {member} holds pickled Python objects, which are never read: save plain integers")
    return shape, dtype


def _decode(path: Path, plan: _Plan, log: Log) -> Iterator[np.ndarray]:
    done = 0
    with ExitStack() as stack:
        try:
            archive = stack.enter_context(zipfile.ZipFile(path))
            files = [stack.enter_context(archive.open(member)) for member in plan.members]
            dtypes = [_npy_header(path, member, file)[1] for member, file in zip(plan.members, files, strict=True)]
        except DAMAGED as error:
            raise PlifError(f"{path}: not a complete .npz file: {' '.join(str(error).split())}") from None
        while done < plan.count:
            rows = min(ROWS, plan.count - done)
            try:
                columns = [
                    np.frombuffer(file.read(rows * dtype.itemsize), dtype)
                    for file, dtype in zip(files, dtypes, strict=True)
                ]
                if any(len(column) != rows for column in columns):
                    raise EOFError("a member ends early")
            except DAMAGED as error:
                log.lose(plan.count - done, f"in the damaged part of the file ({' '.join(str(error).split())})")
                return
            done += rows
            t, x, y, p = [columns[0][name] for name in plan.fields] if plan.fields else columns
            inside = (x >= 0) & (x <= 65535) & (y >= 0) & (y <= 65535)
            log.lose(int(rows - inside.sum()), "outside any sensor")
            yield make_events(t[inside].astype(np.int64), x[inside], y[inside], p[inside] > 0)


FORMAT = Format("npz", lambda head, path: head.startswith(MAGIC), open_recording)
