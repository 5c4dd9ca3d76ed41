"""A cache of frames on disk for `plif train --cache DIR`, so that reading and framing happen once.

    DIR/<set>-<split>-<key>/x.npy       every sample, [N, T, C, H, W], the smallest type that is exact; memory-mapped
                            y.npy       labels [N]
                            about.json  the contents of the key
                            part-*.npy  during the first reading: complete pieces, from which a stopped run continues

The key is a hash of everything that changes a sample: the set, its classes in order, the framing and shape (or the
normalisation), every file's name, size and modification time and the part of it that is used, and the version of plif.
Changed data get another folder; the old one can be deleted. Every file is written next to its place and renamed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import IO, Any

import numpy as np

from plif_train.core.data.sets import TYPES, read_labels, read_samples
from runtime.core.base.errors import PlifError
from runtime.core.base.files import atomic_write
from runtime.core.base.version import __version__
from runtime.core.data import Dataset

FORMAT = 1
PIECE = 64  # samples a part: what a stop can lose


def load_cached(
    dataset: Dataset, indices: Sequence[int], root: Path, progress: Callable[[int, int], None]
) -> tuple[np.ndarray, np.ndarray]:
    """Return a data set's samples from the cache on disk: x [n, ...], a memory map, and labels y [n], int64.

    Samples that are not in the cache are read first.

    progress    called with (done, total) after each sample that is read

    One process makes a cache, others wait for it. Raises PlifError when the folder cannot be written.
    """
    about = _describe_contents(dataset, indices)
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    name = re.sub(r"[^A-Za-z0-9-]+", "-", dataset.name.partition(":")[0])
    folder = root / f"{name}-{len(indices)}-{digest}"
    with _lock_folder(folder):
        arrays = _open_cache(folder, len(indices))
        if arrays is None:
            _write_cache(dataset, indices, folder, progress)
            summary = {**about, "files": len(about["files"]), "labels": len(about["labels"]), "plif": __version__}
            with _open_replacement(folder / "about.json") as file:
                file.write(json.dumps(summary, indent=1).encode())
            arrays = _open_cache(folder, len(indices))
    if arrays is None:
        raise PlifError(f"{folder}: damaged while it was made; delete it and train again")
    return arrays


def _describe_contents(dataset: Dataset, indices: Sequence[int]) -> dict[str, Any]:
    """Return all properties of a data set that change a sample; the hash of these is the cache's key."""
    paths = [dataset.path(i) for i in indices]
    # A folder may move and keep its content, so its name is left out; a name that is no file counts in full.
    start = len(os.path.commonpath(paths)) if len(paths) > 1 else 0
    stats: dict[str, list[int]] = {}
    files = []
    for path in paths:
        file = path.rpartition("#")[0] or path
        real = (
            file if os.path.exists(file) else next((str(p) for p in Path(file).parents if p.is_file()), file)
        )  # an archive
        if real not in stats:
            exists = os.path.exists(real)
            stats[real] = [os.stat(real).st_size, os.stat(real).st_mtime_ns] if exists else []
        files.append([path[start:] if stats[real] else path, *stats[real]])
    return {
        "format": FORMAT,
        "version": __version__,
        "set": dataset.name.partition(":")[0],
        "classes": list(dataset.classes),
        "settings": getattr(dataset, "settings", {}),
        "files": files,
        "labels": [dataset.label(i) for i in indices],
    }


def _write_cache(dataset: Dataset, indices: Sequence[int], folder: Path, progress: Callable[[int, int], None]) -> None:
    pieces = {
        folder / f"part-{number:05d}.npy": indices[begin : begin + PIECE]
        for number, begin in enumerate(range(0, len(indices), PIECE))
    }
    missing = {path: piece for path, piece in pieces.items() if not path.exists()}
    shape = next((np.load(path, mmap_mode="r").shape[1:] for path in pieces if path not in missing), None)
    counter, total = count(1), sum(map(len, missing.values()))
    for path, piece in missing.items():
        x, _ = read_samples(dataset, piece, shape, lambda: progress(next(counter), total))
        shape = x.shape[1:]
        _write_array(path, [x], x.dtype, x.shape)
    # The pieces may be of several types; x.npy is written piece by piece, and is never complete in memory.
    parts = [np.load(path, mmap_mode="r") for path in pieces]
    y = read_labels(dataset, indices)
    _write_array(folder / "y.npy", [y], y.dtype, y.shape)
    _write_array(
        folder / "x.npy", parts, find_widest_type(part.dtype for part in parts), (len(indices), *parts[0].shape[1:])
    )
    for path in pieces:
        path.unlink()


def _open_cache(folder: Path, n: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Open a finished cache of a data set: samples x and labels y, or None if it is incomplete.

    An incomplete cache is made again.
    """
    try:
        x = np.load(folder / "x.npy", mmap_mode="c")
        y = np.load(folder / "y.npy")
    except (OSError, ValueError, EOFError):
        return None
    return (x, y) if len(x) == len(y) == n else None


def _write_array(path: Path, parts: Iterable[np.ndarray], dtype: np.dtype, shape: tuple[int, ...]) -> None:
    """Write an array that arrives in pieces to an .npy file, piece by piece.

    Raises PlifError if the disk is full or read-only. (Through a memory map of a file with holes a full disk is a bus
    error, and np.save forgets the reason.)
    """
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    with _open_replacement(path) as file:
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            file.write(np.ascontiguousarray(part, dtype).data)


@contextmanager
def _open_replacement(path: Path) -> Iterator[IO[bytes]]:
    """Open a new temporary file that replaces the file at `path` when it is complete."""
    try:
        with atomic_write(path) as (temporary_path,), open(temporary_path, "wb") as file:
            yield file
    except PlifError as error:
        raise PlifError(f"{error}; choose another --cache") from None


@contextmanager
def _lock_folder(folder: Path) -> Iterator[None]:
    """Create a folder if necessary and hold a lock on it, so that one process at a time uses the folder.

    The kernel frees the lock when that process ends, however it ends.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_WRONLY | os.O_CREAT, 0o666)
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as error:
        raise PlifError(f"{folder}: cannot be written ({error.strerror or error}); choose another --cache") from None
    try:
        yield
    finally:
        os.close(lock)


def find_widest_type(types: Iterable[np.dtype]) -> np.dtype[Any]:
    """Return the widest of several array types, which can represent the values of all of them."""
    return np.dtype(TYPES[max(TYPES.index(dtype.type) for dtype in types)])
