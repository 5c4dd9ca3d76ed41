"""Files appear whole or not at all: written beside their place, then renamed."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from runtime.base.errors import PlifError


@contextmanager
def whole_or_nothing(*paths: Path, folder: bool = False) -> Iterator[list[Path]]:
    """Temporary paths beside `paths` to write to: renamed to `paths` at the end, or removed when an error comes.

    folder  the first path is a folder; it replaces a folder that is there
    Raises PlifError where one cannot be written, or where a folder stands in the place of a file.
    """
    temporary = [path.with_name(f".{path.name}.{os.getpid()}.part") for path in paths]
    try:
        for i, path in enumerate(paths):
            wants_folder = folder and i == 0
            if os.path.lexists(path) and path.is_dir() != wants_folder:
                is_a, expected = ("folder", "file") if path.is_dir() else ("file", "folder")
                raise PlifError(f"{path}: is a {is_a}; expected a place for a {expected}")
        yield temporary
        for written, path in zip(temporary, paths, strict=True):
            _take_place(written, path)
    except OSError as error:
        raise PlifError(f"{paths[0]}: cannot be written ({error.strerror or error})") from None
    finally:
        for path in temporary:
            _remove(path)


def _take_place(written: Path, path: Path) -> None:
    if not path.is_dir():
        os.replace(written, path)
        return
    old = path.with_name(f".{path.name}.{os.getpid()}.old")  # a folder that has files cannot be renamed over
    os.replace(path, old)
    try:
        os.replace(written, path)
    except OSError:
        os.replace(old, path)
        raise
    _remove(old)


def _remove(path: Path) -> None:
    with suppress(OSError):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def make_folder(path: Path) -> Path:
    """Makes the folder where it is missing, and returns it. Raises PlifError where that fails."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PlifError(f"{path}: cannot be made ({error.strerror or error})") from None
    return path


def measure(artifact: Path) -> tuple[int, str]:
    """Size in bytes and SHA-256 of a file or a folder.

    The SHA-256 of a folder is taken over its files in the order of their names: name, zero byte, SHA-256 of the content.
    """
    if not artifact.is_dir():
        data = artifact.read_bytes()
        return len(data), hashlib.sha256(data).hexdigest()
    size, digest = 0, hashlib.sha256()
    for file in sorted(path for path in artifact.rglob("*") if path.is_file()):
        data = file.read_bytes()
        size += len(data)
        digest.update(file.relative_to(artifact).as_posix().encode() + b"\0" + hashlib.sha256(data).digest())
    return size, digest.hexdigest()
