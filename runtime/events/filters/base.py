"""What every filter offers, and what it is made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from runtime.base.errors import PlifError
from runtime.events.framing import parse_time_us

PIXELS_AT_MOST = 1 << 24  # of a filter that remembers something of each; 4096 x 4096
NEVER_US = -(1 << 62)  # a time so long ago that no difference overflows int64


@dataclass(frozen=True)
class Request:
    """One filter as it was asked for: how to name it in an error, what follows its colon, (width, height) that it gets."""

    where: str
    argument: str | None
    sensor: tuple[int, int]

    def nothing(self) -> None:
        if self.argument is not None:
            raise PlifError(f"{self.where}: takes nothing after a colon")

    def pixels(self) -> int:
        """How many the sensor has. PlifError where a filter cannot remember something of each."""
        width, height = self.sensor
        if width * height > PIXELS_AT_MOST:
            raise PlifError(
                f"{self.where}: remembers every pixel, too many of a {width}x{height} sensor; expected at most "
                f"{PIXELS_AT_MOST}; put roi: or down: before it, or give the sensor's size with --sensor"
            )
        return width * height

    def time_us(self, example: str) -> int:
        if not self.argument:
            raise PlifError(f"{self.where}: a time is missing; expected as in {example}")
        return parse_time_us(self.where, "the time", self.argument)


# Events that pass, in order, and which they are of those that came: bool [N], None for all.
Passed = tuple[np.ndarray, np.ndarray | None]


class Filter(Protocol):
    """Keeps its state from one packet to the next."""

    sensor: tuple[int, int]  # (width, height) of what comes out
    notes: list[str]

    def __call__(self, events: np.ndarray) -> Passed:
        """Events [N] in file order, N > 0, inside the sensor -> those that pass. The input is not changed."""
        ...


def those(events: np.ndarray, kept: np.ndarray) -> Passed:
    """The events where `kept` is true."""
    return (events, None) if kept.all() else (events[kept], kept)


def pixels(events: np.ndarray, width: int) -> np.ndarray:
    """y * width + x of each event. int64 [N]"""
    return events["y"].astype(np.int64) * width + events["x"]
