"""A progress bar, or a line that names the current stage, on a terminal; pipes and log files get no output.

rich draws the bar, and is imported when the first bar is drawn.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from runtime.core.base.text import printable

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

INTERVAL_S = 0.1  # seconds between two redraws
QUIET_S = 2.0  # seconds of a command, after which its stages are shown
ERASE_LINE = "\r\x1b[K"

_next_stage_s = float("inf")  # when the next stage may be shown, on the clock of time.monotonic


class Progress:
    """A progress bar on stderr that is erased at the end of its `with` block.

    with Progress("reading") as progress: progress.update(done, total)

    shown  False draws no bar; where stderr is no terminal there is no bar either
    """

    def __init__(self, title: str = "", shown: bool = True) -> None:
        self.title = title
        self._shown = shown and sys.stderr.isatty()
        self._bar: Bar | None = None
        self._drawn_s = 0.0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, count: int, total: int, note: str = "") -> None:
        """Show on the progress bar that `count` of `total` are done, with a note next to it.

        Draws ten times a second at most.
        """
        if not self._shown:
            return
        if self._bar is None:
            self._bar = _make_bar()
            self._bar.add_task(printable(self.title), total=total, note="")
            self._bar.start()
        now_s = time.monotonic()
        due = now_s - self._drawn_s >= INTERVAL_S or count >= total
        self._bar.update(self._bar.task_ids[0], completed=count, total=total, note=printable(note), refresh=due)
        self._drawn_s = now_s if due else self._drawn_s


@contextmanager
def show_stages() -> Iterator[None]:
    """Show the stages of a command from 2 s on, in one line of a terminal that is erased at the end of the `with` block."""
    global _next_stage_s
    if sys.stderr.isatty():
        _next_stage_s = time.monotonic() + QUIET_S
    try:
        yield
    finally:
        if _next_stage_s < float("inf"):
            sys.stderr.write(ERASE_LINE)
        _next_stage_s = float("inf")


def show_stage(text: str) -> None:
    """Name the current stage of a long command on a terminal, where `show_stages` is active."""
    global _next_stage_s
    if time.monotonic() >= _next_stage_s:
        sys.stderr.write(f"{ERASE_LINE}{printable(text)} ...")
        sys.stderr.flush()
        _next_stage_s = time.monotonic() + INTERVAL_S


def _make_bar() -> Bar:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    class CursorConsole(Console):
        """A console that never hides the cursor, so that nothing must be restored after a crash."""

        def show_cursor(self, show: bool = True) -> bool:
            return False

    title, note = (TextColumn(f"{{task.{field}}}", markup=False) for field in ("description", "fields[note]"))
    # No refresh thread of rich: it would redraw while `plif bench` measures.
    return Bar(
        title, BarColumn(30), MofNCompleteColumn(), TimeRemainingColumn(), note,
        console=CursorConsole(stderr=True), transient=True, auto_refresh=False, redirect_stdout=False,
    )  # fmt: skip
