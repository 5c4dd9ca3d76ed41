"""The prediction of a network about each sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from runtime.core.events.fit import EventOutcome
from runtime.native.rules import choose_answers

NONE = -1  # the answer of a sample without a label
MAX_LOSS = 0.01  # share of lost events above which a recording counts as incomplete


class PredictionRow(TypedDict):
    """A prediction as a row of JSON or of a table, with the names of its classes.

    scores  in the order of the classes;  margin: the lead of the highest score over the second
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
    """The prediction of a network about one sample.

    sample        its number in the split, from 0
    path          of the recording
    truth         its class, an index into the classes; None if unknown
    scores        of every class: spikes that voted for it, as a share (0..1) of all possible ones, voters x
                  steps. Of a network that does not vote: the mean output. Empty if the sample could not be read
    steps         time-steps that it took
    milliseconds  of the engine: the calls of its batch, divided by the rows in it
    error         why it could not be read; None if it could
    why           why it has no label although it could be read
    events, events_used, events_lost, sensor, sensor_from, frames, polarity, duration_us, events_not_shown   fields
                                      of its EventOutcome (runtime/core/events/fit.py): None for still images
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
        """The class with the highest score of a prediction, the lowest among equals; None without a label.

        There is none if `why` is set, or if all scores are 0.
        """
        label = int(choose_answers(np.array(self.scores))) if self.scores and self.why is None else -1
        return None if label < 0 else label

    @property
    def event_outcome(self) -> EventOutcome | None:
        """The numbers of used and lost events of the sample; None if unknown."""
        if self.events is None or self.sensor is None:
            return None
        lost, source = self.events_lost or 0, str(self.sensor_from)
        facts = (self.events, self.events_used or 0, lost, self.sensor, source)
        return EventOutcome(*facts, self.frames or 0, self.polarity, self.duration_us or 0, self.events_not_shown or 0)

    @property
    def has_heavy_loss(self) -> bool:
        """True if the sample of a prediction lost more than one event in a hundred."""
        return bool(self.events_lost and self.events and self.events_lost > MAX_LOSS * self.events)

    @property
    def note(self) -> str | None:
        """The text in the column `why` of a prediction table: the reason of a missing label, and lost events."""
        lost = f"{self.events_lost} of {self.events} events were lost" if self.has_heavy_loss else None
        return "; ".join(filter(None, (self.why, lost))) or None

    @property
    def margin(self) -> float | None:
        """The lead of the highest score of a prediction over the second; None with fewer than two classes."""
        if len(self.scores) < 2:
            return None
        second, first = sorted(self.scores)[-2:]
        return first - second


def to_json_row(prediction: Prediction, classes: Sequence[str]) -> PredictionRow:
    """Return a prediction as a line of predictions.jsonl, with the names of its classes."""
    truth, predicted = (None if i is None else classes[i] for i in (prediction.truth, prediction.predicted))
    return {
        "sample": prediction.sample,
        "path": prediction.path,
        "truth": truth,
        "predicted": predicted,
        "scores": list(prediction.scores),
        "margin": prediction.margin,
        "steps": prediction.steps,
        "events": prediction.events,
        "error": prediction.error,
        "why": prediction.note,
        "sensor": prediction.sensor,
        "sensor_from": prediction.sensor_from,
        "events_used": prediction.events_used,
        "events_lost": prediction.events_lost,
    }
