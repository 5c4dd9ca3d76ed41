"""Engines: the code that runs an artifact. ONNX Runtime on the CPU is in the core; every other engine is a part.

Such a part is a folder of runtime/engines or of another package (entry points of the group `plif.parts`), as the
engine of PyTorch is a folder of plif_train.

An engine's part says in NAMES the names that users type, with a description of each, in AUTO the kinds of files that
it opens when the user names no engine, and in CHECK the function that finds its missing requirements; its engine.py
has ENGINES, classes that derive from Engine. An engine has no state of its own, so that many sessions can share one.
A session gets its arrays and its calls from `buffers`, in one of two ways (runtime/core/engines/buffers.py):

    membranes in arrays       the class has `bind`, which binds buffers once and returns a function that runs one call
                              on them; a session binds two sets of membranes both ways (ping-pong), so that a step
                              allocates nothing:
                                  run = engine.bind(x, v, y, v_next)      # reads x and v, writes y and v_next
                                  run()
    membranes on a device     the class overrides `buffers` and returns a Resident
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np

from runtime import native
from runtime.core.base.declared import EngineOptions
from runtime.core.engines.buffers import Arrays, Buffers, PingPongBuffers, Rates
from runtime.core.model.card import Card


class Engine:
    """The base class of engines: an artifact that one backend, such as ONNX Runtime, has opened."""

    name: ClassVar[str]
    # of the files that it opens: of a name, or of a kind (runtime/core/model/artifacts.py)
    suffixes: ClassVar[tuple[str, ...]]
    counts_rates: ClassVar[bool] = True  # whether it can count the spikes of each layer
    # whether it can; an engine that cannot is refused where the card requires it
    keeps_subnormals: ClassVar[bool] = False
    sums_in_float32: ClassVar[bool] = False  # also where the artifact's weights are float16
    threads: int | None = None  # how many threads it runs at most, where it decides that itself
    adapter: str | None = None  # the GPU that it runs on, by name and driver, where that can be told
    rows_apart: ClassVar[bool] = False  # whether it computes each row alone, without Python's lock
    opens_graphs: ClassVar[bool] = False  # whether a library of others reads the graph in the artifact
    on_gpu: ClassVar[bool] = False  # whether it runs on a GPU, whatever device the user requested
    start_s: ClassVar[float] = 1.0  # estimated seconds to start another process with it
    card: Card  # of the opened file, as the engine sees it

    def __init__(self, path: Path, card: Card, options: EngineOptions) -> None:
        raise NotImplementedError

    def bind(self, x: np.ndarray, v: Arrays, y: np.ndarray, v_next: Arrays, rates: Rates = None) -> Callable[[], None]:
        """Bind arrays, those of Buffers (see buffers.py), to an engine, and return a function that runs one call.

        The function reads x and v and writes y, v_next and, where the engine was opened with rates, `rates`. v and
        v_next hold float32 [rows, ...], one array for each of the card's states, in their order.
        """
        raise NotImplementedError

    def membranes(self, rows: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Allocate two sets of membrane arrays for Engine.bind, float32 [rows, ...], zeros.

        An engine may choose their memory layout, and return the same set twice where it updates membranes in place.
        """
        first, second = ([np.zeros((rows, *s["shape"]), np.float32) for s in self.card["states"]] for _ in range(2))
        return first, second

    def buffers(self, rows: int, rates: bool = False) -> Buffers:
        """Allocate the arrays of a session of `rows` rows (streams), bound to this engine.

        rates: with the firing rate of each layer.
        """
        return PingPongBuffers(self.card, rows, rates, self.membranes(rows), self.bind)

    def with_one_thread(self) -> Engine:
        """Return this engine with one thread per call, for calls from several threads at once."""
        return self


def should_flush(card: Card, options: EngineOptions) -> bool:
    """Return whether an engine must flush subnormal numbers to zero.

    The option decides, else the card: not where the network would notice. It is never true without the native
    library, which alone restores the mode of the calling thread.
    """
    option = options.flush_denormals
    return native.is_built() and (bool(card.get("flush_denormals", True)) if option is None else option)
