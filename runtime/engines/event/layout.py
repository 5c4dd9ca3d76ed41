"""How the event engine lays out maps and weights in memory (runtime/native/event.h says it in C)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from runtime.native import BLOCK, SEGMENT, Op

Shape3 = tuple[int, int, int]

MOST_TILE_ROWS = 256  # conv.h keeps one bit for each


@dataclass(frozen=True)
class Value:
    """Where a layer's output lies. `map` is its shape [C, H, W]; a vector of n is [n, 1, 1].

    flat  the value is the flattened `map`, which only linear layers can read as it lies
    most  1 for spikes; this for k / area with a whole number k from 0 to this; None for other numbers
    """

    kind: int
    map: Shape3
    at: int = -1
    flat: bool = False
    most: int | None = None
    area: int = 1


@dataclass
class Layout:
    """The compiled network: operations, the bytes of scratch memory they use, and the arrays they point into."""

    ops: list[Op] = field(default_factory=list)
    arena: int = 0
    acc_floats: int = 0
    keep: list[np.ndarray] = field(default_factory=list)
    spikes: dict[str, tuple[int, Shape3]] = field(default_factory=dict)  # layer -> where its bits are


def lanes(channels: int) -> int:
    """Floats that the channels of one pixel take: whole blocks of 64, then 16, 32 or 64."""
    rest = channels % BLOCK
    return channels - rest + (0 if rest == 0 else 16 if rest <= 16 else 32 if rest <= 32 else 64)


def blocks(channels: int) -> int:
    return -(-channels // BLOCK)


def segments(channels: int) -> list[int]:
    return [min(SEGMENT, channels - at) for at in range(0, channels, SEGMENT)]


def pixel_bytes(channels: int) -> int:
    """Of one pixel of a row that is written out as bytes: whole 64s."""
    return -(-channels // 64) * 64


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


def tiles(shape: Shape3, threads: int, block: int = BLOCK) -> tuple[int, int]:
    """Height and width of the output tile of one piece of work: about 128 pixels of sums, 32 kB, and work for all threads."""
    c, h, w = shape
    tile_w = min(w, 64)
    tile_h = max(1, min(h, 128 // tile_w, MOST_TILE_ROWS))
    while tile_h > 1 and -(-h // tile_h) * -(-w // tile_w) * -(-c // block) < 2 * threads:
        tile_h = (tile_h + 1) // 2
    return tile_h, tile_w


def spread(weight: np.ndarray, groups: int) -> np.ndarray:
    """[O, I / groups, kh, kw] -> [O, I, kh, kw] with zeros between the groups."""
    if groups == 1:
        return weight
    o, i = weight.shape[:2]
    full = np.zeros((o, i * groups, *weight.shape[2:]), weight.dtype)
    for g in range(groups):
        rows = slice(g * (o // groups), (g + 1) * (o // groups))
        full[rows, g * i : (g + 1) * i] = weight[rows]
    return full


def pack(weight: np.ndarray, block: int = BLOCK) -> np.ndarray:
    """[O, I, kh, kw] -> blocks of `block` outputs, each [kh][kw][I][lanes]; the last ones are as wide as they must be.

    int16 takes 32 lanes at least: half as many do not fill a register.
    """
    o, i, kh, kw = weight.shape
    least = 32 if weight.dtype == np.int16 else 16
    out = aligned((kh * kw * i * -(-lanes(o) // least) * least,), weight.dtype)
    at = first = 0
    while first < o:
        left = lanes(o) - first
        width = max(left, least) if left < BLOCK else block if left >= block else BLOCK
        here = min(width, o - first)
        part = out[at : at + kh * kw * i * width].reshape(kh, kw, i, width)
        part[..., :here] = weight[first : first + here].transpose(2, 3, 1, 0)
        at, first = at + part.size, first + width
    return out


def pack_bytes(weight: np.ndarray) -> np.ndarray:
    """int8 [O, I, kh, kw] -> [16 outputs][kh][kw][64 inputs][16][16 outputs][4 inputs]: what multiplies rows of bytes."""
    o, i, kh, kw = weight.shape
    groups = -(-lanes(o) // 32) * 2
    full = np.zeros((groups * 16, pixel_bytes(i), kh, kw), np.int8)
    full[:o, :i] = weight
    full = full.reshape(groups, 16, pixel_bytes(i) // 64, 16, 4, kh, kw)
    out = aligned((full.size,), np.int8)
    out[:] = full.transpose(0, 5, 6, 2, 3, 1, 4).reshape(-1)
    return out
