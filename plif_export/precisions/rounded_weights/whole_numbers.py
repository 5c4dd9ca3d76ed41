"""The search for weights that are already on a grid of whole numbers (runtime/core/model/grids.py)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import takewhile

import numpy as np

from runtime.core.model.grids import WIDTHS, count_bits

# Relative error of a weight: float32 roundings of a product, of two folds, and of the largest weight, which sets the scale.
TOLERANCE = 2.0**-21
SMALLEST = np.float32(np.finfo(np.float32).tiny) * 127  # a scale should not be subnormal
FIRST_WEIGHTS = 1024  # weights that rule out most tensors quickly


def find_grid(weight: np.ndarray, bits: int = 8) -> tuple[np.ndarray, np.ndarray] | None:
    """Return weights [O, ...] that are multiples of a scale as (int8 [O, ...], scale [1] or [O]); None for others.

    Such weights are a scale, of the tensor or of each output, times whole numbers of `bits` bits, or of fewer if
    these suffice.
    """
    for fewer in (width for width in WIDTHS if width <= bits):
        for rows in (weight.reshape(1, -1), weight.reshape(len(weight), -1)):
            grids = list(takewhile(lambda row: row is not None, (find_row_grid(row, fewer) for row in rows)))
            if len(grids) == len(rows):
                wholes, scales = zip(*(row for row in grids if row is not None), strict=True)
                return np.concatenate(wholes).reshape(weight.shape), np.array(scales, np.float32)
    return None


def find_row_grid(row: np.ndarray, bits: int) -> tuple[np.ndarray, np.float32] | None:
    """Return weights [n] that are multiples of a scale as (int8 [n], scale), with the fewest bits; else None.

    If the largest is k times the scale, the scale is that weight / k: each k is tried. Among the nearby floats, the
    scale is the one with products that equal the weights, or are nearest to them.
    """
    most = 1 << bits - 1
    if np.unique(np.abs(row[:FIRST_WEIGHTS])).size > most + 1:
        return None
    sizes = np.unique(np.abs(row)).astype(np.float64)
    sizes = sizes[sizes != 0]
    if not sizes.size:
        return np.zeros(len(row), np.int8), np.float32(1)
    if sizes.size > most or sizes[0] < SMALLEST or not np.isfinite(sizes[-1]):
        return None
    largest = np.arange(1, most + 1)
    counts = sizes[:, None] * largest / sizes[-1]  # [sizes, largest]
    fits = (np.abs(counts - np.rint(counts)) <= TOLERANCE * counts).all(axis=0)
    if not fits.any():
        return None
    best = int(fits.argmax())
    near = np.float32(sizes[-1] / largest[best])
    scales = np.array([near, np.nextafter(near, np.float32(0)), np.nextafter(near, np.float32(np.inf))])
    integers = np.rint(counts[:, best]).astype(np.float32)
    scale = scales[int(np.abs(scales[:, None] * integers - sizes).sum(axis=1).argmin())]
    quotients = np.rint(row / scale)
    return None if quotients.max() >= most else (quotients.astype(np.int8), scale)


def describe_grids(weights: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Describe the layers whose weights [O, ...] are multiples of a scale: {layer: "4 bits a channel"}."""
    grids = {
        layer: find_grid(weight) for layer, weight in weights.items() if weight.dtype == np.float32 and weight.size
    }
    return {
        layer: f"{count_bits(grid[0])} bits a {'tensor' if len(grid[1]) == 1 < len(grid[0]) else 'channel'}"
        for layer, grid in grids.items()
        if grid is not None
    }
