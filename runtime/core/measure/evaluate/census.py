"""What the rows of a table say together: which sensors there were, what was lost, and what could not be read or decided."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypedDict, TypeVar

from runtime.core.base.errors import PlifError, PlifWarning
from runtime.core.events.fit import Likeness
from runtime.core.measure.evaluate.predictions import MUCH, NONE, Prediction

T = TypeVar("T")

MOST_NAMED = 20  # recordings in each list
MOST_SIZES = 4  # in a warning


class Unread(TypedDict):
    """Samples that could not be read: how many, and the first of them with their errors."""

    samples: int
    first: list[dict[str, str]]


class Lost(TypedDict):
    """Samples that lost more than MUCH of their events: how many, and the first of them; events: all that were lost."""

    samples: int
    events: int
    first: list[dict[str, str | int | None]]


def nothing_unread() -> Unread:
    return {"samples": 0, "first": []}


def nothing_lost() -> Lost:
    return {"samples": 0, "events": 0, "first": []}


@dataclass
class Census:
    """Counted in the one pass over all predictions.

    fit         of these recordings and the network
    predictions, truths   class of each sample, NONE (-1) where it has no answer; its own, None where it is not known or not read
    unanswered  those that could be read and have no label
    steps, all_steps   the most that a sample took, and those of all
    sensors     how many there are of each (size, who says it)
    """

    fit: Likeness | None
    predictions: list[int] = field(default_factory=list)
    truths: list[int | None] = field(default_factory=list)
    unreadable: Unread = field(default_factory=nothing_unread)
    unanswered: int = 0
    steps: int = 0
    all_steps: int = 0
    lost: Lost = field(default_factory=nothing_lost)
    sensors: Counter[tuple[tuple[int, int], str]] = field(default_factory=Counter)

    def add(self, one: Prediction) -> None:
        """Counts one."""
        predicted = one.predicted
        self.predictions.append(NONE if predicted is None else predicted)
        self.truths.append(None if one.error is not None else one.truth)
        self.steps, self.all_steps = max(self.steps, one.steps), self.all_steps + one.steps
        if one.error is not None:
            if _room(self.unreadable):
                self.unreadable["first"].append({"path": one.path, "error": one.error})
            return
        self.unanswered += predicted is None
        self.lost["events"] += one.events_lost or 0
        if one.lost_much and _room(self.lost):
            self.lost["first"].append({"path": one.path, "events": one.events, "events_lost": one.events_lost})
        if one.sensor is not None and one.sensor_from is not None:
            self.sensors[one.sensor, one.sensor_from] += 1
        if one.fate is not None and self.fit is not None:
            self.fit.add(one.path, one.fate)

    @property
    def sensor(self) -> tuple[int, int] | None:
        """That of all, None where they differ."""
        return _only({size for size, _ in self.sensors})

    @property
    def sensor_from(self) -> str | None:
        """Who says it of all, None where these differ."""
        return _only({said for _, said in self.sensors})

    def remark(self, name: str, advice: str, asked: tuple[int, int] | None) -> None:
        """Warns of sensors that the recordings did not say, of those that say another one than was asked for, and of recordings
        that do not fit the network."""
        silent = {size: n for (size, said), n in self.sensors.most_common() if said in ("model", "guess")}
        if silent:
            sizes = (self._taken(size, n) for size, n in [*silent.items()][:MOST_SIZES])
            count = sum(silent.values())
            _warn(
                f"{name}: {count} of {len(self.predictions)} recordings do not say their sensor: {'; '.join(sizes)}; {advice}"
            )
        other = sum(n for (size, said), n in self.sensors.items() if said == "recording" and size != asked)
        if asked is not None and other:
            _warn(f"{name}: {other} recordings say another sensor than {asked[0]}x{asked[1]}, and are read as they say")
        if self.fit is not None and (line := self.fit.line()):
            _warn(f"{name}: {line}")

    def _taken(self, size: tuple[int, int], n: int) -> str:
        said = "as in the network's training" if (size, "model") in self.sensors else "a guess"
        return f"{size[0]}x{size[1]} for {n} ({said})"


def problems(
    samples: int, unreadable: int, first: str | None, lost: Lost, told: str = "as their rows say"
) -> Iterator[PlifError]:
    """What ends a command with exit code 2 when all is written.

    first  the first of the `unreadable` ones and why, and `told` what that means;  lost  as in Census
    """
    if unreadable:
        yield PlifError(f"{unreadable} of {samples} recordings could not be read, {told}; the first is {first}")
    if lost["samples"]:
        one = lost["first"][0]
        yield PlifError(
            f"{lost['samples']} of {samples} recordings lost more than {100 * MUCH:g} % of their events, as their rows say; "
            f"the first is {one['path']}: {one['events_lost']} of {one['events']}; is its sensor right, and the file whole?"
        )


def _room(found: Unread | Lost) -> bool:
    """Counts a sample; whether it is among those that are named."""
    found["samples"] += 1
    return found["samples"] <= MOST_NAMED


def _only(found: set[T]) -> T | None:
    return found.pop() if len(found) == 1 else None


def _warn(text: str) -> None:
    warnings.warn(text, PlifWarning, stacklevel=4)
