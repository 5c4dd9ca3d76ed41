"""Where an event lands: sensor coordinates -> cell of the frame [p, y, x].

    orientation   stored   (x, y)
                  upright  as the file format says: identity, rotate180 (W-1-x, H-1-y) or flip_y (x, H-1-y)
                  sj       (H-1-y, W-1-x): what SpikingJelly stores for CIFAR10-DVS, the axes exchanged
                  paper    (W-1-x, y)
    resize        sum      x * w // W, y * h // H: events that land together add up
                  crop     the centre; events outside it land nowhere
    polarity      stored   channel 1 = ON;  swapped: channel 0 = ON.  One channel takes both.

(W, H) is the sensor, (w, h) the network's input. Row and column each depend on one coordinate only, so two small tables
hold the whole mapping.
"""

from __future__ import annotations

import numpy as np

from runtime.base.errors import PlifError
from runtime.events.framing import Framing

UPRIGHT = ("identity", "rotate180", "flip_y")
NOWHERE = -(1 << 40)  # so negative that no sum with other cells makes it a cell


class View:
    """The mapping for one framing, network shape (C, h, w), sensor (W, H) and format (`upright`).

    cell = of_x[x] + of_y[y] + of_p[p], negative where the event lands nowhere.
    """

    def __init__(
        self, framing: Framing, shape: tuple[int, int, int], source_size: tuple[int, int], upright: str = "identity"
    ) -> None:
        channels, h, w = shape
        if channels not in (1, 2):
            raise PlifError(f"a network input of {channels} channels takes no events; expected 2 (OFF, ON) or 1 (both)")
        if min(h, w, *source_size) < 1:
            raise PlifError(f"cannot frame events of a {source_size} sensor into {shape}: a size is below 1")
        if upright not in UPRIGHT:
            raise PlifError(f"upright={upright!r} is not known; expected {', '.join(UPRIGHT)}")
        self.width, self.height = W, H = source_size
        x, y = np.arange(W), np.arange(H)
        transposed = framing.orientation == "sj"
        if framing.orientation == "paper" or (framing.orientation == "upright" and upright == "rotate180"):
            x = W - 1 - x
        elif transposed:
            x, y = W - 1 - x, H - 1 - y
        if framing.orientation == "upright" and upright != "identity":
            y = H - 1 - y
        resize = _sum if framing.resize == "sum" else _crop
        if transposed:  # x gives the row, y the column
            self.of_x, self.of_y = _times(resize(x, W, h), w), resize(y, H, w)
        else:
            self.of_x, self.of_y = resize(x, W, w), _times(resize(y, H, h), w)
        on = 0 if framing.polarity == "swapped" else 1
        channel = np.array([1 - on, on]) if channels == 2 else np.zeros(2, np.int64)
        self.of_p = channel * (h * w)

    def inside(self, events: np.ndarray) -> np.ndarray:
        """Which events have coordinates on the sensor. bool [N]"""
        return (events["x"] < self.width) & (events["y"] < self.height)

    def cells(self, events: np.ndarray) -> np.ndarray:
        """Index into the flat frame of each event, negative where it is cropped away. int64 [N]"""
        return self.of_x[events["x"]] + self.of_y[events["y"]] + self.of_p[events["p"].astype(np.int8)]


def _sum(at: np.ndarray, size: int, target: int) -> np.ndarray:
    return at * target // size


def _crop(at: np.ndarray, size: int, target: int) -> np.ndarray:
    at = at - (size - target) // 2
    return np.where((at >= 0) & (at < target), at, NOWHERE)


def _times(at: np.ndarray, width: int) -> np.ndarray:
    return np.where(at >= 0, at * width, NOWHERE)
