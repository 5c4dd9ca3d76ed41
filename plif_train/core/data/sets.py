"""Training data in memory: all samples of a split as one tensor, in the smallest type that holds it exactly.

Reading, framing and normalising are `runtime.core.data`, the same code that evaluation and deployment use. Event
counts fit uint8 as a rule, so the 1,464 recordings of DVS128 Gesture take about 1 GB at T=20.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.utils.data
from torch import Tensor

from runtime.core.base.errors import PlifError
from runtime.core.base.progress import Progress
from runtime.core.data import Dataset
from runtime.core.parts import load_from_parts


@dataclass
class Samples(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """Samples in memory as a data set for torch.utils.data.DataLoader: samples[i] is (x[i], y[i]).

    x [N, T, C, H, W] (events: counts) or [N, C, H, W] (static), uint8, int16 or float32; y [N], int64 class indices.
    A network takes float32 [T, B, ...]: a batch of a loader becomes that by `x.float().transpose(0, 1)`.
    """

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        """Return one sample of a data set in memory: (x [T, C, H, W] or [C, H, W], label y)."""
        return self.x[i], self.y[i]

    def draw_order(self) -> Tensor:
        """Return the numbers of all samples of a data set, shuffled for one epoch, int64 [N]."""
        return torch.randperm(len(self))

    def pick(self, indices: Tensor) -> Samples:
        """Return copies of the samples of a data set with these numbers, given as int64 [n]."""
        return Samples(self.x[indices], self.y[indices])


class TrainSet(Protocol):
    """The interface of training samples: whole samples in memory, or windows of events cut anew in each epoch."""

    y: Tensor  # int64 [N], the class of each sample

    def __len__(self) -> int: ...

    def draw_order(self) -> Tensor:
        """Return the numbers of all samples of a data set, shuffled for one epoch, int64 [N]."""
        ...

    def pick(self, indices: Tensor) -> Samples:
        """Return the training samples with these numbers, given as int64 [n]."""
        ...


def load_samples(
    dataset: Dataset,
    limit: int | None = None,
    title: str = "reading",
    cache: str | Path | None = None,
    quiet: bool = False,
) -> Samples:
    """Read a split of a data set into memory; `limit` selects that many samples, spread evenly over the split.

    title    the name of the progress bar; quiet: draws none
    cache    a folder that keeps the samples for the next run, if the part frames_cache is installed; x is then a memory
             map of a file and need not fit into memory

    Raises PlifError for an empty split, for samples that cannot be read and for those that differ in shape.
    """
    indices = spread_indices(dataset, limit)
    with Progress(title, not quiet) as progress:
        if cache is not None:
            load_cached = load_from_parts("hooks", "load_cached")
            if load_cached is None:
                raise PlifError(f"--cache {cache}: this plif keeps no frames; leave it out")
            x, y = load_cached(dataset, indices, Path(cache), progress.update)
        else:
            counter = count(1)
            x, y = read_samples(dataset, indices, on_sample=lambda: progress.update(next(counter), len(indices)))
    return Samples(torch.from_numpy(x), torch.from_numpy(y))


def spread_indices(dataset: Dataset, limit: int | None = None) -> list[int]:
    """Return `limit` sample numbers that are spread evenly over a data set.

    Raises PlifError if there are none.
    """
    total = len(dataset)
    if not total:
        raise PlifError(f"data set {dataset.name}: no samples found; expected some to train on")
    if limit is not None and limit < 1:
        raise PlifError(f"a limit of {limit} samples leaves nothing, expected at least 1")
    n = total if limit is None else min(limit, total)
    return [i * total // n for i in range(n)]


def split_per_class(y: Tensor, ratio: float = 0.85) -> tuple[Tensor, Tensor]:
    """Split each class's samples into a first part for training and a second part for validation (protocol B).

    The first part has ceil(ratio n) samples in the data set's order. y [N] are the labels. Returns the sample numbers
    of both parts, int64, in rising order.
    """
    first, second = [], []
    for c in y.unique().tolist():
        indices = (y == c).nonzero().flatten()
        n = math.ceil(len(indices) * ratio)
        first.append(indices[:n])
        second.append(indices[n:])
    return torch.cat(first).sort().values, torch.cat(second).sort().values


TYPES = (np.uint8, np.int16, np.float32)  # each holds what the ones before it hold


def read_samples(
    dataset: Dataset,
    indices: Sequence[int],
    shape: tuple[int, ...] | None = None,
    on_sample: Callable[[], object] = lambda: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Read samples of a data set into one array x [n, ...], uint8, int16 or float32, and labels y [n], int64.

    shape        the shape of a sample, if others of the set were read before
    on_sample    called after each sample

    Raises PlifError for a sample that cannot be read, and for one of another shape.
    """
    x: np.ndarray | None = None
    for place, i in enumerate(indices):
        try:
            sample = np.asarray(dataset.sample(i))
        except OSError as error:
            raise PlifError(f"{dataset.path(i)}: cannot be read ({error.strerror or error})") from None
        if x is None:
            x = np.empty((len(indices), *(shape or sample.shape)), np.uint8)
        if sample.shape != x.shape[1:]:
            raise PlifError(
                f"data set {dataset.name}: sample {i} ({dataset.path(i)}) is of shape {sample.shape}, others of "
                f"{x.shape[1:]}; "
                "give a framing that fixes the number of frames, e.g. count:T=10 or duration:10ms,T=16"
            )
        if not _is_exact(x.dtype, sample):
            # The samples stored so far fit every wider type too.
            wider = TYPES[TYPES.index(x.dtype.type) + 1 :]
            x = x.astype(next(kind for kind in wider if _is_exact(np.dtype(kind), sample)))
        x[place] = sample
        on_sample()
    assert x is not None
    return x, read_labels(dataset, indices)


def read_labels(dataset: Dataset, indices: Iterable[int]) -> np.ndarray:
    """Return the class labels of the samples with these numbers in a data set, [n], int64."""
    return np.array([dataset.label(i) for i in indices], np.int64)


def _is_exact(dtype: np.dtype, sample: np.ndarray) -> bool:
    """Return whether an integer or float type can store every number of a sample without rounding."""
    if dtype == np.float32:
        return True
    limits = np.iinfo(dtype)
    in_range = bool(
        sample.min() >= limits.min and sample.max() <= limits.max
    )  # first: a cast out of range is undefined
    return in_range and bool((sample == sample.astype(dtype)).all())
