"""The list of the artifacts that plif wrote for this user: their SHA-256, a line each, in the user's state folder.

    $XDG_STATE_HOME/plif/written.sha256      by default ~/.local/state/plif/written.sha256

It lies outside of all artifacts, so nobody who sends a file can add to it. Writers hold a lock. A list of MOST lines loses
its older half; these artifacts are then opened as those of others. Without a home folder there is no list.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from runtime.core.base.errors import PlifError
from runtime.core.base.files import atomic_write, read_regular

MOST = 10_000  # lines of 65 bytes: 650 kB
LINE = 65  # bytes of a line: 64 digits, and its end


def find_list() -> Path | None:
    """Return the place of the list, which need not exist; None without a home folder."""
    if os.path.isabs(state_home := os.environ.get("XDG_STATE_HOME", "")):  # the XDG rule: a relative path is ignored
        return Path(state_home, "plif", "written.sha256")
    with suppress(RuntimeError):
        return Path.home() / ".local" / "state" / "plif" / "written.sha256"
    return None


def has_written(sha256: str) -> bool:
    """Return whether plif wrote an artifact with this SHA-256 for this user."""
    file = find_list()
    return file is not None and sha256 in _read_lines(file)


def record_written(sha256: str) -> None:
    """Add the SHA-256 of an artifact that plif has written; without a place to write, nothing."""
    file = find_list()
    if file is None:
        return
    with suppress(OSError, PlifError):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            lines = _read_lines(file)
            if sha256 not in lines:
                kept = [*lines[-MOST // 2 :], sha256] if len(lines) >= MOST else [*lines, sha256]
                with atomic_write(file) as (part,):
                    part.write_text("".join(f"{line}\n" for line in kept))
        finally:
            os.close(lock)


def _read_lines(file: Path) -> list[str]:
    """Read the SHA-256 of all artifacts in the list, the oldest first; empty if it cannot be read, or is too large."""
    try:
        if file.stat().st_size > 2 * MOST * LINE:
            return []
        return read_regular(file).decode("ascii", "replace").split()
    except (OSError, PlifError):
        return []
