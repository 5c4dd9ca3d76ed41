"""A progress bar on a terminal, and nothing anywhere else: no library, no log lines in pipes."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TextIO


class Progress:
    """Use as a context manager and call update(done, total); draws on stderr at most ten times a second."""

    def __init__(self, what: str, out: TextIO | None = None) -> None:
        self.what = what
        self.out = out or sys.stderr
        self.shown = self.out.isatty()
        self._began = time.monotonic()
        self._drawn = 0.0

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.shown and self._drawn:
            self.out.write("\r\033[K")
            self.out.flush()

    def update(self, done: int, total: int) -> None:
        now = time.monotonic()
        if not self.shown or (now - self._drawn < 0.1 and done < total):
            return
        self._drawn = now
        filled = round(30 * done / total) if total else 0
        left = (now - self._began) / done * (total - done) if done else 0.0
        self.out.write(f"\r\033[K{self.what} [{'#' * filled}{'.' * (30 - filled)}] {done}/{total}, {left:.0f} s left")
        self.out.flush()
