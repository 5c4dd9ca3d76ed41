"""A progress bar on a terminal, and nothing anywhere else: no log lines in pipes.

rich draws it, and is imported where a bar is drawn.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from runtime.core.base.text import printable

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

INTERVAL_S = 0.1  # between two drawings


class Progress:
    """A bar on stderr, erased at the end of the block.

    with Progress("reading") as progress: progress.update(done, total)

    shown  False draws nothing; where stderr is no terminal nothing is drawn either
    """

    def __init__(self, what: str = "", shown: bool = True) -> None:
        self.what = what
        self._shown = shown and sys.stderr.isatty()
        self._bar: Bar | None = None
        self._drawn_s = 0.0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: int, total: int, note: str = "") -> None:
        """`done` of `total` are done; `note` stands beside the bar. Draws ten times a second at most."""
        if not self._shown:
            return
        if self._bar is None:
            self._bar = _bar_on_stderr()
            self._bar.add_task(printable(self.what), total=total, note="")
            self._bar.start()
        now_s = time.monotonic()
        due = now_s - self._drawn_s >= INTERVAL_S or done >= total
        self._bar.update(self._bar.task_ids[0], completed=done, total=total, note=printable(note), refresh=due)
        self._drawn_s = now_s if due else self._drawn_s


def _bar_on_stderr() -> Bar:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    class Calm(Console):
        """Never hides the cursor, so that there is nothing to restore, whatever ends the program."""

        def show_cursor(self, show: bool = True) -> bool:
            return False

    what, note = (TextColumn(f"{{task.{field}}}", markup=False) for field in ("description", "fields[note]"))
    # Without rich's own thread: it would redraw in the middle of what `plif bench` measures.
    return Bar(
        what, BarColumn(30), MofNCompleteColumn(), TimeRemainingColumn(), note,
        console=Calm(stderr=True), transient=True, auto_refresh=False, redirect_stdout=False,
    )  # fmt: skip
