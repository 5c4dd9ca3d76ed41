"""Robustness: accuracy on recordings with events that were changed before framing, a curve for each kind of change.

A change is a function of events [N], of their sensor, of a level and of a seeded generator; level `plain` changes
nothing. The same seed gives the same events. To add one, write the function and enter it in STRESSES.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from runtime.core.api import Model
from runtime.core.base.errors import PlifError
from runtime.core.base.progress import Progress
from runtime.core.data.dataset import EventSet
from runtime.core.engines.model import OpenModel
from runtime.core.engines.unrolled import open_session
from runtime.core.measure.evaluate.judge import Judgement
from runtime.core.measure.evaluate.loop import DEFAULT_BATCH, Tally, count_predictions, run_samples
from runtime.core.measure.evaluate.samples import DatasetSplit, read_samples
from runtime.core.measure.metrics import wilson_interval
from runtime.core.measure.options import JudgeOptions

SAMPLES = 200  # the first samples of the set
HOT_EVERY_US = 1000  # a hot pixel fires a thousand times a second

Size = tuple[int, int]  # (width, height) of the sensor
Change = Callable[[np.ndarray, Size, float, np.random.Generator], np.ndarray]


def _drop_events(events: np.ndarray, size: Size, level: float, rng: np.random.Generator) -> np.ndarray:
    """Drop each of the events [N] with probability `level`."""
    passed = events[rng.random(len(events)) >= level]
    return passed if len(passed) else events[:1]


def _add_noise(events: np.ndarray, size: Size, level: float, rng: np.random.Generator) -> np.ndarray:
    """Add level * N random events to the events [N], of any pixel, time and polarity."""
    n = round(level * len(events))
    added = _random_times(events, n, rng)
    added["x"], added["y"] = rng.integers(0, size[0], n), rng.integers(0, size[1], n)
    added["p"] = rng.random(n) < 0.5
    return _merge_events(events, added)


def _add_hot_pixels(events: np.ndarray, size: Size, level: float, rng: np.random.Generator) -> np.ndarray:
    """Add `level` hot pixels to the events [N], which fire ON every HOT_EVERY_US."""
    ticks = np.arange(events["t"].min(), events["t"].max() + 1, HOT_EVERY_US)
    count = min(int(level), size[0] * size[1])
    pixels = rng.choice(size[0] * size[1], count, replace=False)
    added = np.zeros(len(ticks) * count, events.dtype)
    added["t"] = np.repeat(ticks, count)
    added["x"], added["y"] = np.tile(pixels % size[0], len(ticks)), np.tile(pixels // size[0], len(ticks))
    added["p"] = True
    return _merge_events(events, added)


def _stretch_time(events: np.ndarray, size: Size, level: float, rng: np.random.Generator) -> np.ndarray:
    """Stretch the times of the events [N] by the factor `level`, as if the scene moved more slowly."""
    stretched: np.ndarray = events.copy()
    first = events["t"].min()
    stretched["t"] = first + np.rint((events["t"] - first) * level).astype(np.int64)
    return stretched


def _shift(events: np.ndarray, size: Size, level: float, rng: np.random.Generator) -> np.ndarray:
    """Shift the events [N] to the right by the share `level` of the sensor's width; those beyond it are lost."""
    by = round(level * size[0])
    shifted: np.ndarray = events[events["x"].astype(np.int64) + by < size[0]].copy()
    shifted["x"] += by
    return shifted if len(shifted) else events[:1]


def _mirror(events: np.ndarray, size: Size, level: float, rng: np.random.Generator) -> np.ndarray:
    """Mirror the events [N] left to right, unless `level` is 0."""
    mirrored: np.ndarray = events.copy()
    if level:
        mirrored["x"] = size[0] - 1 - np.minimum(events["x"], size[0] - 1)
    return mirrored


def _swap_polarity(events: np.ndarray, size: Size, level: float, rng: np.random.Generator) -> np.ndarray:
    """Swap the ON and OFF polarities of the events [N], unless `level` is 0."""
    swapped: np.ndarray = events.copy()
    if level:
        swapped["p"] = ~events["p"]
    return swapped


class Level(TypedDict):
    """One strength of a change of the recordings (stress), and the accuracy there with its 95 % interval."""

    stress: str
    what: str
    unit: str
    level: float
    samples: int
    correct: int
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class Stress:
    """A kind of change of recordings (stress): the function, its description, its strengths (levels) and their unit."""

    change: Change
    description: str
    unit: str
    levels: tuple[float, ...]
    plain: float = 0.0


STRESSES: dict[str, Stress] = {
    "dropped": Stress(_drop_events, "events are lost", "share of events lost", (0, 0.1, 0.25, 0.5, 0.75, 0.9)),
    "noise": Stress(_add_noise, "noise is added", "noise events, as a share of the events", (0, 0.1, 0.25, 0.5, 1)),
    "hot": Stress(_add_hot_pixels, "pixels are hot", f"pixels that fire every {HOT_EVERY_US} µs", (0, 1, 2, 5, 10)),
    "stretched": Stress(_stretch_time, "time is stretched", "times as long", (0.5, 0.75, 1, 1.5, 2), plain=1),
    "shifted": Stress(_shift, "the picture is shifted", "share of the width", (0, 0.03, 0.06, 0.12, 0.25)),
    "mirrored": Stress(_mirror, "mirrored", "0 or 1", (0, 1)),
    "swapped": Stress(_swap_polarity, "polarity swapped", "0 or 1", (0, 1)),
}


class StressedDataset(EventSet):
    """A data set whose recordings have changed events (stress); each recording changes in the same way on each read."""

    def __init__(self, inner: EventSet, name: str, level: float, seed: int = 0) -> None:
        self.__dict__.update(copy.copy(inner).__dict__)
        self._inner, self._stress, self._level, self._seed = inner, name, level, seed

    def recording(self, i: int) -> tuple[np.ndarray, Size, str]:
        """Return recording i with its events changed, (events [N], (width, height), orientation)."""
        events, size, upright = self._inner.recording(i)
        rng = np.random.default_rng([self._seed, i, list(STRESSES).index(self._stress)])
        return STRESSES[self._stress].change(events, size, self._level, rng), size, upright


def measure_stress(
    model: OpenModel,
    data: str,
    *,
    split: str = "test",
    limit: int | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Level]:
    """Measure a model's accuracy at each strength of each change of the recordings (stress), one row for each.

    A row is {"stress", "what", "unit", "level", "samples", "correct", "accuracy", "low", "high"}.

    limit  samples of each level, the first of the split; SAMPLES if None

    Raises PlifError for still images.
    """
    dataset = DatasetSplit(data, split).open(model)
    if not isinstance(dataset, EventSet):
        raise PlifError(f"{data}: --stress changes events, and these are still images")
    samples = min(limit or SAMPLES, len(dataset))
    points = [(name, level) for name, stress in STRESSES.items() for level in stress.levels]
    plain: tuple[int, int] | None = None  # right, samples
    rows: list[Level] = []
    for index, (name, level) in enumerate(points):
        stress, counts = STRESSES[name], plain
        if level != stress.plain or counts is None:
            counts = _evaluate(model, StressedDataset(dataset, name, level, seed), samples)
        if level == stress.plain:  # the same recordings for every kind: they are run once
            plain = counts
        (right, n), (low, high) = counts, wilson_interval(*counts)
        row: Level = {
            "stress": name,
            "what": stress.description,
            "unit": stress.unit,
            "level": level,
            "samples": n,
            "correct": right,
            "accuracy": right / max(n, 1),
            "low": low,
            "high": high,
        }
        rows.append(row)
        if progress:
            progress(index + 1, len(points))
    return rows


def _evaluate(model: OpenModel, dataset: StressedDataset, samples: int) -> tuple[int, int]:
    """Evaluate the model on the first samples in batches, and return (number right, number readable)."""
    batch, tally = model.card.get("batch") or min(DEFAULT_BATCH, samples), Tally()
    session = open_session(model, batch)
    for first in range(0, samples, batch):
        some = read_samples(dataset, range(first, min(first + batch, samples)))
        tally.add(count_predictions(run_samples(session, dataset, some).predictions))
    return tally.right, tally.samples - tally.unreadable


def _random_times(events: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Make n events of EVENT_DTYPE at random times within a recording; their pixels and polarities are zero."""
    added = np.zeros(n, events.dtype)
    added["t"] = rng.integers(events["t"].min(), events["t"].max() + 1, n)
    return added


def _merge_events(events: np.ndarray, added: np.ndarray) -> np.ndarray:
    """Merge added events into the events [N] in time order; the recording's own events keep their order."""
    events_ = np.concatenate([events, added])
    order = np.argsort(events_["t"], kind="stable")
    return np.take(events_, order)


def add_stress(bars: JudgeOptions, shown: bool, judged: Judgement, model: Model) -> None:
    """Add to an evaluation the accuracy at each strength of each change of the recordings (stress)."""
    data, split, limit = judged.evaluation.data, bars.split, bars.limit
    with Progress("under stress", shown) as progress:
        rows = measure_stress(model, data, split=split, limit=limit, progress=progress.update)
    judged.added["stress"] = rows
    judged.lines += _summary_lines(rows)


def _summary_lines(rows: Sequence[Level]) -> Iterator[str]:
    """Yield a line of text for each kind of change of the recordings (stress), with the accuracy at each strength."""
    for name in dict.fromkeys(row["stress"] for row in rows):
        points = "  ".join(f"{row['level']:g}: {100 * row['accuracy']:.1f} %" for row in rows if row["stress"] == name)
        yield f"{name:<10} {points}"
