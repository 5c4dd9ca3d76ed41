"""Recordings in a zip archive: "DIR/airplane.zip/airplane/cifar10_airplane_0.aedat" is a valid path.

A member is copied to a temporary file while it is read, because the readers seek. Errors and notes name the archive,
not the copy.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from runtime.core.base.errors import PlifError

MEMBER_LIMIT = 1 << 30  # bytes: 100 times the largest recording of the sets that come in zips


def list_members(archive: Path, suffix: str) -> list[str]:
    """Return the names of a zip archive's files that end with `suffix`. Raises PlifError if it is no zip archive."""
    return [entry.filename for entry in _open(archive).infolist() if entry.filename.lower().endswith(suffix)]


@contextmanager
def unpack(path: str) -> Iterator[Path]:
    """Yield a plain file with the content of `path`, which may lie in a zip archive; errors name `path` itself."""
    place, inside, member = path.partition(".zip/")
    archive = Path(f"{place}.zip")
    if not inside or not archive.is_file():
        yield Path(path)
        return
    with tempfile.TemporaryDirectory(prefix="plif-") as folder:
        copy = Path(folder) / f"copy{Path(member).suffix}"
        try:
            entry = _open(archive).getinfo(member)
            if entry.file_size > MEMBER_LIMIT:
                raise PlifError(f"{path}: unpacks to {entry.file_size} bytes, more than {MEMBER_LIMIT}: no recording")
            with _open(archive).open(entry) as packed, open(copy, "wb") as out:
                shutil.copyfileobj(packed, out, 1 << 20)
        except PlifError:
            raise
        except KeyError:
            raise PlifError(f"{path}: {archive.name} has no such file") from None
        except Exception as error:  # zipfile and the decompressors raise many types for damaged bytes
            raise PlifError(f"{path}: cannot be unpacked ({error}): get the archive again") from None
        try:
            yield copy
        except PlifError as error:
            raise type(error)(str(error).replace(str(copy), path)) from None


def _open(archive: Path) -> zipfile.ZipFile:
    try:
        about = archive.stat()
        return _open_cached(archive, about.st_mtime_ns, about.st_size)
    except Exception as error:
        raise PlifError(f"{archive}: not a zip archive, or damaged ({error}): get it again") from None


@lru_cache(maxsize=16)  # reading a directory of 60,000 entries takes 0.3 s
def _open_cached(archive: Path, mtime_ns: int, size: int) -> zipfile.ZipFile:
    del mtime_ns, size  # they are part of the cache's key, for files that change
    return zipfile.ZipFile(archive)
