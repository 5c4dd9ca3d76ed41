"""Files appear whole or not at all: written beside their place, then renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from runtime.errors import PlifError


@contextmanager
def whole_or_nothing(*paths: Path) -> Iterator[list[Path]]:
    """Files beside `paths` to write to; they take the names when all went well, and are gone otherwise.

    Raises PlifError where a file cannot be written.
    """
    temporary = [path.with_name(f".{path.name}.{os.getpid()}.part") for path in paths]
    try:
        for path in paths:
            if path.is_dir():
                raise PlifError(f"{path}: is a folder; expected a place for a file")
        yield temporary
        for written, path in zip(temporary, paths, strict=True):
            os.replace(written, path)
    except OSError as error:
        raise PlifError(f"{paths[0]}: cannot be written ({error.strerror})") from None
    finally:
        for path in temporary:
            with suppress(OSError):
                path.unlink()


def make_folder(path: Path) -> Path:
    """The folder, made where it is missing. Raises PlifError where it cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PlifError(f"{path}: cannot be made ({error.strerror})") from None
    return path
