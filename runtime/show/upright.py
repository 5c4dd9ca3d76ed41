"""Which way is up: a picture in the terminal at the start of a stream whose format turns it by itself, for a person to judge."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from runtime.base.text import printable
from runtime.events.sources.base import ASK, turns_itself
from runtime.stream.observe import Observer

if TYPE_CHECKING:
    from runtime.events.frame import Frame
    from runtime.stream.run import Run

COLUMNS, ROWS = 48, 24
ENOUGH = 20_000  # counts of all frames, after which the picture is shown
SHADES = " .:*#"


class Upright(Observer):
    """Prints one picture of the first events of each source whose format turns it, as the network sees them."""

    def __init__(self, tell: Callable[..., None]) -> None:
        self._tell = tell  # some lines
        self._seen: dict[str, np.ndarray] = {}  # sums of frames [H, W]

    def on_start(self, run: Run) -> None:
        shape = run.model.input_shape[1:]
        self._seen = {s.name: np.zeros(shape, np.float32) for s in run.streams if turns_itself(s.source, run.framing)}

    def on_frame(self, source: str, frame: Frame, y: np.ndarray, rates: dict[str, float], latency_ms: float) -> None:
        """Adds frame.x, float32 [C, H, W]; y [classes] is not looked at."""
        if source in self._seen:
            self._seen[source] += frame.x.sum(0)
            if self._seen[source].sum() >= ENOUGH:
                self._show(source)

    def on_summary(self, summary: dict[str, object]) -> None:
        for source in [name for name, seen in self._seen.items() if seen.any()]:
            self._show(source)

    def _show(self, source: str) -> None:
        self._tell(*drawn(self._seen.pop(source)), f"plif: {printable(source)}: {ASK}")


def drawn(counts: np.ndarray) -> list[str]:
    """Counts [H, W] -> lines of text, ROWS at most, of which a character is twice as high as wide."""
    height, width = counts.shape
    rows, columns = min(ROWS, height), min(COLUMNS, width)
    small = np.zeros((rows, columns))
    at = np.ix_(np.arange(height) * rows // height, np.arange(width) * columns // width)
    np.add.at(small, at, counts)
    noise = np.median(small)  # most of a picture is background
    most = np.quantile(small, 0.97) - noise or 1.0
    shades = np.clip(np.round((small - noise) / most * (len(SHADES) - 1)), 0, len(SHADES) - 1).astype(int)
    return ["".join(SHADES[i] for i in row).rstrip() for row in shades]
