"""Which weights lie on a grid of whole numbers already (runtime/core/model/grids.py), whoever trained them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import takewhile

import numpy as np

from runtime.core.model.grids import WIDTHS, bits_of

# Of a weight: the roundings to float32 of a product, of two folds, and of the largest weight, from which the scale is taken.
EXACT = 2.0**-21
SMALLEST = np.float32(np.finfo(np.float32).tiny) * 127  # a scale should not be subnormal
GLANCE = 1024  # weights that show most tensors to be on no grid


def find_grid(weight: np.ndarray, bits: int = 8) -> tuple[np.ndarray, np.ndarray] | None:
    """(int8 [O, ...], float32 scale [1] or [O]) of float weights [O, ...] that are a scale, of all or of each output, times whole
    numbers of so many bits, or of fewer where these do; None of others."""
    for fewer in (width for width in WIDTHS if width <= bits):
        for rows in (weight.reshape(1, -1), weight.reshape(len(weight), -1)):
            found = list(takewhile(lambda row: row is not None, (grid_of_row(row, fewer) for row in rows)))
            if len(found) == len(rows):
                wholes, scales = zip(*(row for row in found if row is not None), strict=True)
                return np.concatenate(wholes).reshape(weight.shape), np.array(scales, np.float32)
    return None


def grid_of_row(row: np.ndarray, bits: int) -> tuple[np.ndarray, np.float32] | None:
    """(int8 [n], scale) of weights [n], with the fewest bits that do; None where so many do not.

    If the largest is k times the scale, the scale is that weight / k: each k is tried. Of the floats around, the scale is the one
    whose products are the weights themselves, or nearest to them.
    """
    most = 1 << bits - 1
    if np.unique(np.abs(row[:GLANCE])).size > most + 1:
        return None
    sizes = np.unique(np.abs(row)).astype(np.float64)
    sizes = sizes[sizes != 0]
    if not sizes.size:
        return np.zeros(len(row), np.int8), np.float32(1)
    if sizes.size > most or sizes[0] < SMALLEST or not np.isfinite(sizes[-1]):
        return None
    largest = np.arange(1, most + 1)
    counts = sizes[:, None] * largest / sizes[-1]  # [sizes, largest]
    fits = (np.abs(counts - np.rint(counts)) <= EXACT * counts).all(axis=0)
    if not fits.any():
        return None
    at = int(fits.argmax())
    near = np.float32(sizes[-1] / largest[at])
    scales = np.array([near, np.nextafter(near, np.float32(0)), np.nextafter(near, np.float32(np.inf))])
    whole = np.rint(counts[:, at]).astype(np.float32)
    scale = scales[int(np.abs(scales[:, None] * whole - sizes).sum(axis=1).argmin())]
    rounded = np.rint(row / scale)
    return None if rounded.max() >= most else (rounded.astype(np.int8), scale)


def named(weights: Mapping[str, np.ndarray]) -> dict[str, str]:
    """{layer: "4 bits a channel"} of those of the layers' weights {layer: [O, ...]} that lie on a grid."""
    found = {
        layer: find_grid(weight) for layer, weight in weights.items() if weight.dtype == np.float32 and weight.size
    }
    return {
        layer: f"{bits_of(grid[0])} bits a {'tensor' if len(grid[1]) == 1 < len(grid[0]) else 'channel'}"
        for layer, grid in found.items()
        if grid is not None
    }
