"""Quantized weights: a scale for each output, times integers of 8, 4 or 2 bits, zero among them.

    W[o] = scale[o] * k[o]         k of `bits` bits: -2^(bits-1) .. 2^(bits-1) - 1

This module is the single source of truth about these precisions: their bits, their packing, and their description for
people. plif_export/precisions quantizes the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from runtime.core.model.card import Card

WIDTHS = (2, 4, 8)  # bits of a packed number


@dataclass(frozen=True)
class Grid:
    """A precision of quantized weights, such as int4: its bits, and settings of the rounding to its integers.

    bits    of a weight
    lowest  the smallest scale that rounding tries, as a share of max |W| / max_level: the fewer bits, the more
            large weights are cut off
    flips   share of a layer's spikes that rounding may change in one step
    """

    name: str
    bits: int
    lowest: float
    flips: float

    @property
    def max_level(self) -> int:
        """The largest integer of a quantized weight; training may also use one level below its negative."""
        return (1 << self.bits - 1) - 1


GRIDS = {
    grid.name: grid
    for grid in (
        Grid("int8", 8, 0.8, 0.1),  # 0.7 was never the best scale of any channel measured
        Grid("int4", 4, 0.5, 0.5),
        Grid("ternary", 2, 0.2, 1.0),
    )
}


def count_bits(weights: np.ndarray) -> int:
    """Return the fewest bits, 2, 4 or 8, that hold every number of an int8 array [...]."""
    numbers = weights.astype(np.int16)
    most = max(int(numbers.max(initial=0)), int(-1 - numbers.min(initial=0)))
    return next(bits for bits in WIDTHS if most < 1 << bits - 1)


def pack(values: np.ndarray, bits: int) -> np.ndarray:
    """Pack integers [...] of 2, 4 or 8 bits into bytes, uint8 [n].

    It keeps the lowest `bits` of each, in their order in memory; the first goes into the lowest bits of a byte.
    """
    per_byte = 8 // bits
    flat = values.astype(np.uint8).ravel() & (1 << bits) - 1
    filled = np.append(flat, np.zeros(-flat.size % per_byte, np.uint8)).reshape(-1, per_byte)
    packed: np.ndarray = np.bitwise_or.reduce(filled << np.arange(0, 8, bits, dtype=np.uint8), axis=1)
    return packed


def unpack(packed: np.ndarray, bits: int, count: int) -> np.ndarray:
    """Unpack the bytes uint8 [n] that `pack` returned into integers, int8 [count]."""
    sign = 1 << bits - 1
    fields: np.ndarray = packed[:, None] >> np.arange(0, 8, bits, dtype=np.uint8) & (1 << bits) - 1
    values: np.ndarray = (fields ^ sign).astype(np.int16) - sign
    return values.astype(np.int8).reshape(-1)[:count]


def center_weights(weight: np.ndarray, bits: int) -> np.ndarray:
    """Convert a quantized weight [...] of an ONNX file to int8, without the zero point of unsigned types.

    The fast kernels need unsigned weights.
    """
    return (weight.astype(np.int16) - unsigned_zero(bits)).astype(np.int8) if weight.dtype == np.uint8 else weight


def unsigned_zero(bits: int) -> int:
    """Return the zero point of unsigned weights in an ONNX file: 128 for 8 bits, 8 for 4 bits."""
    return 128 if bits > 4 else 8


def list_quantized(card: Card) -> dict[str, str]:
    """Return {layer: "4 bits a channel"} of the quantized weights of an artifact, from its card.

    A model card says nothing about its weights.
    """
    nodes = [node for node in card.get("graph", {"nodes": []})["nodes"] if {"weight", "scale"} <= node["params"].keys()]
    return {node["name"]: f"{node['attrs'].get('bits', 8)} bits a channel" for node in nodes}


def describe_quantized(grids: Mapping[str, str], advice: bool = True) -> list[str]:
    """Return a sentence for each precision of quantized weights, with its layers.

    advice  also name the --precision that keeps these weights
    """
    lines = []
    for text in dict.fromkeys(grids.values()):
        line = f"weights of {', '.join(layer for layer, grid_text in grids.items() if grid_text == text)}: {text}"
        if advice:
            precision = next(name for name, grid in GRIDS.items() if text.startswith(f"{grid.bits} "))
            line += f"; --precision {precision} keeps them as they are"
        lines.append(line)
    return lines
