"""Atomic writes, through a temporary path and a rename, and reading of regular files only."""

from __future__ import annotations

import fcntl
import glob
import os
import re
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from runtime.core.base.errors import PlifError

URL_SCHEMES = ("http", "https", "hf", "s3", "gs", "ftp")


def missing_file_error(path: str | Path, expected: str = "a file") -> PlifError:
    """Return the PlifError for a path that does not exist.

    A URL gets a message of its own, since plif downloads nothing.
    """
    scheme, _, location = str(path).partition(":/")
    if scheme in URL_SCHEMES:  # pathlib turns two slashes into one
        address = f"{scheme}://{location.lstrip('/')}"
        return PlifError(f"{address}: an address, and plif downloads nothing: fetch the file first and name it")
    if ".py:" in str(path):
        return PlifError(f"{path}: no such file; code is run by plif export, verify and check alone; export it first")
    return PlifError(f"{path}: no such file; expected {expected}")


def open_regular(path: str | Path, expected: str = "a file") -> BinaryIO:
    """Open a regular file for reading; refuse a pipe, socket, device or folder.

    A pipe would let the reader wait for ever and a device would never end, so these are refused unopened. Raises
    PlifError, which ends with `expected`.
    """
    try:
        kind = os.stat(path).st_mode  # first, because opening a device can have side effects
        if stat.S_ISREG(kind):
            number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            kind = os.fstat(number).st_mode  # the path may have changed between stat and open
            if stat.S_ISREG(kind):
                return os.fdopen(number, "rb")
            os.close(number)
    except FileNotFoundError:
        raise missing_file_error(path, expected) from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        raise PlifError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    raise PlifError(f"{path}: is {_describe_kind(kind)}, not a file; expected {expected}")


def read_regular(path: str | Path, expected: str = "a file") -> bytes:
    """Read all bytes of a regular file; refuse a pipe, socket, device or folder."""
    with open_regular(path, expected) as file:
        try:
            return file.read()
        except OSError as error:
            raise PlifError(f"{path}: cannot be read ({error.strerror})") from None


_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


@contextmanager
def atomic_write(*paths: Path, folder: bool = False) -> Iterator[list[Path]]:
    """Yield temporary paths to write to; rename them to `paths` at the end, or remove them after an error.

    folder  the first path is a folder; it replaces an existing folder
    A path for which nothing was written is deleted, because its old file belongs to the older artifact. Everything is on
    the disk before the first rename, and the renames are before this ends: after a power cut each path is old or new.
    Raises PlifError if a path cannot be written, or if a folder stands in the place of a file. Temporary files next
    to `paths` that a killed process left behind are removed.
    """
    token = os.urandom(4).hex()  # not the process's number: two containers may have the same
    temporary = [path.with_name(f".{path.name}.{token}.part") for path in paths]
    try:
        with ExitStack() as locks:
            for place in dict.fromkeys(path.parent for path in paths):
                locks.enter_context(_lock_folder(place, paths))
            for i, path in enumerate(paths):
                check_replaceable(path, folder=folder and i == 0)
            try:
                yield temporary
                for source in temporary:
                    _sync(*source.rglob("*"), source)
                for source, path in zip(temporary, paths, strict=True):
                    _replace_target(source, path)
                _sync(*dict.fromkeys(path.parent for path in paths))
            finally:
                for path in temporary:
                    _remove(path)
    except OSError as error:
        raise PlifError(f"{paths[0]}: cannot be written ({error.strerror or error})") from None


@contextmanager
def _lock_folder(folder: Path, paths: Sequence[Path]) -> Iterator[None]:
    """Hold a shared lock on a folder while files in it are written, and clean it up first.

    All writers share the lock. A writer that gets it alone removes the unfinished files of `paths`: a killed process
    left them. The kernel frees the lock when a process ends.
    """
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:  # a folder that may be written and not listed
        yield
        return
    try:
        with suppress(OSError):  # other writers hold it, or the file system has no locks: remove nothing
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for path in paths:
                if path.parent == folder:
                    _remove_stale_files(path)
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_SH)
        yield
    finally:
        os.close(lock)


def _remove_stale_files(path: Path) -> None:
    for stale in path.parent.glob(f".{glob.escape(path.name)}.*"):
        match = re.fullmatch(r"[0-9a-f]+\.(part|old)", stale.name.removeprefix(f".{path.name}."))
        if match and (match[1] == "part" or os.path.lexists(path)):  # keep an .old folder that is the only copy
            _remove(stale)


def check_replaceable(path: Path, folder: bool = False) -> None:
    """Refuse a path that must not be replaced by a file, or by a folder if `folder` is set.

    A folder must not become a file, nor a file a folder. A device or a pipe, such as /dev/stdout, is never replaced.
    """
    with suppress(OSError):
        kind = os.stat(path).st_mode
        if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
            raise PlifError(f"{path}: is {_describe_kind(kind)}, not a file; expected a place for a file")
    if os.path.lexists(path) and path.is_dir() != folder:
        is_a, expected = ("folder", "file") if path.is_dir() else ("file", "folder")
        raise PlifError(f"{path}: is a {is_a}; expected a place for a {expected}")


def _describe_kind(mode: int) -> str:
    return next((name for is_kind, name in _KINDS if is_kind(mode)), "something else")


def _replace_target(source: Path, path: Path) -> None:
    if not os.path.lexists(source):
        path.unlink(missing_ok=True)
        return
    if not path.is_dir():
        os.replace(source, path)
        return
    old = path.with_name(f".{path.name}.{os.urandom(4).hex()}.old")  # rename cannot replace a folder that has files
    os.replace(path, old)
    try:
        os.replace(source, path)
    except OSError:
        os.replace(old, path)
        raise
    _remove(old)


def _sync(*paths: Path) -> None:
    """Write files and folders through to the disk; what is missing, or a folder that may not be read, is left out."""
    for path in paths:
        with suppress(FileNotFoundError, PermissionError):
            number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(number)
            finally:
                os.close(number)


def _remove(path: Path) -> None:
    with suppress(OSError):
        if path.is_dir():
            import shutil  # imports all compressors: not for programs that only read

            shutil.rmtree(path)
        else:
            path.unlink()


def make_folder(path: Path) -> Path:
    """Create a folder with its parents if it is missing, and return its path; PlifError on failure."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PlifError(f"{path}: cannot be made ({error.strerror or error})") from None
    return path


def find_cache_folder() -> Path | None:
    """Return plif's folder in the user's cache folder, which need not exist; None without a home folder."""
    if os.path.isabs(cache_home := os.environ.get("XDG_CACHE_HOME", "")):  # the XDG rule: a relative path is ignored
        return Path(cache_home) / "plif"
    with suppress(RuntimeError):
        return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "plif"
    return None


def hash_artifact(artifact: Path, copy: Path | None = None) -> tuple[int, str]:
    """Return the size in bytes and the SHA-256 of a file or a folder, and write the same bytes to a new path `copy`.

    The SHA-256 of a folder covers its files in the order of their names: name, zero byte, SHA-256 of the content. Each
    file is read once. A copy has folders and files only: links to files become files, and other entries are left out.
    """
    import hashlib  # loads OpenSSL: not for programs that only read

    if not artifact.is_dir():
        data = _read_and_copy(artifact, copy)
        return len(data), hashlib.sha256(data).hexdigest()
    size, digest = 0, hashlib.sha256()
    for file in [artifact, *sorted(artifact.rglob("*"))]:
        name = file.relative_to(artifact)
        if file.is_file():
            data = _read_and_copy(file, copy and copy / name)
            size += len(data)
            digest.update(name.as_posix().encode() + b"\0" + hashlib.sha256(data).digest())
        elif copy is not None and file.is_dir() and (file == artifact or not file.is_symlink()):
            (copy / name).mkdir()
    return size, digest.hexdigest()


def _read_and_copy(file: Path, copy: Path | None) -> bytes:
    data = read_regular(file)
    if copy is not None:
        copy.write_bytes(data)
    return data
