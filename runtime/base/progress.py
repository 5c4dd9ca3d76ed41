"""A progress bar on a terminal, and nothing anywhere else: no log lines in pipes.

It has no thread of its own. It is drawn inside `update` alone, so that nothing is drawn while a step is being timed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Iterator
from typing import TextIO, TypeVar

Item = TypeVar("Item")


class Progress:
    """Draws on stderr at most ten times a second.

    with Progress("reading") as progress: progress.update(done, total)
    for item in progress.track(items, "epoch 3"): ...; progress.note("loss 0.05")

    shown  whether it draws: a process that has no terminal, or is one of several, does not
    """

    def __init__(self, what: str = "", out: TextIO | None = None) -> None:
        self.what = what
        self.out = out or sys.stderr
        self.shown = self.out.isatty()
        self._start()

    def _start(self) -> None:
        self._began = time.monotonic()
        self._drawn = 0.0
        self._note = ""

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()

    def track(self, items: Collection[Item], what: str) -> Iterator[Item]:
        """The items, one by one; the bar counts them and is gone at the end."""
        self.what = what
        self._start()
        try:
            for done, item in enumerate(items, 1):
                yield item
                self.update(done, len(items))
        finally:
            self._clear()

    def note(self, text: str) -> None:
        """A text that the next drawing shows beside the bar."""
        self._note = text

    def update(self, done: int, total: int) -> None:
        """Draws the bar for `done` of `total`, unless it was drawn a moment ago."""
        now = time.monotonic()
        if not self.shown or (now - self._drawn < 0.1 and done < total):
            return
        self._drawn = now
        filled = round(30 * done / total) if total else 0
        left = (now - self._began) / done * (total - done) if done else 0.0
        bar = "#" * filled + "." * (30 - filled)
        self.out.write(f"\r\033[K{self.what} [{bar}] {done}/{total}, {left:.0f} s left  {self._note}")
        self.out.flush()

    def _clear(self) -> None:
        if self.shown and self._drawn:
            self.out.write("\r\033[K")
            self.out.flush()
