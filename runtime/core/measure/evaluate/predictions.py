"""What a network said about each sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from runtime.core.events.fit import Fate
from runtime.native.rules import answers_of

NONE = -1  # the answer as a number, where there is none
MUCH = 0.01  # a recording that lost a larger share of its events is no longer what the camera saw


class PredictionRow(TypedDict):
    """A prediction in JSON and in tables, with the names of its classes.

    scores  in the order of the classes;  margin: how far the highest is above the second
    why     why it has no label, or how many of its events were lost
    """

    sample: int
    path: str
    truth: str | None
    predicted: str | None
    scores: list[float]
    margin: float | None
    steps: int
    events: int | None
    error: str | None
    why: str | None
    sensor: tuple[int, int] | None
    sensor_from: str | None
    events_used: int | None
    events_lost: int | None


@dataclass(frozen=True)
class Prediction:
    """One sample: what it is, and what the network said.

    sample        its number in the split, from 0
    path          where it is
    truth         its class, an index into the classes; None where nobody knows
    scores        of every class: spikes that voted for it, as a share (0..1) of all possible ones, voters x steps. Of a network
                  that does not vote: the mean output. Empty where the sample could not be read
    steps         time-steps that it took
    milliseconds  of the engine: the calls of its batch, divided by the rows in it
    error         why it could not be read; None where it could
    why           why it has no label although it could be read
    events, events_used, events_lost, sensor, sensor_from, frames, polarity, duration_us, events_not_shown   as in Fate
                  (runtime/core/events/fit.py): None for still images
    """

    sample: int
    path: str
    truth: int | None
    scores: tuple[float, ...] = ()
    steps: int = 0
    events: int | None = None
    milliseconds: float | None = None
    error: str | None = None
    why: str | None = None
    sensor: tuple[int, int] | None = None
    sensor_from: str | None = None
    events_used: int | None = None
    events_lost: int | None = None
    frames: int | None = None
    polarity: float | None = None
    duration_us: int | None = None
    events_not_shown: int | None = None

    @property
    def predicted(self) -> int | None:
        """The class with the highest score, the lowest among equals; None where there is a `why` not, or no score but 0."""
        found = int(answers_of(np.array(self.scores))) if self.scores and self.why is None else -1
        return None if found < 0 else found

    @property
    def fate(self) -> Fate | None:
        """Of its events; None where they are not known."""
        if self.events is None or self.sensor is None:
            return None
        lost, said = self.events_lost or 0, str(self.sensor_from)
        where = (self.events, self.events_used or 0, lost, self.sensor, said)
        return Fate(*where, self.frames or 0, self.polarity, self.duration_us or 0, self.events_not_shown or 0)

    @property
    def lost_much(self) -> bool:
        """Whether it lost more than one event in a hundred."""
        return bool(self.events_lost and self.events and self.events_lost > MUCH * self.events)

    @property
    def remark(self) -> str | None:
        """What a table says of it under `why`."""
        lost = f"{self.events_lost} of {self.events} events were lost" if self.lost_much else None
        return "; ".join(filter(None, (self.why, lost))) or None

    @property
    def margin(self) -> float | None:
        """How far the highest score is above the second."""
        if len(self.scores) < 2:
            return None
        second, first = sorted(self.scores)[-2:]
        return first - second


def json_row(one: Prediction, classes: Sequence[str]) -> PredictionRow:
    """A line of predictions.jsonl, with the texts as they are."""
    truth, predicted = (None if i is None else classes[i] for i in (one.truth, one.predicted))
    return {
        "sample": one.sample,
        "path": one.path,
        "truth": truth,
        "predicted": predicted,
        "scores": list(one.scores),
        "margin": one.margin,
        "steps": one.steps,
        "events": one.events,
        "error": one.error,
        "why": one.remark,
        "sensor": one.sensor,
        "sensor_from": one.sensor_from,
        "events_used": one.events_used,
        "events_lost": one.events_lost,
    }
