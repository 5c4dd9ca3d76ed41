"""Events in a NumPy .npz file: 1-D arrays t, x, y, p, or one structured array with these fields, read in pieces.

t is in integer microseconds. Pickled objects are refused: the members are read as raw numbers and nothing is
unpickled. All members are unpacked side by side, a piece at a time, so a large file needs little memory. Before
anything is unpacked, the size in the header of each array must equal the size in the zip's directory, and must not
exceed the largest size that its packed bytes can hold.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.events.formats.base import Losses, Recording
from runtime.formats.columns import FIELD_NAMES, check_integer_dtypes, columns_to_events, find_event_columns

ROWS, PIECE_BYTES = 1 << 16, 1 << 20  # of one member at a time; the smaller one counts
EVENT_LIMIT = 1024  # bytes an event: a structured array may have other fields, too
READ_LIMIT = 4 << 20  # bytes; a zip directory that claims more is damaged
NPY_HEADER_LIMIT = 10_000  # bytes, NumPy's own limit
DEFLATE_LIMIT = 1032  # the largest ratio of unpacked to packed bytes


@dataclass(frozen=True)
class _Layout:
    """The layout of events in a .npz file: the members to read, and the names of t, x, y and p in them."""

    members: tuple[zipfile.ZipInfo, ...]  # t, x, y, p; or one structured array
    dtypes: tuple[np.dtype, ...]  # of each member
    fields: tuple[str, ...]  # the names of t, x, y, p in the structured array; empty without one
    count: int


class _BoundedReader(io.BufferedReader):
    """A file reader that refuses to read more than READ_LIMIT bytes at once.

    zipfile takes the size of the directory from the file, and a hostile file may claim any size.
    """

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > READ_LIMIT:
            raise zipfile.BadZipFile(f"a directory of {size} bytes")
        return super().read(READ_LIMIT if size is None or size < 0 else size)


def open_recording(path: Path) -> Recording:
    with ExitStack() as stack:
        archive = _open_archive(path, stack)
        layout = _find_arrays(path, archive)
    return Recording("npz", lambda losses: _decode(path, layout, losses))


def _open_archive(path: Path, stack: ExitStack) -> zipfile.ZipFile:
    file = stack.enter_context(_BoundedReader(io.FileIO(path)))
    try:
        return stack.enter_context(zipfile.ZipFile(file))
    except Exception as error:  # zipfile raises many types for damaged bytes
        raise PlifError(f"{path}: not a complete .npz file: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _find_arrays(path: Path, archive: zipfile.ZipFile) -> _Layout:
    infos = [info for info in archive.infolist() if info.filename.endswith(".npy")]
    names = [info.filename for info in infos]
    columns = find_event_columns([name[:-4] for name in names])
    fields: tuple[str, ...] = ()
    if columns is not None:
        members = tuple(infos[columns[field]] for field in "txyp")
    elif len(names) == 1:
        members = (infos[0],)
    else:
        known_names = "; ".join("|".join(aliases) for aliases in FIELD_NAMES.values())
        raise PlifError(f"{path}: holds the arrays {names[:8]}; expected t, x, y, p (known names: {known_names})")
    counts, dtypes = [], []
    for info in members:
        shape, dtype = _read_array_header(path, archive, info)
        if len(shape) != 1:
            raise PlifError(
                f"{path}: {info.filename} has shape {shape}; expected one dimension, an entry for each event"
            )
        if columns is None:
            inner = dtype.names or ()
            positions = find_event_columns(inner)
            if positions is None:
                raise PlifError(
                    f"{path}: {info.filename} has dtype {dtype}; expected a structured array with t, x, y, p"
                )
            fields = tuple(inner[positions[field]] for field in "txyp")
        kinds = {name: dtype[name] for name in fields} if fields else {info.filename: dtype}
        check_integer_dtypes(path, kinds)
        counts.append(shape[0])
        dtypes.append(dtype)
    if len(set(counts)) != 1:
        raise PlifError(f"{path}: t, x, y, p have {counts} entries; expected the same number")
    if not counts[0]:
        raise PlifError(f"{path}: the arrays are empty: no events")
    return _Layout(members, tuple(dtypes), fields, counts[0])


def _read_array_header(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> tuple[tuple[int, ...], np.dtype]:
    """Read the shape and dtype of an array in a .npz file from its header.

    Raises PlifError when header, directory and packed bytes do not agree.
    """
    name = f"{path}: {info.filename}"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise PlifError(
            f"{name} is packed with method {info.compress_type}; expected the deflate of np.savez_compressed"
        )
    try:
        with archive.open(info) as file:
            shape, dtype, header = read_npy_header(name, file)
    except PlifError:
        raise
    except Exception as error:  # zipfile and NumPy do not document their exceptions for damaged bytes
        raise PlifError(f"{path}: not a complete .npz file: {_reason(error)}") from None
    if dtype.hasobject:
        raise PlifError(f"{name} holds pickled Python objects, which are never read: save plain integers")
    if dtype.itemsize > EVENT_LIMIT:
        raise PlifError(f"{name} has entries of {dtype.itemsize} bytes; expected an event of at most {EVENT_LIMIT}")
    promised, stored = header + dtype.itemsize * int(np.prod(shape, dtype=object)), info.file_size
    packed = DEFLATE_LIMIT if info.compress_type == zipfile.ZIP_DEFLATED else 1
    most = packed * min(info.compress_size, path.stat().st_size)
    if promised != stored or stored > most:
        raise PlifError(
            f"{name} promises {promised} bytes, the zip's directory {stored}, and the packed bytes can hold {most} at most: "
            "the file is damaged, get it again"
        )
    return shape, dtype


def read_npy_header(name: str, file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype, int]:
    """Read the header of a .npy array; return (shape, dtype, size of the header in bytes).

    A header longer than NPY_HEADER_LIMIT is refused unread.
    """
    version = np.lib.format.read_magic(file)
    readers = {
        (1, 0): (2, np.lib.format.read_array_header_1_0),
        (2, 0): (4, np.lib.format.read_array_header_2_0),
    }
    if version not in readers:
        raise PlifError(f"{name} is of .npy version {version}; expected 1.0 or 2.0")
    digits, read = readers[version]
    length = file.read(digits)
    size = int.from_bytes(length, "little")
    if size > NPY_HEADER_LIMIT:
        raise PlifError(f"{name} has a header of {size} bytes; expected at most {NPY_HEADER_LIMIT}")
    shape, _, dtype = read(io.BytesIO(length + file.read(size)))
    return shape, dtype, np.lib.format.MAGIC_LEN + digits + size


def _decode(path: Path, layout: _Layout, losses: Losses) -> Iterator[np.ndarray]:
    read_rows = 0
    most = min(ROWS, PIECE_BYTES // max(dtype.itemsize for dtype in layout.dtypes))
    with ExitStack() as stack:
        archive = _open_archive(path, stack)
        try:
            files = [stack.enter_context(archive.open(info)) for info in layout.members]
            for file in files:
                read_npy_header(str(path), file)  # moves to the first entry
        except PlifError:
            raise
        except Exception as error:
            raise PlifError(f"{path}: not a complete .npz file: {_reason(error)}") from None
        while read_rows < layout.count:
            rows = min(most, layout.count - read_rows)
            try:
                columns = [
                    np.frombuffer(file.read(rows * dtype.itemsize), dtype)
                    for file, dtype in zip(files, layout.dtypes, strict=True)
                ]
                if any(len(column) != rows for column in columns):
                    raise EOFError("a member ends early")
            except Exception as error:
                losses.add(layout.count - read_rows, f"in the damaged part of the file ({_reason(error)})")
                return
            read_rows += rows
            t, x, y, p = [columns[0][name] for name in layout.fields] if layout.fields else columns
            yield columns_to_events(t, x, y, p, losses)
