"""The statistics of a recording's events, and those of a network's training data in its card.

    card["trained_on"] = {"samples": 64, "size": [34, 34], "rate": [6450, 19100], "polarity": [0.466, 0.516],
                          "events_a_pixel": [0.173, 0.511]}

    samples         how many recordings, or windows of a mixture, were measured
    size            (width, height) of the sensor; null where the recordings differ
    rate            events per second, at pixels that the framing shows
    polarity        the fraction of ON events, 0..1
    events_a_pixel  events in a frame, divided by the pixels of a frame

The last three are ranges from the 5th to the 95th percentile of the samples. A part compares recordings with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from runtime.core.base.text import format_count
from runtime.core.events.framing import Framing
from runtime.core.model.card import RANGES, Card
from runtime.core.observers import find_observers

MIN_EVENTS = 400  # events; the fraction of ON events is then accurate to 0.05
UNLIKE_TRAINING = "unlike what the network was trained on"


@dataclass(frozen=True)
class EventOutcome:
    """The event counts of a recording, or of a feed so far, by outcome: used, lost or not shown.

    An event that a filter or the framing leaves out is neither used nor lost.

    events       events that arrived
    events_not_shown   events at pixels that the framing does not show
    events_used  events in the frames;  events_lost: outside the sensor, invalid or late
    sensor, sensor_from   (width, height), and the origin of that size, as in Source
    frames       the number of frames
    polarity     the fraction of ON events, 0..1; None without events
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

    def compute_statistics(self, shape: Sequence[int]) -> dict[str, float]:
        """Return the known statistics {name in RANGES: value} of a recording, for a network input of shape (C, H, W)."""
        statistics = {}
        if self.duration_us > 0:
            statistics["rate"] = 1e6 * (self.events - self.events_not_shown) / self.duration_us
        if self.polarity is not None and self.events >= MIN_EVENTS and shape[0] == 2:
            statistics["polarity"] = self.polarity
        if self.frames:
            statistics["events_a_pixel"] = self.events_used / (self.frames * shape[-2] * shape[-1])
        return statistics


def describe_training(outcomes: Sequence[EventOutcome], shape: Sequence[int]) -> dict[str, object]:
    """Return the card entry `trained_on`: the statistics of the recordings that trained a network.

    `shape` is the network's input (C, H, W). The module's docstring lists the keys.
    """
    sizes = {outcome.sensor for outcome in outcomes}
    entry: dict[str, object] = {"samples": len(outcomes), "size": list(sizes.pop()) if len(sizes) == 1 else None}
    statistics = [outcome.compute_statistics(shape) for outcome in outcomes]
    for name in RANGES:
        if values := [sample[name] for sample in statistics if name in sample]:
            entry[name] = [float(f"{end:.3g}") for end in np.quantile(values, (0.05, 0.95))]
    return entry


class DomainMonitor(Protocol):
    """A comparison of recordings, one after the other, with the training data in a network's card.

    steps       the time steps of a training sample;  recordings: how many were compared
    """

    steps: int
    recordings: int

    def add(self, name: str, outcome: EventOutcome, unfinished: bool = False) -> None:
        """Compare one more recording with the training data in a network's card.

        `unfinished`: see `compare`.
        """

    def compare(self, outcome: EventOutcome, unfinished: bool = False) -> Iterator[str]:
        """Yield each difference of a recording from the network's training data, in half a line of text.

        unfinished: more events may come, so missing events are not reported.
        """

    def line(self) -> str | None:
        """Return one line about recordings that differ from the training data, or None where nearly all are like it."""

    def to_dict(self) -> dict[str, object]:
        """Return the comparison of recordings with the training data as a dictionary for JSON."""


def load_domain_monitor(card: Card, framing: Framing | None = None) -> DomainMonitor | None:
    """Load the plug-in part that compares recordings with a card's training data; None if there is no such part.

    `framing` replaces the card's framing.
    """
    monitors: list[DomainMonitor] = [
        monitor for part in find_observers("recordings") for monitor in part.load("hear")(card, framing)
    ]
    return monitors[0] if monitors else None


def format_statistic(name: str, *values: float) -> str:
    """Format one value of a recording's statistic (a name in RANGES) with its unit, or both ends of a range without."""
    is_range = len(values) > 1
    if name == "rate":
        return " to ".join(map(format_count, values)) + " events a second" * (not is_range)
    if name == "polarity":
        return " to ".join(f"{100 * value:.0f}" for value in values) + " % ON" * (not is_range)
    return " to ".join(f"{value:.2g}" for value in values) + " events a pixel and frame" * (not is_range)
