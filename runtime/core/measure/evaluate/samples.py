"""Where the samples of an evaluation come from. Small enough to be sent to a worker, which opens it again."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Protocol

import numpy as np

from runtime.core.base.errors import PlifError, PlifWarning
from runtime.core.data import Dataset, find, open_dataset
from runtime.core.data.dataset import EventSet
from runtime.core.engines.model import OpenModel
from runtime.core.events.fit import Fate
from runtime.core.events.framing import framing_of


class SampleSource(Protocol):
    """What a worker opens. As text it is what the user typed."""

    @property
    def place(self) -> str:
        """The folder that all paths begin with; empty where there is none."""
        ...

    def open(self, model: OpenModel) -> Dataset:
        """The samples, as the model takes them. Raises PlifError where they do not fit it."""
        ...


@dataclass(frozen=True)
class SplitOf:
    """One split of the data set `NAME:DIR`."""

    data: str
    split: str = "test"

    def __str__(self) -> str:
        return f"{self.data}, {self.split}"

    @property
    def place(self) -> str:
        """DIR of NAME:DIR."""
        place = find(self.data)[1]
        return str(Path(place)) if place else ""  # as it stands at the beginning of the paths

    def open(self, model: OpenModel) -> Dataset:
        """The data set. Raises PlifError when it does not fit the model (classes, kind of input)."""
        card = model.card
        dataset = open_dataset(
            self.data,
            self.split,
            framing=framing_of(card),
            shape=model.input_shape,
            normalisation=card["normalisation"],
            classes=model.classes,
            trained=card.get("sensor"),
        )
        if dataset.kind != card["input"]["kind"]:
            raise PlifError(
                f"{self.data}: holds {dataset.kind} samples, and {model.path} takes {card['input']['kind']} ones"
            )
        if len(dataset) == 0:
            raise PlifError(f"{self.data}: split '{self.split}' has no samples")
        return dataset


def read(dataset: Dataset | EventSet, i: int) -> tuple[np.ndarray, Fate | None]:
    """(x, fate) of sample i: float32 [T, C, H, W] and where its events went, or [C, H, W] and None.

    Raises PlifError where it cannot be read, or is too short for a frame.
    """
    if not isinstance(dataset, EventSet):
        return dataset.sample(i), None
    frames, fate = dataset.frames(i)
    if not len(frames):
        raise PlifError(f"{dataset.path(i)}: {fate.events} events, too few for one frame of {dataset.framing}")
    return frames, fate


@dataclass(frozen=True)
class Sample:
    """Sample i as it was read: frames float32 [T, C, H, W] or an image [C, H, W], or the reason why there is none.

    fate  of its events, None for an image;  notes  what its reader remarked
    """

    i: int
    x: np.ndarray | None = None
    fate: Fate | None = None
    error: str | None = None
    notes: tuple[str, ...] = ()


MOST_BYTES = 1 << 28  # of frames in one array
_ALONE = Lock()  # who catches warnings catches those of all threads


@dataclass(frozen=True)
class Reading:
    """Some samples as they were read. x: the frames of all, float32 [T, samples, C, H, W], where they lie in one array."""

    samples: list[Sample]
    x: np.ndarray | None = None


def read_samples(dataset: Dataset | EventSet, which: range) -> Reading:
    """Reads some samples. Threads may do so at the same time."""
    x = None
    if isinstance(dataset, EventSet) and dataset.framing.T is not None:
        shape = (dataset.framing.T, len(which), *dataset.shape)
        x = np.empty(shape, np.float32) if 4 * math.prod(shape) <= MOST_BYTES else None
    found = [_read_sample(dataset, i, None if x is None else x[:, n]) for n, i in enumerate(which)]
    return Reading(found, x if all(one.x is not None and one.x.base is x for one in found) else None)


def _read_sample(dataset: Dataset | EventSet, i: int, out: np.ndarray | None) -> Sample:
    if isinstance(dataset, EventSet) and (found := dataset.frames_in_one_call(i, out)) is not None:
        return Sample(i, *found)
    with _ALONE, warnings.catch_warnings(record=True) as remarks:
        warnings.simplefilter("always")
        try:
            x, fate, error = *read(dataset, i), None
        except PlifError as refused:
            x, fate, error = None, None, str(refused)
    notes = tuple(str(remark.message) for remark in remarks if issubclass(remark.category, PlifWarning))
    return Sample(i, x, fate, error, notes)
