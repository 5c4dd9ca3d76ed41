"""One time step: the events of a span of time as an array, and the facts about that time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from runtime.core.events.lines import FollowedView


@dataclass(eq=False)
class Frame:
    """One time step of events: `x` float32 [C, H, W], its time span and its number of events.

    `x` is read-only when the frame is empty. Where frames overlap, time span and number of events are those of the
    frame's newest piece, which `join` needs.
    """

    x: np.ndarray
    t_start_us: int
    t_end_us: int
    events: int
    discontinuity: bool = False  # a gap came before this frame
    merged: int = 1  # frames of the grid in it: more than one when the network could not keep up
    skipped: int = 0  # frames before it that were dropped for the same reason
    restart: bool = False  # the source was lost and came back before this frame, and the policy is to begin afresh
    lost: bool = False  # nothing is known of this time: the source was lost
    due_s: float = (
        0.0  # time.perf_counter() when its last event came (of an empty one: when its end was known), or was due
    )
    complete_s: float = 0.0  # time.perf_counter() when it could be stepped
    newest: np.ndarray | None = None  # as pictures, the events that the frame before it does not show; None is x
    pictures: np.ndarray | None = None  # [2, C, H, W] with follow=on: x, and the view that follows a small figure
    window: tuple[float, ...] | None = None  # with follow=on: left, top, width and height of the view, shares of x
    followed: bool = False  # with follow=on: the votes of the view count

    def add_view(self, pictures: np.ndarray, window: Iterable[float], followed: bool) -> None:
        """Add the view that follows a small figure: pictures float32 [2, C, H, W], where it is, whether it counts."""
        self.pictures, self.window, self.followed = pictures, tuple(window), followed

    def describe_view(self, y: np.ndarray, row: int) -> FollowedView:
        """Describe the view that follows, from y float32 [2, classes] and the row that decided."""
        assert self.window is not None
        return {"window": [*self.window], "counts": self.followed, "row": row, "y": y.tolist()}

    def copy_pictures(self) -> None:
        """Give the frame pictures of its own, which may be changed; they follow one another in memory from x on."""
        self.pictures = None if self.pictures is None else np.array(self.pictures)
        self.x = np.array(self.x) if self.pictures is None else self.pictures[0]


COLUMNS, ROWS = 48, 24  # of a picture in text
SHADES = " .:*#"


def render_text(counts: np.ndarray) -> list[str]:
    """Render event counts [H, W] as lines of text, at most ROWS lines of COLUMNS characters.

    A character is twice as high as wide.
    """
    height, width = counts.shape
    rows, columns = min(ROWS, height), min(COLUMNS, width)
    small = np.zeros((rows, columns))
    cells = np.ix_(np.arange(height) * rows // height, np.arange(width) * columns // width)
    np.add.at(small, cells, counts)
    noise = np.median(small)  # most of a picture is background
    most = np.quantile(small, 0.97) - noise or 1.0
    shades = np.clip(np.round((small - noise) / most * (len(SHADES) - 1)), 0, len(SHADES) - 1).astype(int)
    return ["".join(SHADES[i] for i in row).rstrip() for row in shades]
