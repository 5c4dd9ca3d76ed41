"""Files appear whole or not at all: written beside their place, then renamed. And only files are opened to be read."""

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

ADDRESSES = ("http", "https", "hf", "s3", "gs", "ftp")


def no_such(path: str | Path, expected: str = "a file") -> PlifError:
    """The error of a path where nothing is; an address is none, since plif asks no network for a file."""
    scheme, _, rest = str(path).partition(":/")
    if scheme in ADDRESSES:  # pathlib has made one slash of two
        address = f"{scheme}://{rest.lstrip('/')}"
        return PlifError(f"{address}: an address, and plif downloads nothing: fetch the file first and name it")
    if ".py:" in str(path):
        return PlifError(f"{path}: no such file; code is run by plif export, verify and check alone; export it first")
    return PlifError(f"{path}: no such file; expected {expected}")


def open_regular(path: str | Path, expected: str = "a file") -> BinaryIO:
    """The file at `path`, to be read. Raises PlifError, which ends with what was `expected`, where there is none.

    A pipe would let the reader wait for ever and a device would never end, so anything but a file is refused unopened.
    """
    try:
        kind = os.stat(path).st_mode  # first, because to open a device can do something already
        if stat.S_ISREG(kind):
            number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            kind = os.fstat(number).st_mode  # what was opened may be another than what was looked at
            if stat.S_ISREG(kind):
                return os.fdopen(number, "rb")
            os.close(number)
    except FileNotFoundError:
        raise no_such(path, expected) from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        raise PlifError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    raise PlifError(f"{path}: is {_kind_of(kind)}, not a file; expected {expected}")


def read_regular(path: str | Path, expected: str = "a file") -> bytes:
    """All bytes of a file; as `open_regular`."""
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
def whole_or_nothing(*paths: Path, folder: bool = False) -> Iterator[list[Path]]:
    """Temporary paths beside `paths` to write to: renamed to `paths` at the end, or removed when an error comes.

    folder  the first path is a folder; it replaces a folder that is there
    Where nothing was written for one of them, what is there goes away: it was of the older file.
    Raises PlifError where one cannot be written, or where a folder stands in the place of a file. What a process that
    was killed has left beside `paths` is removed.
    """
    token = os.urandom(4).hex()  # not the process's number: two containers may have the same
    temporary = [path.with_name(f".{path.name}.{token}.part") for path in paths]
    try:
        with ExitStack() as locks:
            for place in dict.fromkeys(path.parent for path in paths):
                locks.enter_context(_shared_lock(place, paths))
            for i, path in enumerate(paths):
                check_replaceable(path, folder=folder and i == 0)
            try:
                yield temporary
                for written, path in zip(temporary, paths, strict=True):
                    _take_place(written, path)
            finally:
                for path in temporary:
                    _remove(path)
    except OSError as error:
        raise PlifError(f"{paths[0]}: cannot be written ({error.strerror or error})") from None


@contextmanager
def _shared_lock(place: Path, paths: Sequence[Path]) -> Iterator[None]:
    """The lock of a folder, which all who write in it share. Who has it alone knows that what lies there unfinished was
    left by a process that was killed, and removes that of `paths`. The kernel frees the lock when a process ends."""
    try:
        lock = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:  # a folder that may be written and not listed
        yield
        return
    try:
        with suppress(OSError):  # others are writing, or the file system has no locks: nothing is removed
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for path in paths:
                if path.parent == place:
                    _remove_left_over(path)
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_SH)
        yield
    finally:
        os.close(lock)


def _remove_left_over(path: Path) -> None:
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
        found = re.fullmatch(r"[0-9a-f]+\.(part|old)", left.name.removeprefix(f".{path.name}."))
        if found and (found[1] == "part" or os.path.lexists(path)):  # an old folder may be all that there is
            _remove(left)


def check_replaceable(path: Path, folder: bool = False) -> None:
    """PlifError where what is there may not be replaced by a file (by a folder): a folder (a file), and what is neither,
    since who writes to /dev/stdout or to a pipe does not want them replaced."""
    with suppress(OSError):
        kind = os.stat(path).st_mode
        if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
            raise PlifError(f"{path}: is {_kind_of(kind)}, not a file; expected a place for a file")
    if os.path.lexists(path) and path.is_dir() != folder:
        is_a, expected = ("folder", "file") if path.is_dir() else ("file", "folder")
        raise PlifError(f"{path}: is a {is_a}; expected a place for a {expected}")


def _kind_of(mode: int) -> str:
    return next((name for is_it, name in _KINDS if is_it(mode)), "something else")


def _take_place(written: Path, path: Path) -> None:
    if not os.path.lexists(written):
        path.unlink(missing_ok=True)
        return
    if not path.is_dir():
        os.replace(written, path)
        return
    old = path.with_name(f".{path.name}.{os.urandom(4).hex()}.old")  # a folder that has files cannot be renamed over
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
            import shutil  # with all compressors: not for programs that only read

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


def cache_folder() -> Path | None:
    """The folder of plif in the user's cache folder, which need not exist; None where there is no home folder."""
    if os.path.isabs(given := os.environ.get("XDG_CACHE_HOME", "")):  # the XDG rule: a relative path is ignored
        return Path(given) / "plif"
    with suppress(RuntimeError):
        return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "plif"
    return None


def measure(artifact: Path) -> tuple[int, str]:
    """Size in bytes and SHA-256 of a file or a folder.

    The SHA-256 of a folder is taken over its files in the order of their names: name, zero byte, SHA-256 of the content.
    """
    import hashlib  # with OpenSSL: not for programs that only read

    if not artifact.is_dir():
        data = read_regular(artifact)
        return len(data), hashlib.sha256(data).hexdigest()
    size, digest = 0, hashlib.sha256()
    for file in sorted(path for path in artifact.rglob("*") if path.is_file()):
        data = read_regular(file)
        size += len(data)
        digest.update(file.relative_to(artifact).as_posix().encode() + b"\0" + hashlib.sha256(data).digest())
    return size, digest.hexdigest()
