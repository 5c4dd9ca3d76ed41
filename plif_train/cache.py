"""Frames on disk, so that reading and framing happen once: what `plif train --cache DIR` keeps.

    DIR/<set>-<split>-<key>/x.npy       every sample, [N, T, C, H, W], the smallest type that is exact; memory-mapped
                            y.npy       labels [N]
                            about.json  what it was made of
                            part-*.npy  while it is being made: whole pieces, from which a stopped run continues

The key is a hash of everything that changes a sample: the set, its classes in order, the framing and shape (or the
normalisation), every file's name, size and modification time and the part of it that is used, and the version of plif.
Changed data get another folder; the old one can be deleted. Every file is written beside and renamed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from plif_train.data import Dataset, gather, widest
from runtime.data.packed import split_path
from runtime.errors import PlifError
from runtime.files import whole_or_nothing
from runtime.progress import Progress
from runtime.version import __version__

FORMAT = 1
PIECE = 64  # samples a part: what a stop can lose


def cached(
    dataset: Dataset, indices: Sequence[int], root: Path, progress: Progress, what: str
) -> tuple[np.ndarray, np.ndarray]:
    """x (a copy-on-write map of the file) and y of these samples, made where they are not there.

    Raises PlifError when the folder cannot be written; one process makes a cache, others wait for it.
    """
    about = _about(dataset, indices)
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    name = re.sub(r"[^A-Za-z0-9-]+", "-", dataset.name.partition(":")[0])
    folder = root / f"{name}-{len(indices)}-{digest}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / "lock"):
            found = _open(folder, len(indices))
            if found is None:
                _make(dataset, indices, folder, progress, what)
                summary = {**about, "files": len(about["files"]), "labels": len(about["labels"]), "plif": __version__}
                _write(folder / "about.json", lambda file: file.write(json.dumps(summary, indent=1).encode()))
                found = _open(folder, len(indices))
    except OSError as error:
        raise PlifError(f"{folder}: cannot be written ({error.strerror}); choose another --cache") from None
    if found is None:
        raise PlifError(f"{folder}: damaged while it was made; delete it and train again")
    return found


def _about(dataset: Dataset, indices: Sequence[int]) -> dict[str, Any]:
    """Everything that changes a sample."""
    paths = [dataset.path(i) for i in indices]
    # A folder may move and keep its content, so its own name is left out; names that are no files are all there is.
    start = len(os.path.commonpath(paths)) if len(paths) > 1 else 0
    stats: dict[str, list[int]] = {}
    files = []
    for path in paths:
        file = path.rpartition("#")[0] or path
        archive = split_path(file)
        real = str(archive[0]) if archive else file
        if real not in stats:
            there = os.path.exists(real)
            stats[real] = [os.stat(real).st_size, os.stat(real).st_mtime_ns] if there else []
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


def _make(dataset: Dataset, indices: Sequence[int], folder: Path, progress: Progress, what: str) -> None:
    pieces = [indices[at : at + PIECE] for at in range(0, len(indices), PIECE)]
    paths = [folder / f"part-{number:05d}.npy" for number in range(len(pieces))]
    missing = [at for at, path in enumerate(paths) if not path.exists()]
    shape = None if len(missing) == len(pieces) else np.load(_first(paths), mmap_mode="r").shape[1:]
    turn: Iterator[int] = iter(progress.track([i for at in missing for i in pieces[at]], what))
    for at in missing:
        piece = pieces[at]
        # The bar belongs to all pieces, so each takes its share of one iterator.
        x, _ = gather(dataset, piece, (next(turn) for _ in piece), shape)
        shape = x.shape[1:]
        _write(paths[at], lambda file, x=x: np.save(file, x))  # type: ignore[misc]
    next(turn, None)  # ends the bar
    parts = [np.load(path, mmap_mode="r") for path in paths]
    whole = np.lib.format.open_memmap(
        folder / "x.part.npy", "w+", widest(part.dtype for part in parts), (len(indices), *parts[0].shape[1:])
    )
    for at, part in enumerate(parts):
        whole[at * PIECE : at * PIECE + len(part)] = part
    whole.flush()
    del whole, parts
    y = np.array([dataset.label(i) for i in indices], np.int64)
    _write(folder / "y.npy", lambda file: np.save(file, y))
    os.replace(folder / "x.part.npy", folder / "x.npy")
    for path in paths:
        path.unlink()


def _first(paths: Sequence[Path]) -> Path:
    return next(path for path in paths if path.exists())


def _open(folder: Path, n: int) -> tuple[np.ndarray, np.ndarray] | None:
    """What lies there, or None when it is not whole (then it is made again)."""
    try:
        x = np.load(folder / "x.npy", mmap_mode="c")
        y = np.load(folder / "y.npy")
    except (OSError, ValueError, EOFError):
        return None
    return (x, y) if len(x) == len(y) == n else None


def _write(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    with whole_or_nothing(path) as (beside,), open(beside, "wb") as file:
        write(file)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Held by one process at a time; the kernel lets go of it when that process ends, however it ends."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
