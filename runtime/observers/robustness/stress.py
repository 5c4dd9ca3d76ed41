"""Robustness: accuracy on recordings whose events were changed before they became frames, a curve for each kind of change.

A change is a function of events [N], of their sensor, of a level and of a seeded generator; level `plain` changes nothing. The
same seed gives the same events. To add one, write the function and enter it in STRESSES.
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
from runtime.core.measure.evaluate.loop import USUAL, Tally, answer, count
from runtime.core.measure.evaluate.samples import SplitOf, read_samples
from runtime.core.measure.metrics import wilson
from runtime.core.measure.options import JudgeOptions

SAMPLES = 200  # the first of the set
HOT_EVERY_US = 1000  # a hot pixel fires a thousand times a second

Size = tuple[int, int]  # (width, height) of the sensor
Change = Callable[[np.ndarray, Size, float, np.random.Generator], np.ndarray]


def _drop(events: np.ndarray, size: Size, level: float, rng: np.random.Generator) -> np.ndarray:
    """Each event is lost with probability `level`."""
    kept = events[rng.random(len(events)) >= level]
    return kept if len(kept) else events[:1]


def _noise(events: np.ndarray, size: Size, level: float, rng: np.random.Generator) -> np.ndarray:
    """level N more events of any pixel, time and polarity; N is how many there are."""
    n = round(level * len(events))
    added = _at_any_time(events, n, rng)
    added["x"], added["y"] = rng.integers(0, size[0], n), rng.integers(0, size[1], n)
    added["p"] = rng.random(n) < 0.5
    return _merged(events, added)


def _hot_pixels(events: np.ndarray, size: Size, level: float, rng: np.random.Generator) -> np.ndarray:
    """`level` pixels fire ON all the time, every HOT_EVERY_US."""
    ticks = np.arange(events["t"].min(), events["t"].max() + 1, HOT_EVERY_US)
    count = min(int(level), size[0] * size[1])
    pixels = rng.choice(size[0] * size[1], count, replace=False)
    added = np.zeros(len(ticks) * count, events.dtype)
    added["t"] = np.repeat(ticks, count)
    added["x"], added["y"] = np.tile(pixels % size[0], len(ticks)), np.tile(pixels // size[0], len(ticks))
    added["p"] = True
    return _merged(events, added)


def _stretch(events: np.ndarray, size: Size, level: float, rng: np.random.Generator) -> np.ndarray:
    """Time runs `level` times as long: a slower scene."""
    found: np.ndarray = events.copy()
    first = events["t"].min()
    found["t"] = first + np.rint((events["t"] - first) * level).astype(np.int64)
    return found


def _shift(events: np.ndarray, size: Size, level: float, rng: np.random.Generator) -> np.ndarray:
    """To the right by the share `level` of the width; what leaves the sensor is lost."""
    by = round(level * size[0])
    found: np.ndarray = events[events["x"].astype(np.int64) + by < size[0]].copy()
    found["x"] += by
    return found if len(found) else events[:1]


def _mirror(events: np.ndarray, size: Size, level: float, rng: np.random.Generator) -> np.ndarray:
    """Left and right change places."""
    found: np.ndarray = events.copy()
    if level:
        found["x"] = size[0] - 1 - np.minimum(events["x"], size[0] - 1)
    return found


def _swap(events: np.ndarray, size: Size, level: float, rng: np.random.Generator) -> np.ndarray:
    """ON and OFF change places."""
    found: np.ndarray = events.copy()
    if level:
        found["p"] = ~events["p"]
    return found


class Level(TypedDict):
    """One level of a stress, and the accuracy there with its 95 % interval."""

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
    """change, what it is in words, its levels (one of them is `plain`) and their unit."""

    change: Change
    what: str
    unit: str
    levels: tuple[float, ...]
    plain: float = 0.0


STRESSES: dict[str, Stress] = {
    "dropped": Stress(_drop, "events are lost", "share of events lost", (0, 0.1, 0.25, 0.5, 0.75, 0.9)),
    "noise": Stress(_noise, "noise is added", "noise events, as a share of the events", (0, 0.1, 0.25, 0.5, 1)),
    "hot": Stress(_hot_pixels, "pixels are hot", f"pixels that fire every {HOT_EVERY_US} µs", (0, 1, 2, 5, 10)),
    "stretched": Stress(_stretch, "time is stretched", "times as long", (0.5, 0.75, 1, 1.5, 2), plain=1),
    "shifted": Stress(_shift, "the picture is shifted", "share of the width", (0, 0.03, 0.06, 0.12, 0.25)),
    "mirrored": Stress(_mirror, "mirrored", "0 or 1", (0, 1)),
    "swapped": Stress(_swap, "polarity swapped", "0 or 1", (0, 1)),
}


class StressedSet(EventSet):
    """A set of recordings with a change of their events; each recording is changed alike, whoever asks and however often."""

    def __init__(self, inner: EventSet, name: str, level: float, seed: int = 0) -> None:
        self.__dict__.update(copy.copy(inner).__dict__)
        self._inner, self._stress, self._level, self._seed = inner, name, level, seed

    def recording(self, i: int) -> tuple[np.ndarray, Size, str]:
        """As EventSet.recording: (events [N], (width, height), how the view becomes upright), the events changed."""
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
    """Rows {"stress", "what", "unit", "level", "samples", "correct", "accuracy", "low", "high"}, the first of each kind first.

    limit  samples of each level, the first of the split; SAMPLES when None
    Raises PlifError for still images.
    """
    dataset = SplitOf(data, split).open(model)
    if not isinstance(dataset, EventSet):
        raise PlifError(f"{data}: --stress changes events, and these are still images")
    samples = min(limit or SAMPLES, len(dataset))
    points = [(name, level) for name, stress in STRESSES.items() for level in stress.levels]
    plain: tuple[int, int] | None = None  # right, samples
    rows: list[Level] = []
    for at, (name, level) in enumerate(points):
        stress, found = STRESSES[name], plain
        if level != stress.plain or found is None:
            found = _evaluate(model, StressedSet(dataset, name, level, seed), samples)
        if level == stress.plain:  # the same recordings for every kind: they are run once
            plain = found
        (right, n), (low, high) = found, wilson(*found)
        row: Level = {
            "stress": name,
            "what": stress.what,
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
            progress(at + 1, len(points))
    return rows


def _evaluate(model: OpenModel, dataset: StressedSet, samples: int) -> tuple[int, int]:
    """(right, those that can be read) of the first samples, a batch at a time."""
    batch, done = model.card.get("batch") or min(USUAL, samples), Tally()
    session = open_session(model, batch)
    for at in range(0, samples, batch):
        some = read_samples(dataset, range(at, min(at + batch, samples)))
        done.add(count(answer(session, dataset, some).predictions))
    return done.right, done.samples - done.unreadable


def _at_any_time(events: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """n events of EVENT_DTYPE between the first and the last; pixels and polarities are zero."""
    added = np.zeros(n, events.dtype)
    added["t"] = rng.integers(events["t"].min(), events["t"].max() + 1, n)
    return added


def _merged(events: np.ndarray, added: np.ndarray) -> np.ndarray:
    """Both in the order of time; the recording's own events keep their order."""
    both = np.concatenate([events, added])
    order = np.argsort(both["t"], kind="stable")
    return np.take(both, order)


def add_stress(bars: JudgeOptions, shown: bool, judged: Judgement, model: Model) -> None:
    """Adds the rows of all of them to what is found."""
    data, split, limit = judged.result.data, bars.split, bars.limit
    with Progress("under stress", shown) as progress:
        rows = measure_stress(model, data, split=split, limit=limit, progress=progress.update)
    judged.added["stress"] = rows
    judged.lines += _lines(rows)


def _lines(rows: Sequence[Level]) -> Iterator[str]:
    """A line for each kind of stress: its levels and the accuracy at each."""
    for name in dict.fromkeys(row["stress"] for row in rows):
        points = "  ".join(f"{row['level']:g}: {100 * row['accuracy']:.1f} %" for row in rows if row["stress"] == name)
        yield f"{name:<10} {points}"
