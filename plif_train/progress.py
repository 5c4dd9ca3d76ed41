"""A progress bar on a terminal's stderr, with rich where it is installed; nothing when stderr is a file or a pipe."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from typing import Any, TypeVar

Item = TypeVar("Item")


class Progress:
    """`for item in progress.track(items, "epoch 3"):` draws a bar; `progress.note("loss 0.05")` is shown beside it."""

    def __init__(self) -> None:
        self.text = ""

    def note(self, text: str) -> None:
        self.text = text

    def track(self, items: Collection[Item], what: str) -> Iterator[Item]:
        self.text = ""
        bar = _rich_bar() if sys.stderr.isatty() else None
        if bar is None:
            yield from self._plain(items, what)
            return
        with bar:
            task = bar.add_task(what, total=len(items), note="")
            for item in items:
                yield item
                bar.update(task, advance=1, note=self.text)

    def _plain(self, items: Collection[Item], what: str) -> Iterator[Item]:
        terminal = sys.stderr.isatty()
        for done, item in enumerate(items, 1):
            yield item
            if terminal:
                print(f"\r{what}  {done}/{len(items)}  {self.text}\x1b[K", end="", file=sys.stderr, flush=True)
        if terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _rich_bar() -> Any:
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar
    except ImportError:
        return None
    note = TextColumn("{task.fields[note]}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), note)
    return Bar(*columns, console=Console(stderr=True), transient=True)
