"""What is seen of the events of a recording, and what the card of a network says of those that it was trained on.

    card["trained_on"] = {"samples": 64, "size": [34, 34], "rate": [6450, 19100], "polarity": [0.466, 0.516],
                          "events_a_pixel": [0.173, 0.511]}

    samples         how many recordings, or windows of a mixture, were looked at
    size            (width, height) of the sensor; null where the recordings differ
    rate            events a second, of those whose pixel the framing shows
    polarity        the share of ON among the events, 0..1
    events_a_pixel  events in a frame, divided by the pixels of a frame

The last three are ranges, from the 5th to the 95th hundredth of the samples. A part compares recordings with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from runtime.core.base.text import short
from runtime.core.events.framing import Framing
from runtime.core.model.card import RANGES, Card
from runtime.core.observers import hearing

ENOUGH = 400  # events that tell a share: it is right to 0.05 then
UNLIKE = "unlike what the network was trained on"


@dataclass(frozen=True)
class Fate:
    """What is known of the events of a recording, or of a feed so far, and where they went. What a filter or the framing leaves
    out is neither used nor lost.

    events       that came
    events_not_shown   of these, whose pixel the framing does not show
    events_used  of these in its frames;  events_lost: outside the sensor, invalid or late
    sensor, sensor_from   (width, height), and who says so, as in Source
    frames       how many there were
    polarity     the share of ON, 0..1; None where there is no event
    duration_us  from the first event to the last
    """

    events: int
    events_used: int
    events_lost: int
    sensor: tuple[int, int]
    sensor_from: str
    frames: int = 0
    polarity: float | None = None
    duration_us: int = 0
    events_not_shown: int = 0

    def numbers(self, shape: Sequence[int]) -> dict[str, float]:
        """{name of RANGES: value} of those that are known, for a network with an input of shape (C, H, W)."""
        found = {}
        if self.duration_us > 0:
            found["rate"] = 1e6 * (self.events - self.events_not_shown) / self.duration_us
        if self.polarity is not None and self.events >= ENOUGH and shape[0] == 2:
            found["polarity"] = self.polarity
        if self.frames:
            found["events_a_pixel"] = self.events_used / (self.frames * shape[-2] * shape[-1])
        return found


def trained_on(each: Sequence[Fate], shape: Sequence[int]) -> dict[str, object]:
    """What a card says of the recordings that a network of input shape (C, H, W) was trained on: see above."""
    sizes = {one.sensor for one in each}
    found: dict[str, object] = {"samples": len(each), "size": list(sizes.pop()) if len(sizes) == 1 else None}
    numbers = [one.numbers(shape) for one in each]
    for name in RANGES:
        if values := [one[name] for one in numbers if name in one]:
            found[name] = [float(f"{end:.3g}") for end in np.quantile(values, (0.05, 0.95))]
    return found


class Likeness(Protocol):
    """Compares recordings with the card of a network, one after the other.

    steps       of a sample of the training;  recordings: how many were looked at
    """

    steps: int
    recordings: int

    def add(self, name: str, seen: Fate, goes_on: bool = False) -> None:
        """Compares one. goes_on: as of `compare`."""

    def compare(self, seen: Fate, goes_on: bool = False) -> Iterator[str]:
        """What is far from the training, each in half a line. goes_on: more events may come, so none are missed yet."""

    def line(self) -> str | None:
        """What a person should know, once; None where (nearly) all recordings fit."""

    def to_dict(self) -> dict[str, object]:
        """For JSON."""


def likeness(card: Card, framing: Framing | None = None) -> Likeness | None:
    """Who compares recordings with this card, in this framing or the card's; None where no part does."""
    found: list[Likeness] = [each for part in hearing("recordings") for each in part.load("hear")(card, framing)]
    return found[0] if found else None


def in_words(name: str, *values: float) -> str:
    """A number of RANGES with its unit, or without it both ends of a range."""
    many = len(values) > 1
    if name == "rate":
        return " to ".join(map(short, values)) + " events a second" * (not many)
    if name == "polarity":
        return " to ".join(f"{100 * value:.0f}" for value in values) + " % ON" * (not many)
    return " to ".join(f"{value:.2g}" for value in values) + " events a pixel and frame" * (not many)
