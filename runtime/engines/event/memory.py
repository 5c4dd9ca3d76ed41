"""The memory of the event engine: weights of an ONNX file, a program that libplif opened, and membranes.

The channels of a pixel are adjacent in the membranes.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from runtime import native
from runtime.core.base.errors import PlifError
from runtime.core.engines.buffers import Arrays, Buffers, Rates, SequenceArrays
from runtime.core.model.artifacts import detect_kind
from runtime.core.model.card import Card
from runtime.core.model.readers.onnx_contents import read_initializers
from runtime.core.model.records import to_map_shape
from runtime.engines.event_program.layout import allocate_aligned, count_lanes

KEEP_SUBNORMALS = 2  # plif.h
BindLazily = Callable[
    [np.ndarray, Arrays, np.ndarray, Arrays, Rates, Arrays, int | None], tuple[Callable[[], None], Callable[[], None]]
]


class LazyMembranes(Buffers):
    """Buffers with membranes that event-engine calls update in place, some of them only when they are read.

    A unit without input is not stepped until it gets some, or until the membranes are read.

    v     float32 [rows, C, H, W] of each state, in the layout of the kernels
    bind  (x, v, y, v_next, rates, pending_decay, steps) -> a function for a call, and one that applies the pending
      decay
          pending_decay: uint8, for OWED_FLOATS membranes in memory one, for each state (plif_settle in
          runtime/native/engine/event.h)
          steps: the steps of one call of a step artifact, see run_steps; None for one
    """

    def __init__(self, card: Card, rows: int, rates: bool, v: list[np.ndarray], floats: list[int], bind: BindLazily):
        super().__init__(card, rows, rates)
        self._v, self._bind = v, bind
        self.pending_decay = [np.zeros(-(-rows * n // native.OWED_FLOATS), np.uint8) for n in floats]
        run, self._apply_decay = bind(self.x, v, self.y, v, self.rates, self.pending_decay, None)
        self.run = run  # type: ignore[method-assign]  # what is bound is the call itself
        self._sequence: SequenceArrays | None = None  # arrays for calls of several steps

    def run_steps(self, x: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Run many steps in one call: x [T, rows, C, H, W] -> y [T, rows, classes] and rates [T * rows].

        A row runs all its steps while its membranes are in the cache.
        """
        if self._sequence is None or len(self._sequence.x) != len(x):
            self._sequence = many = SequenceArrays(self, len(x))
            self._run_sequence, _ = self._bind(many.x, self._v, many.y, self._v, many.rates, self.pending_decay, len(x))
        self._sequence.x[...] = x
        self._run_sequence()
        return self._sequence.y.copy(), self._sequence.rates

    def membranes(self) -> list[np.ndarray]:
        """Return the membranes, float32 [rows, ...] of each state, after applying all pending decay."""
        self._apply_decay()
        return self._v


def open_program(path: Path, card: Card, cpu: str | None, flush: bool) -> tuple[native.Program, np.ndarray]:
    """Open the event-engine program in a file; return it and its bytes [n], which must be kept as long.

    Raise PlifError where the file may not be run.

    cpu  the CPU path to run; None for the fastest of the file and this processor
    """
    library = native.library()
    data = np.frombuffer(detect_kind(path).read_program(path, card), np.uint8)
    bytes_ = allocate_aligned(data.shape, np.uint8)  # a copy: a file that changes while it is open changes nothing here
    bytes_[:] = data
    flags = 0 if flush else KEEP_SUBNORMALS
    model = library.plif_open_for(
        bytes_.ctypes.data, bytes_.nbytes, flags, -1 if cpu is None else native.PATHS.index(cpu)
    )
    if not model:
        raise PlifError(f"{path}: {library.plif_error_text().decode('ascii', 'replace')}")
    weakref.finalize(bytes_, library.plif_close, model)
    return native.Program.from_address(library.plif_model_program(model)), bytes_


def read_weights(path: Path, card: Card) -> dict[str, np.ndarray]:
    """Read the initializers of an ONNX file that an event-engine program needs, [O, I, ...] or [n], by name."""
    names = {name for node in card["graph"]["nodes"] for name in node["params"].values()}
    names |= {f"{node['name']}.one_minus_alpha" for node in card["graph"]["nodes"] if node["op"] == "Neuron"}
    names |= {f"{node['name']}.zero_points" for node in card["graph"]["nodes"] if "scale" in node["params"]}
    return read_initializers(path, names)


def row_stride(shape: Sequence[int]) -> int:
    """Return the number of floats from one row's membrane of this shape to the next row's."""
    c, h, w = to_map_shape(shape)
    return h * w * count_lanes(c)


def allocate_state(rows: int, shape: Sequence[int]) -> np.ndarray:
    """Allocate membranes [rows, C, H, W] (or [rows, n]) as a view of [rows][H][W][lanes(C)]."""
    channels = shape[0]
    store = allocate_aligned((rows, *shape[1:], count_lanes(channels)))[..., :channels]
    return np.moveaxis(store, -1, 1)


def has_other_layout(v: np.ndarray, v_next: np.ndarray) -> bool:
    """Return whether v or v_next, [rows, C, H, W] or [rows, n], has another memory layout than the engine's."""
    strides = native_strides(v.shape)
    return any(a.strides != strides or a.ctypes.data % 64 for a in (v, v_next))


def native_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    pixel = 4 * count_lanes(shape[1])
    row, *inner = (pixel * math.prod(shape[i:]) for i in range(2, len(shape) + 1))
    return row, 4, *inner


def count_floats(array: np.ndarray) -> int:
    """Count the floats of memory from an array [rows, ...]'s address to the end of its memory.

    A view of the channels alone ends before the last lanes.
    """
    base = array
    while isinstance(base.base, np.ndarray):
        base = base.base
    return (base.ctypes.data + base.nbytes - array.ctypes.data) // 4
