"""What the engine has in memory: the weights of an ONNX file, a program that libplif opened, in C, and membranes, in which the
channels of a place lie beside each other."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from runtime import native
from runtime.core.base.errors import PlifError
from runtime.core.engines.buffers import Arrays, Buffers, Many, Rates
from runtime.core.model.artifacts import kind_of
from runtime.core.model.card import Card
from runtime.core.model.readers.onnx_contents import read_initializers
from runtime.core.model.records import as_map
from runtime.engines.event_program.layout import aligned, lanes

KEEP_SUBNORMALS = 2  # plif.h
BindLazily = Callable[
    [np.ndarray, Arrays, np.ndarray, Arrays, Rates, Arrays, int | None], tuple[Callable[[], None], Callable[[], None]]
]


class LazyMembranes(Buffers):
    """Membranes that calls update in place, and that are up to date when somebody has asked for them: a unit without input is
    not stepped until it gets some, or somebody looks.

    v     float32 [rows, C, H, W] of each state, in the layout of the kernels
    bind  (x, v, y, v_next, rates, owed, steps) -> a function for a call, and one that takes the steps that calls left out.
          owed: uint8, for OWED_FLOATS membranes in memory one, for each state (plif_settle in runtime/native/engine/event.h)
          steps: that a call of a step artifact takes, see run_steps; None for one
    """

    def __init__(self, card: Card, rows: int, rates: bool, v: list[np.ndarray], floats: list[int], bind: BindLazily):
        super().__init__(card, rows, rates)
        self._v, self._bind = v, bind
        self.owed = [np.zeros(-(-rows * n // native.OWED_FLOATS), np.uint8) for n in floats]
        run, self._settle = bind(self.x, v, self.y, v, self.rates, self.owed, None)
        self.run = run  # type: ignore[method-assign]  # what is bound is the call itself
        self._many: Many | None = None  # arrays for calls of so many steps

    def run_steps(self, x: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """As Buffers says, in one call: a row takes all its steps while its membranes are in the cache."""
        if self._many is None or len(self._many.x) != len(x):
            self._many = many = Many(self, len(x))
            self._run_many, _ = self._bind(many.x, self._v, many.y, self._v, many.rates, self.owed, len(x))
        self._many.x[...] = x
        self._run_many()
        return self._many.y.copy(), self._many.rates

    def membranes(self) -> list[np.ndarray]:
        """As Buffers says: float32 [rows, ...] of each state."""
        self._settle()
        return self._v


def open_program(path: Path, card: Card, cpu: str | None, flush: bool) -> tuple[native.Program, np.ndarray]:
    """(the program, the bytes [n] that it lies in, to be kept as long). Raises PlifError where the file may not be run.

    cpu  the path to run; None for the fastest that the file and this processor have
    """
    library = native.library()
    data = np.frombuffer(kind_of(path).read_program(path, card), np.uint8)
    bytes_ = aligned(data.shape, np.uint8)  # a copy: a file that changes while it is open changes nothing here
    bytes_[:] = data
    flags = 0 if flush else KEEP_SUBNORMALS
    model = library.plif_open_for(
        bytes_.ctypes.data, bytes_.nbytes, flags, -1 if cpu is None else native.PATHS.index(cpu)
    )
    if not model:
        raise PlifError(f"{path}: {library.plif_error_text().decode('ascii', 'replace')}")
    weakref.finalize(bytes_, library.plif_close, model)
    return native.Program.from_address(library.plif_model_program(model)), bytes_


def weights_of(path: Path, card: Card) -> dict[str, np.ndarray]:
    """The initializers of an ONNX file that a program needs, [O, I, ...] or [n], by name."""
    names = {name for node in card["graph"]["nodes"] for name in node["params"].values()}
    names |= {f"{node['name']}.one_minus_alpha" for node in card["graph"]["nodes"] if node["op"] == "Neuron"}
    names |= {f"{node['name']}.zero_points" for node in card["graph"]["nodes"] if "scale" in node["params"]}
    return read_initializers(path, names)


def stride_of(shape: Sequence[int]) -> int:
    """Floats from one row's membrane to the next."""
    c, h, w = as_map(shape)
    return h * w * lanes(c)


def native_state(rows: int, shape: Sequence[int]) -> np.ndarray:
    """[rows, C, H, W] (or [rows, n]) as a view of [rows][H][W][lanes(C)]."""
    channels = shape[0]
    store = aligned((rows, *shape[1:], lanes(channels)))[..., :channels]
    return np.moveaxis(store, -1, 1)


def foreign(v: np.ndarray, v_next: np.ndarray) -> bool:
    """Whether one of the arrays, [rows, C, H, W] or [rows, n], has another layout than those of `membranes`."""
    wanted = native_strides(v.shape)
    return any(a.strides != wanted or a.ctypes.data % 64 for a in (v, v_next))


def native_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    pixel = 4 * lanes(shape[1])
    row, *inner = (pixel * math.prod(shape[i:]) for i in range(2, len(shape) + 1))
    return row, 4, *inner


def floats_from(array: np.ndarray) -> int:
    """Floats of memory from the address on of an array [rows, ...]: a view of the channels alone ends before the last lanes."""
    base = array
    while isinstance(base.base, np.ndarray):
        base = base.base
    return (base.ctypes.data + base.nbytes - array.ctypes.data) // 4
