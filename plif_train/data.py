"""Training data in memory: every sample of a split, once, as one tensor in the smallest type that holds it exactly.

Reading, framing and normalising are `runtime.data`, the same code that evaluation and deployment use. Event counts fit
uint8 as a rule, so the 1,464 recordings of DVS128 Gesture take about 1 GB at T=20.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from runtime.base.errors import PlifError
from runtime.base.progress import Progress


class Dataset(Protocol):
    """What runtime.data.open_dataset gives (`settings` only where there is a cache)."""

    name: str
    kind: str
    classes: tuple[str, ...]

    def __len__(self) -> int: ...
    def label(self, i: int) -> int: ...
    def sample(self, i: int) -> np.ndarray: ...
    def path(self, i: int) -> str: ...


@dataclass
class Samples:
    """x [N, T, C, H, W] (events) or [N, C, H, W] (static), uint8, int16 or float32; y [N] class indices."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def pick(self, indices: Tensor) -> Samples:
        return Samples(self.x[indices], self.y[indices])


_TYPES = (np.uint8, np.int16, np.float32)  # in the order of what they hold


def load_samples(
    dataset: Dataset,
    limit: int | None = None,
    progress: Progress | None = None,
    what: str = "reading",
    cache: str | Path | None = None,
) -> Samples:
    """Reads a split; `limit` takes that many samples, spread evenly over it.

    cache   a folder in which the samples are kept, ready for the next run (plif_train.cache); x is then a map of a file
            there and need not fit into memory

    Raises PlifError for an empty split, for samples that cannot be read and for those that differ in shape.
    """
    indices = spread(dataset, limit)
    progress = progress or Progress()
    if cache is not None:
        from plif_train.cache import cached

        x, y = cached(dataset, indices, Path(cache), progress, what)
    else:
        x, y = gather(dataset, indices, progress.track(indices, what))
    return Samples(torch.from_numpy(x), torch.from_numpy(y))


def spread(dataset: Dataset, limit: int | None = None) -> list[int]:
    """The samples that are taken. PlifError when that is none."""
    found = len(dataset)
    if not found:
        raise PlifError(f"data set {dataset.name}: no samples found; expected some to train on")
    if limit is not None and limit < 1:
        raise PlifError(f"a limit of {limit} samples leaves nothing, expected at least 1")
    n = found if limit is None else min(limit, found)
    return [i * found // n for i in range(n)]


def gather(
    dataset: Dataset, indices: Sequence[int], each: Iterable[int], like: tuple[int, ...] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """x [n, ...] in the smallest type that is exact, y [n]; `each` yields the indices, `like` is the expected shape."""
    x: np.ndarray | None = None
    y = np.empty(len(indices), np.int64)
    for place, i in enumerate(each):
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
            # What was stored so far fits the wider type too.
            x = x.astype(next(t for t in _TYPES if _holds(np.dtype(t), sample)) if x.dtype != np.int16 else np.float32)
        x[place] = sample
        y[place] = dataset.label(i)
    assert x is not None
    return x, y


def widest(types: Iterable[np.dtype[Any]]) -> np.dtype[Any]:
    """The type that holds all of them."""
    return np.dtype(_TYPES[max(_TYPES.index(dtype.type) for dtype in types)])


def _holds(dtype: np.dtype[Any], sample: np.ndarray) -> bool:
    if dtype == np.float32:
        return True
    limits = np.iinfo(dtype)
    whole = bool(sample.min() >= limits.min and sample.max() <= limits.max)  # first: a cast out of range is undefined
    return whole and bool((sample == sample.astype(dtype)).all())


def split_per_class(y: Tensor, ratio: float = 0.85) -> tuple[Tensor, Tensor]:
    """Protocol B: of each class, in the data set's order, the first ceil(ratio n) to train and the rest to validate."""
    first, rest = [], []
    for c in y.unique().tolist():
        indices = (y == c).nonzero().flatten()
        n = math.ceil(len(indices) * ratio)
        first.append(indices[:n])
        rest.append(indices[n:])
    return torch.cat(first).sort().values, torch.cat(rest).sort().values
