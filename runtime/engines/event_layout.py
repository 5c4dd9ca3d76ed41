"""How the event engine lays out maps and weights in memory (runtime/native/event.h says it in C)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from runtime.native import BLOCK, SEGMENT

Shape3 = tuple[int, int, int]

MOST_TILE_ROWS = 256  # conv.h keeps one bit for each


def lanes(channels: int) -> int:
    """Floats that the channels of one pixel take: whole blocks of 64, then 16, 32 or 64."""
    rest = channels % BLOCK
    return channels - rest + (0 if rest == 0 else 16 if rest <= 16 else 32 if rest <= 32 else 64)


def blocks(channels: int) -> int:
    return -(-channels // BLOCK)


def segments(channels: int) -> list[int]:
    return [min(SEGMENT, channels - at) for at in range(0, channels, SEGMENT)]


def aligned(shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
    """Zeros that begin at a multiple of 64 bytes: no vector load then straddles two cache lines."""
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    raw = np.zeros(size + 64, np.uint8)
    at = -raw.ctypes.data % 64
    return raw[at : at + size].view(dtype).reshape(shape)


def as_map(shape: Sequence[int]) -> Shape3:
    """A card's shape as [C, H, W]; a vector of n is [n, 1, 1]."""
    c, h, w = (*shape, 1, 1)[:3] if len(shape) == 1 else shape
    return int(c), int(h), int(w)


def tiles(shape: Shape3, threads: int) -> tuple[int, int]:
    """Height and width of the output tile of one piece of work: about 128 pixels of sums, 32 kB, and work for all threads."""
    c, h, w = shape
    tile_w = min(w, 64)
    tile_h = max(1, min(h, 128 // tile_w, MOST_TILE_ROWS))
    while tile_h > 1 and -(-h // tile_h) * -(-w // tile_w) * blocks(c) < 2 * threads:
        tile_h = (tile_h + 1) // 2
    return tile_h, tile_w


def spread(weight: np.ndarray, groups: int) -> np.ndarray:
    """[O, I / groups, kh, kw] -> [O, I, kh, kw] with zeros between the groups."""
    if groups == 1:
        return weight
    o, i = weight.shape[:2]
    full = np.zeros((o, i * groups, *weight.shape[2:]), np.float32)
    for g in range(groups):
        rows = slice(g * (o // groups), (g + 1) * (o // groups))
        full[rows, g * i : (g + 1) * i] = weight[rows]
    return full


def pack(weight: np.ndarray) -> np.ndarray:
    """[O, I, kh, kw] -> blocks of 64 outputs, each [kh][kw][I][lanes]; the last block is as wide as it must be."""
    o, i, kh, kw = weight.shape
    out = aligned((kh * kw * i * lanes(o),))
    at = 0
    for first in range(0, o, BLOCK):
        here, width = min(BLOCK, o - first), min(BLOCK, lanes(o) - first)
        block = out[at : at + kh * kw * i * width].reshape(kh, kw, i, width)
        block[..., :here] = weight[first : first + here].transpose(2, 3, 1, 0)
        at += block.size
    return out
