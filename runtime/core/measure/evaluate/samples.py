"""The sources of an evaluation's samples, small enough to be sent to a worker that opens them again."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Protocol

import numpy as np

from runtime.core.base.errors import PlifError, PlifWarning
from runtime.core.data import Dataset, open_dataset, parse_spec
from runtime.core.data.dataset import EventSet
from runtime.core.engines.model import OpenModel
from runtime.core.events.fit import EventOutcome
from runtime.core.events.framing import resolve_framing


class SampleSource(Protocol):
    """A source of samples that a worker process can open; `str` of it is the text that the user typed."""

    @property
    def place(self) -> str:
        """The folder that all sample paths begin with; empty if there is none."""
        ...

    def open(self, model: OpenModel) -> Dataset:
        """Open the samples in the format of a model. Raises PlifError if they do not fit it."""
        ...


@dataclass(frozen=True)
class DatasetSplit:
    """One split of the data set `NAME:DIR`."""

    data: str
    split: str = "test"

    def __str__(self) -> str:
        return f"{self.data}, {self.split}"

    @property
    def place(self) -> str:
        """The folder DIR of the data set NAME:DIR."""
        location = parse_spec(self.data)[1]
        return str(Path(location)) if location else ""  # in the spelling of the paths

    def open(self, model: OpenModel) -> Dataset:
        """Open the data set for a model. Raises PlifError if classes or kind of input do not fit."""
        card = model.card
        dataset = open_dataset(
            self.data,
            self.split,
            framing=resolve_framing(card),
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


def load_sample(dataset: Dataset | EventSet, i: int) -> tuple[np.ndarray, EventOutcome | None]:
    """Read sample i of a data set: (frames float32 [T, C, H, W], its event counts), or (image [C, H, W], None).

    Raises PlifError if it is unreadable, or too short for a frame.
    """
    if not isinstance(dataset, EventSet):
        return dataset.sample(i), None
    frames, outcome = dataset.frames(i)
    if not len(frames):
        raise PlifError(f"{dataset.path(i)}: {outcome.events} events, too few for one frame of {dataset.framing}")
    return frames, outcome


@dataclass(frozen=True)
class Sample:
    """One sample of a data set after reading: frames float32 [T, C, H, W], an image [C, H, W], or the error.

    event_outcome  numbers of used and lost events, None for an image;  notes  remarks of its reader
    """

    i: int
    x: np.ndarray | None = None
    event_outcome: EventOutcome | None = None
    error: str | None = None
    notes: tuple[str, ...] = ()


MAX_BYTES = 1 << 28  # bytes of frames in one array
_WARNINGS_LOCK = Lock()  # catching warnings affects all threads


@dataclass(frozen=True)
class SampleBatch:
    """Some samples of a data set after reading.

    x  the frames of all, float32 [T, samples, C, H, W], if they are in one array
    """

    samples: list[Sample]
    x: np.ndarray | None = None


def read_samples(dataset: Dataset | EventSet, indices: range) -> SampleBatch:
    """Read some samples of a data set; threads may call it in parallel."""
    x = None
    if isinstance(dataset, EventSet) and dataset.framing.T is not None:
        shape = (dataset.framing.T, len(indices), *dataset.shape)
        x = np.empty(shape, np.float32) if 4 * math.prod(shape) <= MAX_BYTES else None
    samples = [_try_sample(dataset, i, None if x is None else x[:, n]) for n, i in enumerate(indices)]
    return SampleBatch(samples, x if all(sample.x is not None and sample.x.base is x for sample in samples) else None)


def _try_sample(dataset: Dataset | EventSet, i: int, out: np.ndarray | None) -> Sample:
    if isinstance(dataset, EventSet) and (fields := dataset.read_frames_native(i, out)) is not None:
        return Sample(i, *fields)
    with _WARNINGS_LOCK, warnings.catch_warnings(record=True) as remarks:
        warnings.simplefilter("always")
        try:
            x, outcome, error = *load_sample(dataset, i), None
        except PlifError as refused:
            x, outcome, error = None, None, str(refused)
    notes = tuple(str(remark.message) for remark in remarks if issubclass(remark.category, PlifWarning))
    return Sample(i, x, outcome, error, notes)
