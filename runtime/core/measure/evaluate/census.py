"""Statistics over all predictions: sensors, lost events, unreadable recordings and missing answers."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypedDict, TypeVar

from runtime.core.base.errors import PlifError, PlifWarning
from runtime.core.events.fit import DomainMonitor
from runtime.core.measure.evaluate.predictions import MAX_LOSS, NONE, Prediction

T = TypeVar("T")

MAX_NAMED = 20  # recordings that each list names
MAX_SIZES = 4  # sensor sizes in a warning


class UnreadableSamples(TypedDict):
    """The samples that could not be read: their number, and the first of them with their errors."""

    samples: int
    first: list[dict[str, str]]


class LostEvents(TypedDict):
    """The samples that lost over 1 % of their events: their number, the first ones, and all events lost."""

    samples: int
    events: int
    first: list[dict[str, str | int | None]]


def no_unreadable() -> UnreadableSamples:
    return {"samples": 0, "first": []}


def no_losses() -> LostEvents:
    return {"samples": 0, "events": 0, "first": []}


@dataclass
class PredictionStats:
    """The statistics over the predictions of a data set, counted in one pass.

    fit         how these recordings match the training of the network
    predictions, truths   class of each sample, NONE (-1) without an answer; its true class, None if unknown or
                          unreadable
    unanswered  readable samples without a label
    steps, all_steps   the most steps of one sample, and the steps of all
    sensors     the number of recordings of each (size, source of the size)
    """

    fit: DomainMonitor | None
    predictions: list[int] = field(default_factory=list)
    truths: list[int | None] = field(default_factory=list)
    unreadable: UnreadableSamples = field(default_factory=no_unreadable)
    unanswered: int = 0
    steps: int = 0
    all_steps: int = 0
    lost: LostEvents = field(default_factory=no_losses)
    sensors: Counter[tuple[tuple[int, int], str]] = field(default_factory=Counter)

    def add(self, prediction: Prediction) -> None:
        """Count one prediction in the statistics."""
        predicted = prediction.predicted
        self.predictions.append(NONE if predicted is None else predicted)
        self.truths.append(None if prediction.error is not None else prediction.truth)
        self.steps, self.all_steps = max(self.steps, prediction.steps), self.all_steps + prediction.steps
        if prediction.error is not None:
            if _count_listed(self.unreadable):
                self.unreadable["first"].append({"path": prediction.path, "error": prediction.error})
            return
        self.unanswered += predicted is None
        self.lost["events"] += prediction.events_lost or 0
        if prediction.has_heavy_loss and _count_listed(self.lost):
            self.lost["first"].append(
                {"path": prediction.path, "events": prediction.events, "events_lost": prediction.events_lost}
            )
        if prediction.sensor is not None and prediction.sensor_from is not None:
            self.sensors[prediction.sensor, prediction.sensor_from] += 1
        if prediction.event_outcome is not None and self.fit is not None:
            self.fit.add(prediction.path, prediction.event_outcome)

    @property
    def sensor(self) -> tuple[int, int] | None:
        """The sensor size (width, height) of all recordings of an evaluation; None if they differ."""
        return _single_value({size for size, _ in self.sensors})

    @property
    def sensor_from(self) -> str | None:
        """The source of the sensor size for all recordings; None if the sources differ."""
        return _single_value({source for _, source in self.sensors})

    def warn_about_sensors(self, name: str, advice: str, requested: tuple[int, int] | None) -> None:
        """Warn about recordings without a sensor size or with another one than requested.

        Warn, too, about recordings that do not match the training of the network.
        """
        silent = {size: n for (size, source), n in self.sensors.most_common() if source in ("model", "guess")}
        if silent:
            sizes = (self._describe_sensor(size, n) for size, n in [*silent.items()][:MAX_SIZES])
            count = sum(silent.values())
            _warn_user(
                f"{name}: {count} of {len(self.predictions)} recordings do not say their sensor: {'; '.join(sizes)}; {advice}"
            )
        differing = sum(n for (size, source), n in self.sensors.items() if source == "recording" and size != requested)
        if requested is not None and differing:
            _warn_user(
                f"{name}: {differing} recordings say another sensor than {requested[0]}x{requested[1]}, and are read as they say"
            )
        if self.fit is not None and (line := self.fit.line()):
            _warn_user(f"{name}: {line}")

    def _describe_sensor(self, size: tuple[int, int], n: int) -> str:
        reason = "as in the network's training" if (size, "model") in self.sensors else "a guess"
        return f"{size[0]}x{size[1]} for {n} ({reason})"


def list_problems(
    samples: int, unreadable: int, first: str | None, lost: LostEvents, effect: str = "as the predictions table lists"
) -> Iterator[PlifError]:
    """Yield the errors about an evaluation's samples that end a command with exit code 2 after all output.

    first  the first of the `unreadable` samples with its error, and `effect` their consequence;  lost: samples
           that lost events
    """
    if unreadable:
        yield PlifError(f"{unreadable} of {samples} recordings could not be read, {effect}; the first is {first}")
    if lost["samples"]:
        sample = lost["first"][0]
        yield PlifError(
            f"{lost['samples']} of {samples} recordings lost more than {100 * MAX_LOSS:g} % of their events "
            f"(the predictions table lists them); the first is {sample['path']}: {sample['events_lost']} of {sample['events']}; "
            "check its sensor size, and whether the file is complete"
        )


def _count_listed(samples: UnreadableSamples | LostEvents) -> bool:
    """Count one more sample in a list of samples, and return whether there is still room for its name."""
    samples["samples"] += 1
    return samples["samples"] <= MAX_NAMED


def _single_value(values: set[T]) -> T | None:
    return values.pop() if len(values) == 1 else None


def _warn_user(text: str) -> None:
    warnings.warn(text, PlifWarning, stacklevel=4)
