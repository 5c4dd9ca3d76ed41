"""Training data in memory: every sample of a split, once, as one tensor in the smallest type that holds it exactly.

Reading, framing and normalising are `runtime.core.data`, the same code that evaluation and deployment use. Event counts fit
uint8 as a rule, so the 1,464 recordings of DVS128 Gesture take about 1 GB at T=20.
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
from runtime.core.parts import given_by_parts


@dataclass
class Samples(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """A data set for torch.utils.data.DataLoader: samples[i] is (x[i], y[i]), x as it is stored.

    x [N, T, C, H, W] (events: counts) or [N, C, H, W] (static), uint8, int16 or float32; y [N], int64 class indices.
    A network takes float32 [T, B, ...]: a batch of a loader becomes that by `x.float().transpose(0, 1)`.
    """

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        """(x [T, C, H, W] or [C, H, W], y scalar) of one sample."""
        return self.x[i], self.y[i]

    def order(self) -> Tensor:
        """The numbers of the samples of one epoch, int64 [N]."""
        return torch.randperm(len(self))

    def pick(self, indices: Tensor) -> Samples:
        """Copies of the samples with these numbers, [n], int64."""
        return Samples(self.x[indices], self.y[indices])


class TrainSet(Protocol):
    """What a training draws from: Samples, or windows of events that are cut and varied anew each time (samples)."""

    y: Tensor  # int64 [N], the class of each sample

    def __len__(self) -> int: ...

    def order(self) -> Tensor:
        """The numbers of the samples of one epoch, int64 [N]."""
        ...

    def pick(self, indices: Tensor) -> Samples:
        """The samples with these numbers, [n], int64."""
        ...


def load_samples(
    dataset: Dataset,
    limit: int | None = None,
    what: str = "reading",
    cache: str | Path | None = None,
    quiet: bool = False,
) -> Samples:
    """Reads a split; `limit` takes that many samples, spread evenly over it.

    what    names the progress bar; quiet: draws none
    cache   a folder in which the samples are kept, ready for the next run, where the part frames_cache is there; x is then a map
            of a file and need not fit into memory

    Raises PlifError for an empty split, for samples that cannot be read and for those that differ in shape.
    """
    indices = spread(dataset, limit)
    with Progress(what, not quiet) as progress:
        if cache is not None:
            load_cached = given_by_parts("hooks", "load_cached")
            if load_cached is None:
                raise PlifError(f"--cache {cache}: this plif keeps no frames; leave it out")
            x, y = load_cached(dataset, indices, Path(cache), progress.update)
        else:
            done = count(1)
            x, y = gather(dataset, indices, on_sample=lambda: progress.update(next(done), len(indices)))
    return Samples(torch.from_numpy(x), torch.from_numpy(y))


def spread(dataset: Dataset, limit: int | None = None) -> list[int]:
    """The numbers of the samples that a limit takes, evenly spread. PlifError when there are none."""
    found = len(dataset)
    if not found:
        raise PlifError(f"data set {dataset.name}: no samples found; expected some to train on")
    if limit is not None and limit < 1:
        raise PlifError(f"a limit of {limit} samples leaves nothing, expected at least 1")
    n = found if limit is None else min(limit, found)
    return [i * found // n for i in range(n)]


def split_per_class(y: Tensor, ratio: float = 0.85) -> tuple[Tensor, Tensor]:
    """Protocol B: of each class, in the data set's order, the first ceil(ratio n) to train and the rest to validate.

    y [N] are the labels; returns the numbers of the samples of both parts, int64, in rising order.
    """
    first, rest = [], []
    for c in y.unique().tolist():
        indices = (y == c).nonzero().flatten()
        n = math.ceil(len(indices) * ratio)
        first.append(indices[:n])
        rest.append(indices[n:])
    return torch.cat(first).sort().values, torch.cat(rest).sort().values


TYPES = (np.uint8, np.int16, np.float32)  # each holds what the ones before it hold


def gather(
    dataset: Dataset,
    indices: Sequence[int],
    like: tuple[int, ...] | None = None,
    on_sample: Callable[[], object] = lambda: None,
) -> tuple[np.ndarray, np.ndarray]:
    """The samples x [n, ...], uint8, int16 or float32, and their labels y [n], int64.

    like       the shape of a sample, where others of the set were read before; on_sample: called after each one
    PlifError for a sample that cannot be read, and for one of another shape.
    """
    x: np.ndarray | None = None
    for place, i in enumerate(indices):
        try:
            sample = np.asarray(dataset.sample(i))
        except OSError as error:
            raise PlifError(f"{dataset.path(i)}: cannot be read ({error.strerror or error})") from None
        if x is None:
            x = np.empty((len(indices), *(like or sample.shape)), np.uint8)
        if sample.shape != x.shape[1:]:
            raise PlifError(
                f"data set {dataset.name}: sample {i} ({dataset.path(i)}) is of shape {sample.shape}, others of "
                f"{x.shape[1:]}; "
                "give a framing that fixes the number of frames, e.g. count:T=10 or duration:10ms,T=16"
            )
        if not _holds(x.dtype, sample):
            # What was stored so far fits every wider type too.
            wider = TYPES[TYPES.index(x.dtype.type) + 1 :]
            x = x.astype(next(kind for kind in wider if _holds(np.dtype(kind), sample)))
        x[place] = sample
        on_sample()
    assert x is not None
    return x, labels_of(dataset, indices)


def labels_of(dataset: Dataset, indices: Iterable[int]) -> np.ndarray:
    """The class of each sample, [n], int64."""
    return np.array([dataset.label(i) for i in indices], np.int64)


def _holds(dtype: np.dtype, sample: np.ndarray) -> bool:
    """Whether every number of the sample, of any shape, is one of this type."""
    if dtype == np.float32:
        return True
    limits = np.iinfo(dtype)
    whole = bool(sample.min() >= limits.min and sample.max() <= limits.max)  # first: a cast out of range is undefined
    return whole and bool((sample == sample.astype(dtype)).all())
