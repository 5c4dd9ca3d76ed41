"""Reading samples one by one into one array, of the smallest type that holds every number exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from runtime.base.errors import PlifError
from runtime.data import Dataset

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


def widest(types: Iterable[np.dtype[Any]]) -> np.dtype[Any]:
    """The type that holds all of them."""
    return np.dtype(TYPES[max(TYPES.index(dtype.type) for dtype in types)])


def _holds(dtype: np.dtype[Any], sample: np.ndarray) -> bool:
    """Whether every number of the sample, of any shape, is one of this type."""
    if dtype == np.float32:
        return True
    limits = np.iinfo(dtype)
    whole = bool(sample.min() >= limits.min and sample.max() <= limits.max)  # first: a cast out of range is undefined
    return whole and bool((sample == sample.astype(dtype)).all())
