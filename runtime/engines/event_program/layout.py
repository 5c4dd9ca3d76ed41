"""The layout of maps and weights in the memory of the event engine (runtime/native/engine/event.h describes it for C)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from runtime.core.model import grids
from runtime.core.model.ops.operation import Counts
from runtime.core.model.records import NodeRecord, whole
from runtime.native import BLOCK, MACHINE_FLOATS, SEGMENT, WIDE_BLOCK, Op

Shape3 = tuple[int, int, int]

UNIT = 16  # floats; parameters begin at multiples of it
MOST_TILE_ROWS = 256  # conv.h keeps one bit for each


@dataclass(frozen=True)
class LayerOutput:
    """A layer's output: what it is and where it lies.

    kind    FROM_X, FROM_FLOATS or FROM_SPIKES (runtime/native)
    map     its shape [C, H, W]; a vector of n numbers is [n, 1, 1]
    at      offset in the arena, in bytes; -1 for the caller's x or y
    flat    whether the value is the flattened `map`; only linear layers can read that without a copy
    counts  the whole numbers that it is; None for other numbers
    """

    kind: int
    map: Shape3
    at: int = -1
    flat: bool = False
    counts: Counts | None = None


@dataclass
class Layout:
    """The compiled network.

    ops         its operations, in order
    arena       bytes of scratch memory that they use
    acc_floats  floats of the largest tile of sums
    keep        the arrays whose addresses the operations hold
    fired       the layers whose neurons are in it
    """

    ops: list[Op] = field(default_factory=list)
    arena: int = 0
    acc_floats: int = 0
    keep: list[np.ndarray] = field(default_factory=list)
    fired: set[str] = field(default_factory=set)

    def need_registers(self, count: int, tile: int = 0) -> None:
        """Room for the registers of a program, behind the `tile` floats of its convolution."""
        self.acc_floats = max(self.acc_floats, tile + count * MACHINE_FLOATS)


def lanes(channels: int) -> int:
    """Floats that the channels of one pixel take: 64 for each whole 64 channels, and 16, 32 or 64 for the rest."""
    rest = channels % BLOCK
    return channels - rest + (0 if rest == 0 else 16 if rest <= 16 else 32 if rest <= 32 else 64)


def blocks(channels: int) -> int:
    """How many blocks of 64 channels; the last one may be partial."""
    return -(-channels // BLOCK)


def segments(channels: int) -> list[int]:
    """The channels of each segment: 128, and the rest in the last one."""
    return [min(SEGMENT, channels - at) for at in range(0, channels, SEGMENT)]


def pixel_bytes(channels: int) -> int:
    """Bytes of one pixel in a row that is kept as bytes: a multiple of 64."""
    return -(-channels // 64) * 64


def aligned(shape: tuple[int, ...], dtype: npt.DTypeLike = np.float32) -> np.ndarray:
    """Zeros [*shape] of `dtype` at an address that is a multiple of 64 bytes, so that no vector load crosses a cache line."""
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    raw = np.zeros(size + 64, np.uint8)
    at = -raw.ctypes.data % 64
    return raw[at : at + size].view(dtype).reshape(shape)


class ParameterPack:
    """The parameters of one operation, one after the other, each from a multiple of UNIT floats on."""

    def __init__(self) -> None:
        self.parts: list[tuple[int, np.ndarray]] = []
        self.size = 0

    def add(self, values: np.ndarray) -> int:
        """Adds float32 [n], and returns the float at which it begins."""
        at = self.size
        self.parts.append((at, values))
        self.size += -(-values.size // UNIT) * UNIT
        return at

    def array(self) -> np.ndarray:
        """All of them, float32 [size], with zeros between; UNIT zeros where there are none."""
        out = aligned((max(self.size, UNIT),))
        for at, values in self.parts:
            out[at : at + values.size] = values
        return out


def along_both(node: NodeRecord, key: str, default: int) -> tuple[int, int]:
    """A kernel, stride, padding or dilation of a node over one or two axes of space, as (y, x); where there is one axis, it is x.
    Raises ValueError for what is none."""
    value, dims = node["attrs"].get(key, default), len(node["shape"]) - 1
    values = [whole(n) for n in (value if isinstance(value, list | tuple) else [value] * dims)]
    y, x = (default, *values) if len(values) == dims == 1 else values
    return y, x


def tiles(shape: Shape3, threads: int, block: int = BLOCK) -> tuple[int, int]:
    """Height and width of the output tile of one piece of work: about 128 pixels, whose sums take 32 kB; fewer where there
    would be too few pieces for all threads."""
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
    """float32 or int16 [O, I, kh, kw] -> blocks of `block` outputs, each [kh][kw][I][lanes], in one array.

    The last blocks have as few lanes as their outputs need; int16 has at least 32, since 16 would not fill a register.
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


def pack_pairs(weight: np.ndarray) -> np.ndarray:
    """int8 [O, I, kh, kw], lanes(O) in whole 64s -> blocks of 128 outputs (the last one of 64, perhaps), each [kh][kw][I][each 64
    outputs][32]{output k + 128, output 32 + k}: two bytes that are added as one int16 (runtime/native/engine/kernels/rows.h)."""
    o, i, kh, kw = weight.shape
    full = np.zeros((lanes(o), i, kh, kw), np.int8)
    full[:o] = weight
    out = aligned((full.size,), np.int8)
    at = 0
    for first in range(0, len(full), WIDE_BLOCK):
        part = full[first : first + WIDE_BLOCK].reshape(-1, 2, 32, i, kh, kw).transpose(4, 5, 3, 0, 2, 1)
        pairs = out[at : at + part.size].reshape(part.shape)
        pairs[...] = part
        pairs[..., 0] ^= np.int8(-128)
        at += part.size
    return out


def pack_nibbles(weight: np.ndarray) -> np.ndarray:
    """int8 [O, I, kh, kw] of -8 to 7, lanes(O) in whole 128s -> blocks of 128 outputs, each [kh][kw][I][32 numbers of 16 bits, of
    outputs k, 32 + k, 64 + k and 96 + k, each plus 8], as int8 (runtime/native/engine/kernels/rows.h)."""
    o, i, kh, kw = weight.shape
    full = np.zeros((lanes(o), i, kh, kw), np.int8)
    full[:o] = weight
    parts = full.reshape(-1, 4, 32, i, kh, kw).transpose(0, 4, 5, 3, 2, 1)
    out = aligned((full.size // 2,), np.int8)
    out[:] = grids.pack(parts + np.int8(8), 4).view(np.int8)
    return out


def pack_bytes(weight: np.ndarray) -> np.ndarray:
    """int8 [O, I, kh, kw] -> [16 outputs][kh][kw][64 inputs][16][16 outputs][4 inputs]: the weights for rows of bytes."""
    o, i, kh, kw = weight.shape
    groups = -(-lanes(o) // 32) * 2
    full = np.zeros((groups * 16, pixel_bytes(i), kh, kw), np.int8)
    full[:o, :i] = weight
    full = full.reshape(groups, 16, pixel_bytes(i) // 64, 16, 4, kh, kw)
    out = aligned((full.size,), np.int8)
    out[:] = full.transpose(0, 5, 6, 2, 3, 1, 4).reshape(-1)
    return out
