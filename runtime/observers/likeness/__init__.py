"""Domain check: whether recordings match the training data of a network, by the card's `trained_on`.

Far from the training data, answers are lost. The table has the points of accuracy that the three networks in models/
lose, the least and the most, on 100 real digits and 72 held-out simulated gestures:

    SIDE      the scene in the middle of a sensor 1.25 times as wide and high: 4 to 7, 1.5 times: 3 to 23; cut to 0.9:
      at most 3,
              to 0.8: 12 to 17
    DENSITY   a quarter of the events, about half of the low end: 3 to 8, a tenth: 5 to 70; as much noise as events:
      29 to 53
    SHARE     half of one polarity left out: at most 5, three quarters: at most 26
    TEMPO     ten times as fast: 28 and 43 for frames that follow a clock, none for frames that count events. It
              detects a clock of another unit and another kind of scene, DENSITY the other cases
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from runtime.core.events.fit import UNLIKE_TRAINING, DomainMonitor, EventOutcome, format_statistic
from runtime.core.events.framing import Framing, resolve_framing
from runtime.core.events.size import explain_mismatch
from runtime.core.model.card import RANGES

if TYPE_CHECKING:
    from runtime.core.model.card import Card

SIDE = 1.25  # the largest ratio of the sensor's sides to those of the training
DENSITY = 2.0  # the largest factor outside its range, for events a pixel,
TEMPO = 10.0  # and for the event rate
SHARE = 0.2  # the largest distance of the share of ON from its range
FAR_ONE_IN = 20  # one recording in this number may be far: the ranges leave out as many at each end
REMEDY = "resize=nearest in the framing shows one pixel of each cell"


def hear(card: Card, framing: Framing | None) -> list[DomainMonitor]:
    """Return the check that compares recordings with the training data described in the artifact's metadata card."""
    return [DomainCheck(card, framing)]


class DomainCheck:
    """A check that compares recordings, one by one, with the training data described in an artifact's metadata card.

    framing     the rule from events to frames; the card's if None
    recordings  the number of checked recordings;  far: the number of those that are far from the training data
    why, first  of the first of these: its differences, and its name
    """

    def __init__(self, card: Card, framing: Framing | None = None) -> None:
        self.framing = framing or resolve_framing(card) or Framing("count")  # still images are not compared
        self.shape: list[int] = card["input"]["shape"]
        self.steps = int(card["T"])  # of a training sample
        trained_on = card.get("trained_on", {})
        self.size: list[int] | None = trained_on.get("size", card.get("sensor"))
        self.ranges: dict[str, tuple[float, float]] = {name: trained_on[name] for name in RANGES if name in trained_on}
        self.recordings = self.far = 0
        self.first: str | None = None
        self.why: list[str] = []

    def add(self, name: str, outcome: EventOutcome, unfinished: bool = False) -> None:
        """Compare one recording with the training data, and count it as similar or far.

        unfinished: as in `compare`.
        """
        differences = [*self.compare(outcome, unfinished)]
        self.recordings += 1
        self.far += bool(differences)
        if differences and self.first is None:
            self.first, self.why = name, differences

    def compare(self, outcome: EventOutcome, unfinished: bool = False) -> Iterator[str]:
        """Yield the differences of a recording from the training data, each as a short text.

        unfinished: more events may come, so few events are no difference yet.
        """
        remedy = f"; {REMEDY}" if self._sums_pixels(outcome.sensor) else ""
        yield from self._compare_sensor(outcome, remedy)
        numbers, has_few = outcome.compute_statistics(self.shape), False
        for name, times in (("events_a_pixel", DENSITY), ("rate", TEMPO)):
            if name in numbers and name in self.ranges:
                low, high = self.ranges[name]
                below, above = numbers[name] < low / times, numbers[name] > high * times
                has_few = has_few or below
                if above or (below and not unfinished):
                    advice = remedy if above and name == "events_a_pixel" else ""
                    yield f"{format_statistic(name, numbers[name])}, not {format_statistic(name, low, high)}{advice}"
        low, high = self.ranges.get("polarity", (0.0, 1.0))
        share = numbers.get("polarity", low)
        if not has_few and not low - SHARE <= share <= high + SHARE:
            yield f"{format_statistic('polarity', share)}, not {format_statistic('polarity', low, high)}"

    def _sums_pixels(self, sensor: tuple[int, int]) -> bool:
        """Return whether a pixel of the network's input frame sums the events of several sensor pixels."""
        pixels = self.framing.sampled_size(sensor, self.shape)
        summed = self.framing.resize in ("sum", "auto")
        return summed and (pixels[0] > self.shape[-1] or pixels[1] > self.shape[-2])

    def _compare_sensor(self, outcome: EventOutcome, remedy: str) -> Iterator[str]:
        """Yield a recording's differences in sensor size and shape from the training data, as texts with advice."""
        (width, height), trained = outcome.sensor, self.size
        picture, pixels = (
            self.framing.visible_size(outcome.sensor),
            self.framing.sampled_size(outcome.sensor, self.shape),
        )
        difference = None if trained or outcome.sensor_from != "guess" else explain_mismatch(picture, self.shape)
        if trained and not all(1 / SIDE <= a / b <= SIDE for a, b in zip(pixels, trained, strict=True)):
            difference = f"not {trained[0]}x{trained[1]}"
        if difference:
            guess = ", a guess: say it with --sensor" if outcome.sensor_from == "guess" else ""
            yield f"a sensor of {width}x{height}, {difference}{guess}{remedy if self.framing.value == 'binary' else ''}"
        elif not 1 / SIDE <= picture[0] * pixels[1] / (picture[1] * pixels[0]) <= SIDE:
            yield f"{width}x{height} pixels pressed into {pixels[0]}x{pixels[1]}; shape=square in the framing shows the middle"

    def line(self) -> str | None:
        """Return a line of warning that recordings differ from the training data, or None if (nearly) all are similar."""
        if self.far * FAR_ONE_IN <= self.recordings:
            return None
        subject = "" if self.recordings == 1 else f"{self.far} of {self.recordings} recordings are "
        first = "" if self.recordings == 1 else f"{self.first}: "
        return f"{subject}{UNLIKE_TRAINING}: {first}{'; '.join(self.why)}"

    def to_dict(self) -> dict[str, object]:
        """Return the comparison of recordings with the training data as a dict; `fits` is None if it is not known."""
        is_known = self.recordings and (self.size or self.ranges or self.far)
        fits = self.far * FAR_ONE_IN <= self.recordings if is_known else None
        return {"fits": fits, "recordings": self.recordings, "far": self.far, "first": self.first, "why": self.why}
