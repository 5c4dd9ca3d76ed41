"""Where an event lands: sensor coordinates -> cell of the frame [p, y, x]. libplif has the rule (view.c, docs/events.md)."""

from __future__ import annotations

import numpy as np

from runtime.base.errors import PlifError
from runtime.events.framing import Framing
from runtime.native.rules import view_of

UPRIGHT = ("identity", "rotate180", "flip_y")  # in the order of C's numbers
NOWHERE = -(1 << 40)  # so negative that no sum with other cells makes it a cell


class View:
    """The mapping for one framing, network shape (C, h, w), sensor (W, H) and format (`upright`).

    cell = of_x[x] + of_y[y] + of_p[p], int64 [W], [H] and [2], negative where the event lands nowhere.
    """

    def __init__(
        self, framing: Framing, shape: tuple[int, int, int], source_size: tuple[int, int], upright: str = "identity"
    ) -> None:
        if upright not in UPRIGHT:
            raise PlifError(f"upright={upright!r} is not known; expected {', '.join(UPRIGHT)}")
        if min(shape[1:]) < 1:
            raise PlifError(f"cannot frame events into {shape}: a size is below 1")
        self.width, self.height = source_size
        self.of_x, self.of_y, self.of_p = view_of(str(framing), shape, source_size, UPRIGHT.index(upright))

    def inside(self, events: np.ndarray) -> np.ndarray:
        """Which events have coordinates on the sensor. bool [N]"""
        return (events["x"] < self.width) & (events["y"] < self.height)

    def cells(self, events: np.ndarray) -> np.ndarray:
        """Index into the flat frame of each event, negative where it is cropped away. int64 [N]"""
        return self.of_x[events["x"]] + self.of_y[events["y"]] + self.of_p[events["p"].astype(np.int8)]
