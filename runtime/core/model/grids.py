"""Weights on a grid: a scale for each output, times whole numbers of 8, 4 or 2 bits, zero among them.

    W[o] = scale[o] * k[o]         k of `bits` bits: -2^(bits-1) .. 2^(bits-1) - 1

What these precisions are stands here, and everything that has one reads it: how many bits, how they are packed, and what people
are told. How weights come to lie on one is plif_export/precisions'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from runtime.core.model.card import Card

WIDTHS = (2, 4, 8)  # bits of a packed number


@dataclass(frozen=True)
class Grid:
    """A precision of weights.

    bits    of a weight
    lowest  of the scales that rounding tries, as a share of max |W| / most: the fewer bits, the more large weights are cut off
    flips   share of a layer's spikes that rounding may change in one step
    """

    name: str
    bits: int
    lowest: float
    flips: float

    @property
    def most(self) -> int:
        """Rounding gives -most to most. Who trained for it may use one more below."""
        return (1 << self.bits - 1) - 1


GRIDS = {
    grid.name: grid
    for grid in (
        Grid("int8", 8, 0.8, 0.1),  # 0.7 was never the best of any channel seen
        Grid("int4", 4, 0.5, 0.5),
        Grid("ternary", 2, 0.2, 1.0),
    )
}


def bits_of(whole: np.ndarray) -> int:
    """The fewest bits, of WIDTHS, that hold every number of an int8 array [...]."""
    numbers = whole.astype(np.int16)
    most = max(int(numbers.max(initial=0)), int(-1 - numbers.min(initial=0)))
    return next(bits for bits in WIDTHS if most < 1 << bits - 1)


def pack(whole: np.ndarray, bits: int) -> np.ndarray:
    """Whole numbers [...] -> uint8 [n]: the lowest `bits` of each, in their order in memory; the first in the lowest bits."""
    apart = 8 // bits
    flat = whole.astype(np.uint8).ravel() & (1 << bits) - 1
    filled = np.append(flat, np.zeros(-flat.size % apart, np.uint8)).reshape(-1, apart)
    packed: np.ndarray = np.bitwise_or.reduce(filled << np.arange(0, 8, bits, dtype=np.uint8), axis=1)
    return packed


def unpack(packed: np.ndarray, bits: int, count: int) -> np.ndarray:
    """uint8 [n] -> the int8 [count] that `pack` packed."""
    sign = 1 << bits - 1
    fields: np.ndarray = packed[:, None] >> np.arange(0, 8, bits, dtype=np.uint8) & (1 << bits) - 1
    whole: np.ndarray = (fields ^ sign).astype(np.int16) - sign
    return whole.astype(np.int8).reshape(-1)[:count]


def from_file(weight: np.ndarray, bits: int) -> np.ndarray:
    """A weight [...] as ONNX files hold it -> int8: unsigned ones lie around the middle, for the kernels that are fast."""
    return (weight.astype(np.int16) - middle_of(bits)).astype(np.int8) if weight.dtype == np.uint8 else weight


def middle_of(bits: int) -> int:
    """The zero of unsigned numbers of an ONNX file, which has types of 8 and 4 bits."""
    return 128 if bits > 4 else 8


def named_in(card: Card) -> dict[str, str]:
    """{layer: "4 bits a channel"} of an artifact, by its card; a model's says nothing of its weights."""
    nodes = [node for node in card.get("graph", {"nodes": []})["nodes"] if {"weight", "scale"} <= node["params"].keys()]
    return {node["name"]: f"{node['attrs'].get('bits', 8)} bits a channel" for node in nodes}


def sentences(found: Mapping[str, str], advice: bool = True) -> list[str]:
    """A sentence for each kind of grid. advice: how a model's are kept, too."""
    lines = []
    for text in dict.fromkeys(found.values()):
        line = f"weights of {', '.join(layer for layer, each in found.items() if each == text)}: {text}"
        kept = next(name for name, grid in GRIDS.items() if text.startswith(f"{grid.bits} "))
        lines.append(f"{line}; --precision {kept} keeps them as they are" if advice else line)
    return lines
