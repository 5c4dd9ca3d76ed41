"""Does a recording fit a network? Where what is seen of its events is far from what the card says of training (`trained_on`).

There answers are lost. Points of accuracy that the three networks in models/ lose, the least and the most, on 100 real digits and
72 held-out simulated gestures:

    SIDE      the scene in the middle of a sensor 1.25 times as wide and high: 4 to 7, 1.5 times: 3 to 23; cut to 0.9: at most 3,
              to 0.8: 12 to 17
    DENSITY   a quarter of the events, about half of the low end: 3 to 8, a tenth: 5 to 70; as much noise as events: 29 to 53
    SHARE     half of one polarity left out: at most 5, three quarters: at most 26
    TEMPO     ten times as fast: 28 and 43 where frames follow a clock, none where they count events. It tells a clock of another
              unit and another kind of scene, DENSITY the rest
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from runtime.core.events.fit import UNLIKE, Fate, Likeness, in_words
from runtime.core.events.framing import Framing, framing_of
from runtime.core.events.size import unlike
from runtime.core.model.card import RANGES

if TYPE_CHECKING:
    from runtime.core.model.card import Card

SIDE = 1.25  # how many times as long or as short a side of the sensor may be
DENSITY = 2.0  # how many times above and below its range the number of events a pixel may be,
TEMPO = 10.0  # and the rate
SHARE = 0.2  # how far from its range the share of ON may be
MANY = 20  # one recording of a set in so many may be far: training left out as many at each end
REMEDY = "resize=nearest in the framing shows one pixel of each cell"


def hear(card: Card, framing: Framing | None) -> list[Likeness]:
    """Who compares recordings with this card."""
    return [Fit(card, framing)]


class Fit:
    """Compares recordings with the card of a network, one after the other.

    framing     how their events become frames; the card's when None
    recordings  how many were looked at;  far: how many are far from the training
    why, first  of the first of these: what is far, and its name
    """

    def __init__(self, card: Card, framing: Framing | None = None) -> None:
        self.framing = framing or framing_of(card) or Framing("count")  # of still images nothing is compared
        self.shape: list[int] = card["input"]["shape"]
        self.steps = int(card["T"])  # of a sample of the training
        said = card.get("trained_on", {})
        self.size: list[int] | None = said.get("size", card.get("sensor"))
        self.ranges: dict[str, tuple[float, float]] = {name: said[name] for name in RANGES if name in said}
        self.recordings = self.far = 0
        self.first: str | None = None
        self.why: list[str] = []

    def add(self, name: str, seen: Fate, goes_on: bool = False) -> None:
        """Compares one. goes_on: as of `compare`."""
        found = [*self.compare(seen, goes_on)]
        self.recordings += 1
        self.far += bool(found)
        if found and self.first is None:
            self.first, self.why = name, found

    def compare(self, seen: Fate, goes_on: bool = False) -> Iterator[str]:
        """What is far from the training, each in half a line. goes_on: more events may come, so none are missed yet."""
        remedy = f"; {REMEDY}" if self._sums_up(seen.sensor) else ""
        yield from self._of_sensor(seen, remedy)
        numbers, few = seen.numbers(self.shape), False
        for name, times in (("events_a_pixel", DENSITY), ("rate", TEMPO)):
            if name in numbers and name in self.ranges:
                low, high = self.ranges[name]
                below, above = numbers[name] < low / times, numbers[name] > high * times
                few = few or below
                if above or (below and not goes_on):
                    advice = remedy if above and name == "events_a_pixel" else ""
                    yield f"{in_words(name, numbers[name])}, not {in_words(name, low, high)}{advice}"
        low, high = self.ranges.get("polarity", (0.0, 1.0))
        share = numbers.get("polarity", low)
        if not few and not low - SHARE <= share <= high + SHARE:
            yield f"{in_words('polarity', share)}, not {in_words('polarity', low, high)}"

    def _sums_up(self, sensor: tuple[int, int]) -> bool:
        """Whether a cell has the events of several pixels of the sensor."""
        pixels = self.framing.pixels(sensor, self.shape)
        summed = self.framing.resize in ("sum", "auto")
        return summed and (pixels[0] > self.shape[-1] or pixels[1] > self.shape[-2])

    def _of_sensor(self, seen: Fate, remedy: str) -> Iterator[str]:
        """What the pixels that are shown tell; remedy: what is to be done where cells have the events of several."""
        (width, height), trained = seen.sensor, self.size
        picture, pixels = self.framing.picture(seen.sensor), self.framing.pixels(seen.sensor, self.shape)
        why = None if trained or seen.sensor_from != "guess" else unlike(picture, self.shape)
        if trained and not all(1 / SIDE <= a / b <= SIDE for a, b in zip(pixels, trained, strict=True)):
            why = f"not {trained[0]}x{trained[1]}"
        if why:
            guess = ", a guess: say it with --sensor" if seen.sensor_from == "guess" else ""
            yield f"a sensor of {width}x{height}, {why}{guess}{remedy if self.framing.value == 'binary' else ''}"
        elif not 1 / SIDE <= picture[0] * pixels[1] / (picture[1] * pixels[0]) <= SIDE:
            yield f"{width}x{height} pixels pressed into {pixels[0]}x{pixels[1]}; shape=square in the framing shows the middle"

    def line(self) -> str | None:
        """What a person should know, once; None where (nearly) all recordings fit."""
        if self.far * MANY <= self.recordings:
            return None
        which = "" if self.recordings == 1 else f"{self.far} of {self.recordings} recordings are "
        first = "" if self.recordings == 1 else f"{self.first}: "
        return f"{which}{UNLIKE}: {first}{'; '.join(self.why)}"

    def to_dict(self) -> dict[str, object]:
        """fits: None where the card says nothing of the training; the rest as above."""
        known = self.recordings and (self.size or self.ranges or self.far)
        fits = self.far * MANY <= self.recordings if known else None
        return {"fits": fits, "recordings": self.recordings, "far": self.far, "first": self.first, "why": self.why}
