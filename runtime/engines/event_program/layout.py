"""The memory layout of maps and weights in the event engine (runtime/native/engine/event.h has it for C)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from runtime.core.model import grids
from runtime.core.model.ops.operation import Counts
from runtime.core.model.records import NodeRecord, require_integer
from runtime.native import BLOCK, MACHINE_FLOATS, SEGMENT, WIDE_BLOCK, Op

Shape3 = tuple[int, int, int]

UNIT = 16  # floats; parameters begin at multiples of it
MOST_TILE_ROWS = 256  # conv.h keeps one bit for each


@dataclass(frozen=True)
class LayerOutput:
    """The output of a layer in the memory of the event engine.

    kind    FROM_X, FROM_FLOATS or FROM_SPIKES (runtime/native)
    map     its shape [C, H, W]; a vector of n numbers is [n, 1, 1]
    offset  in the arena, in bytes; -1 for the caller's x or y
    flat    whether the value is the flattened `map`; only linear layers can read that without a copy
    counts  the whole numbers of the value; None for other numbers
    """

    kind: int
    map: Shape3
    offset: int = -1
    flat: bool = False
    counts: Counts | None = None


@dataclass
class Layout:
    """The network compiled for the event engine: its operations and the memory that they need.

    ops         its operations, in order
    arena       bytes of scratch memory that they use
    acc_floats  floats of the largest tile of sums
    keep        the arrays with addresses that the operations hold
    fired       the layers with neurons in it
    """

    ops: list[Op] = field(default_factory=list)
    arena: int = 0
    acc_floats: int = 0
    keep: list[np.ndarray] = field(default_factory=list)
    fired: set[str] = field(default_factory=set)

    def need_registers(self, count: int, tile: int = 0) -> None:
        """Reserve the registers of a neuron program, behind the `tile` floats of its convolution."""
        self.acc_floats = max(self.acc_floats, tile + count * MACHINE_FLOATS)


def count_lanes(channels: int) -> int:
    """Return the floats that one pixel's channels take: 64 per 64 channels, and 16, 32 or 64 for the remainder."""
    remainder = channels % BLOCK
    return channels - remainder + (0 if remainder == 0 else 16 if remainder <= 16 else 32 if remainder <= 32 else 64)


def count_blocks(channels: int) -> int:
    """Return the number of blocks of 64 channels; the last one may be partial."""
    return -(-channels // BLOCK)


def split_segments(channels: int) -> list[int]:
    """Divide channels into segments of 128, with the remainder in the last one."""
    return [min(SEGMENT, channels - start) for start in range(0, channels, SEGMENT)]


def pixel_bytes(channels: int) -> int:
    """Return the bytes that one pixel takes in a row that is stored as bytes: a multiple of 64."""
    return -(-channels // 64) * 64


def allocate_aligned(shape: tuple[int, ...], dtype: npt.DTypeLike = np.float32) -> np.ndarray:
    """Allocate zeros [*shape] of `dtype` at a multiple of 64 bytes, so that no vector load crosses a cache line."""
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    raw = np.zeros(size + 64, np.uint8)
    offset = -raw.ctypes.data % 64
    return raw[offset : offset + size].view(dtype).reshape(shape)


class ParameterPack:
    """The parameters of one operation packed in one array, each at a multiple of UNIT floats."""

    def __init__(self) -> None:
        self.parts: list[tuple[int, np.ndarray]] = []
        self.size = 0

    def add(self, values: np.ndarray) -> int:
        """Add a parameter float32 [n] to the pack of an operation, and return the index of its first float."""
        offset = self.size
        self.parts.append((offset, values))
        self.size += -(-values.size // UNIT) * UNIT
        return offset

    def array(self) -> np.ndarray:
        """Return all parameters of the pack, float32 [size], with zeros between; UNIT zeros if there are none."""
        out = allocate_aligned((max(self.size, UNIT),))
        for offset, values in self.parts:
            out[offset : offset + values.size] = values
        return out


def read_yx(node: NodeRecord, key: str, default: int) -> tuple[int, int]:
    """Read a kernel, stride, padding or dilation of a node over one or two axes of space, as (y, x).

    A single axis is x. Raise ValueError for another value.
    """
    value, dims = node["attrs"].get(key, default), len(node["shape"]) - 1
    values = [require_integer(n) for n in (value if isinstance(value, list | tuple) else [value] * dims)]
    y, x = (default, *values) if len(values) == dims == 1 else values
    return y, x


def choose_tile(shape: Shape3, threads: int, block: int = BLOCK) -> tuple[int, int]:
    """Choose height and width of the tile of outputs that a thread computes as one piece of work.

    It is about 128 pixels, with sums of 32 kB; fewer where there would be too few pieces for all threads.
    """
    c, h, w = shape
    tile_w = min(w, 64)
    tile_h = max(1, min(h, 128 // tile_w, MOST_TILE_ROWS))
    while tile_h > 1 and -(-h // tile_h) * -(-w // tile_w) * -(-c // block) < 2 * threads:
        tile_h = (tile_h + 1) // 2
    return tile_h, tile_w


def expand_groups(weight: np.ndarray, groups: int) -> np.ndarray:
    """Expand a grouped weight [O, I / groups, kh, kw] to a full one [O, I, kh, kw], zero outside the groups."""
    if groups == 1:
        return weight
    o, i = weight.shape[:2]
    full = np.zeros((o, i * groups, *weight.shape[2:]), weight.dtype)
    for g in range(groups):
        rows = slice(g * (o // groups), (g + 1) * (o // groups))
        full[rows, g * i : (g + 1) * i] = weight[rows]
    return full


def pack_blocks(weight: np.ndarray, block: int = BLOCK) -> np.ndarray:
    """Pack a weight, float32 or int16 [O, I, kh, kw], into blocks of `block` outputs, each [kh][kw][I][lanes].

    The result is one array. The last blocks have as few lanes as their outputs need; int16 has at least 32, since 16
    would not fill a register.
    """
    o, i, kh, kw = weight.shape
    least = 32 if weight.dtype == np.int16 else 16
    out = allocate_aligned((kh * kw * i * -(-count_lanes(o) // least) * least,), weight.dtype)
    offset = first = 0
    while first < o:
        remaining = count_lanes(o) - first
        width = max(remaining, least) if remaining < BLOCK else block if remaining >= block else BLOCK
        outputs = min(width, o - first)
        part = out[offset : offset + kh * kw * i * width].reshape(kh, kw, i, width)
        part[..., :outputs] = weight[first : first + outputs].transpose(2, 3, 1, 0)
        offset, first = offset + part.size, first + width
    return out


def pack_pairs(weight: np.ndarray) -> np.ndarray:
    """Pack an int8 weight [O, I, kh, kw] into pairs of bytes, each pair added as one int16.

    lanes(O) is a multiple of 64. The result has blocks of 128 outputs (the last one may have 64), each
    [kh][kw][I][each 64 outputs][32]{output k + 128, output 32 + k} (runtime/native/engine/kernels/rows.h).
    """
    o, i, kh, kw = weight.shape
    full = np.zeros((count_lanes(o), i, kh, kw), np.int8)
    full[:o] = weight
    out = allocate_aligned((full.size,), np.int8)
    offset = 0
    for first in range(0, len(full), WIDE_BLOCK):
        part = full[first : first + WIDE_BLOCK].reshape(-1, 2, 32, i, kh, kw).transpose(4, 5, 3, 0, 2, 1)
        pairs = out[offset : offset + part.size].reshape(part.shape)
        pairs[...] = part
        pairs[..., 0] ^= np.int8(-128)
        offset += part.size
    return out


def pack_nibbles(weight: np.ndarray) -> np.ndarray:
    """Pack an int8 weight [O, I, kh, kw] of -8 to 7 into 4 bits per number, as int8.

    lanes(O) is a multiple of 128. The result has blocks of 128 outputs, each [kh][kw][I][32 numbers of 16 bits, of
    outputs k, 32 + k, 64 + k and 96 + k, each plus 8] (runtime/native/engine/kernels/rows.h).
    """
    o, i, kh, kw = weight.shape
    full = np.zeros((count_lanes(o), i, kh, kw), np.int8)
    full[:o] = weight
    parts = full.reshape(-1, 4, 32, i, kh, kw).transpose(0, 4, 5, 3, 2, 1)
    out = allocate_aligned((full.size // 2,), np.int8)
    out[:] = grids.pack(parts + np.int8(8), 4).view(np.int8)
    return out


def pack_bytes(weight: np.ndarray) -> np.ndarray:
    """Pack an int8 weight [O, I, kh, kw] for inputs that are stored as rows of bytes.

    The result is [16 outputs][kh][kw][64 inputs][16][16 outputs][4 inputs].
    """
    o, i, kh, kw = weight.shape
    groups = -(-count_lanes(o) // 32) * 2
    full = np.zeros((groups * 16, pixel_bytes(i), kh, kw), np.int8)
    full[:o, :i] = weight
    full = full.reshape(groups, 16, pixel_bytes(i) // 64, 16, 4, kh, kw)
    out = allocate_aligned((full.size,), np.int8)
    out[:] = full.transpose(0, 5, 6, 2, 3, 1, 4).reshape(-1)
    return out
