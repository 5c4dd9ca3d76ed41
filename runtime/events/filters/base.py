"""What every filter offers, and what it is made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from runtime.base.errors import PlifError
from runtime.events.framing import parse_time_us

PIXELS_AT_MOST = 1 << 24  # of a filter that remembers something of each pixel; 4096 x 4096
NEVER_US = -(1 << 62)  # a time so long ago that no difference overflows int64


@dataclass(frozen=True)
class FilterSpec:
    """The text of one filter: how to name it in an error, what follows its colon, and the (width, height) of its input."""

    where: str
    argument: str | None
    sensor: tuple[int, int]

    def refuse_argument(self) -> None:
        if self.argument is not None:
            raise PlifError(f"{self.where}: takes nothing after a colon")

    def count_pixels(self) -> int:
        """Pixels of the sensor. PlifError where they are too many for a filter that remembers something of each."""
        width, height = self.sensor
        if width * height > PIXELS_AT_MOST:
            raise PlifError(
                f"{self.where}: remembers every pixel, too many of a {width}x{height} sensor; expected at most "
                f"{PIXELS_AT_MOST}; put roi: or down: before it, or give the sensor's size with --sensor"
            )
        return width * height

    def parse_time_us(self, example: str) -> int:
        if not self.argument:
            raise PlifError(f"{self.where}: a time is missing; expected as in {example}")
        return parse_time_us(self.where, "the time", self.argument)


# Events [M] that pass, in their order, and which they are of the N that came: bool [N], None for all of them.
Selection = tuple[np.ndarray, np.ndarray | None]


class Filter:
    """One filter of a chain. Its state, KEEPS, lasts from packet to packet. `sensor` is the (width, height) of what comes out."""

    KEEPS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, request: FilterSpec) -> None:
        self.sensor = request.sensor
        self.notes: list[str] = []

    def __call__(self, events: np.ndarray) -> Selection:
        """Events [N] in file order, N > 0, inside the sensor -> those [M] that pass. The input is not changed."""
        raise NotImplementedError


def select(events: np.ndarray, kept: np.ndarray) -> Selection:
    """The events [N] where `kept`, bool [N], is true."""
    return (events, None) if kept.all() else (events[kept], kept)


def index_pixels(events: np.ndarray, width: int) -> np.ndarray:
    """y * width + x of each of the events [N]. int64 [N]"""
    return events["y"].astype(np.int64) * width + events["x"]
