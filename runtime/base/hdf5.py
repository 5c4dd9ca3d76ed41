"""HDF5 files that keep to themselves: `open_hdf5` lets another process look at a file before it opens it (hdf5_look.py)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.base.children import Child
from runtime.base.errors import MissingExtra, PlifError
from runtime.base.files import open_regular

if TYPE_CHECKING:
    import h5py

LOOK = Path(__file__).with_name("hdf5_look.py")
MOST_BYTES = 4 << 30
ANY_BYTES = 1 << 50  # what is read in pieces: only the size of the file bounds it
MOST_SAID = 10_000  # bytes
CACHE_BYTES = 16 << 20  # h5py keeps chunks of so many bytes: one is unpacked once, however many pieces are read of it


@contextmanager
def open_hdf5(
    path: str | Path, expected: str, extra: str = "nir", most_bytes: int = MOST_BYTES, mode: str = "read"
) -> Iterator[h5py.File]:
    """An h5py.File to read from, of which every object lies in the file itself, whole.

    expected    for messages: what the file should be, such as "a NIR file"
    extra       which extra of plif brings h5py
    most_bytes  of all data together, as they are in memory
    mode        "read": all data are read once before; "walk": only what the file says of them is looked at; "pieces": all is
                read once before and again by the caller, a piece at a time, so that there may be more than fits the
                memory; Blosc is unpacked, too, where hdf5plugin is installed
    Raises PlifError, also where reading fails within the `with`.
    """
    try:
        import h5py
    except ImportError:
        raise MissingExtra("reading an HDF5 file", extra) from None
    if mode == "pieces":
        most_bytes = ANY_BYTES
        with suppress(ImportError):
            import hdf5plugin  # noqa: F401  it makes Blosc known to HDF5
    with open_regular(path, expected) as raw:
        about = os.fstat(raw.fileno())
        same = (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns)
        reason = _look(raw.fileno(), most_bytes, mode, same)
        if reason is not None:
            raise PlifError(f"{path}: {reason if reason.startswith('/') else f'not {expected}, or damaged ({reason})'}")
        try:
            with h5py.File(raw, "r", rdcc_nbytes=CACHE_BYTES) as file:
                yield file
        except PlifError:
            raise
        except Exception as error:  # h5py raises many kinds, and so does what reads on from here
            reason = " ".join(str(error).split())[:120]
            raise PlifError(f"{path}: not {expected}, or damaged ({reason})") from None


@lru_cache(maxsize=64)  # a model is opened several times: for its card, its layers, its weights
def _look(file: int, most_bytes: int, mode: str, same: tuple[int, ...]) -> str | None:
    """What is wrong with an open file, half a line; None: nothing. same: what tells it from its later versions."""
    os.lseek(file, 0, os.SEEK_SET)
    with Child(LOOK, str(most_bytes), mode, size=os.fstat(file).st_size, stdin=file) as child:
        said = child.read(MOST_SAID).decode(errors="replace").strip()
        code, reason = child.end()
    if code < 0:
        return reason or "it makes the HDF5 library crash"
    return None if code == 0 else said or "it cannot be read"
