"""Engines: what runs an artifact. One file per backend; the registry is ENGINES plus the entry points `plif.engines`.

An engine binds buffers once and gives back a function that runs one call on them:

    run = engine.bind(x, v, y, v_next)      # arrays of the caller: x and v are read, y and v_next are written
    run()

The caller keeps two sets of membranes and binds both directions (ping-pong), so that a step allocates nothing, and a GPU
engine may capture one CUDA graph per direction. An engine has no state of its own: many sessions share one. (An engine whose
device keeps the membranes offers `resident` instead of `bind`: see Resident.)
To add an engine, write a file here with a class that has these members and enter it in ENGINES (or publish an entry point
of the group `plif.engines` from another package: that is how the torch engine of plif_train comes in).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from runtime.base.errors import PlifError
from runtime.model.artifacts import kind_of
from runtime.model.card import Card


@dataclass(frozen=True)
class EngineOptions:
    """threads None: as many as the machine has. rates: also count spikes per layer (slower; eval and dashboards ask).

    device  cpu, cuda or cuda:N; None leaves it to the engine. sha256: what the file's must be, for engines that run code
    """

    threads: int | None = None
    flush_denormals: bool = True
    rates: bool = False
    device: str | None = None
    sha256: str | None = None


class Engine(Protocol):
    name: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]  # of what it opens: of a name, or of a kind (runtime/model/artifacts.py)
    card: Card  # of the opened file, as the engine sees it

    def __init__(self, path: Path, card: Card, options: EngineOptions) -> None: ...

    def bind(
        self,
        x: np.ndarray,
        v: Sequence[np.ndarray],
        y: np.ndarray,
        v_next: Sequence[np.ndarray],
        rates: Mapping[str, np.ndarray] | None = None,
    ) -> Callable[[], None]:
        """A function that runs one call on these buffers. Membranes are in the order of the card's states.

        rates  {layer: float32 [rows]} to be filled with the share of neurons that fired (rows is T * B when unrolled)
        """
        ...


class Resident(Protocol):
    """Membranes that live in the engine, from step to step. What `engine.resident(x, y, v, rates)` gives, for one session.

    run   one call; the membranes stay inside
    push  the arrays v into the engine;  pull: the engine's membranes into v
    The session calls push and pull only where somebody looked at the membranes or changed them.
    """

    def run(self) -> None: ...
    def push(self) -> None: ...
    def pull(self) -> None: ...


class ResidentEngine:
    """What engines with resident membranes share."""

    def resident(
        self, x: np.ndarray, y: np.ndarray, v: Sequence[np.ndarray], rates: Mapping[str, np.ndarray] | None = None
    ) -> Resident:
        """Steps of one session, with its membranes on the device; `v` is what push and pull go through."""
        raise NotImplementedError

    def bind(
        self,
        x: np.ndarray,
        v: Sequence[np.ndarray],
        y: np.ndarray,
        v_next: Sequence[np.ndarray],
        rates: Mapping[str, np.ndarray] | None = None,
    ) -> Callable[[], None]:
        """As the protocol says: membranes go to the device and come back in each call. Sessions use `resident`."""
        inside = [np.empty_like(array) for array in v]
        steps = self.resident(x, y, inside, rates)

        def call() -> None:
            for mine, array in zip(inside, v, strict=True):
                np.copyto(mine, array)
            steps.push()
            steps.run()
            steps.pull()
            for mine, array in zip(inside, v_next, strict=True):
                np.copyto(array, mine)

        return call


# name -> "module:class"; a module is imported when its engine is asked for, so that nothing heavy is loaded before
ENGINES: dict[str, str] = {
    "onnxruntime": "runtime.engines.onnxruntime:OnnxRuntimeEngine",
    "onnxruntime-cuda": "runtime.engines.onnxruntime_gpu:OnnxRuntimeCudaEngine",
    "onnxruntime-tensorrt": "runtime.engines.onnxruntime_gpu:OnnxRuntimeTensorRtEngine",
    "event": "runtime.engines.event.engine:EventEngine",
    "openvino": "runtime.engines.openvino:OpenVinoEngine",
    "tensorrt": "runtime.engines.tensorrt.engine:TensorRtEngine",
    "tensorrt-rtx": "runtime.engines.tensorrt.engine:TensorRtRtxEngine",
}

ENTRY_POINTS = "plif.engines"


def _entry_points() -> Iterable[Any]:
    from importlib.metadata import entry_points  # not at the top: it costs a tenth of what NumPy costs to import

    return entry_points(group=ENTRY_POINTS)


def engine_names() -> list[str]:
    return [*ENGINES, *(point.name for point in _entry_points())]


def find_engine(name: str, path: Path, device: str | None = None) -> type[Any]:
    """The engine class of that name; `auto` is the one that its kind of file names (runtime/model/artifacts.py).

    onnxruntime, named or meant, is onnxruntime-cuda where the device is cuda or cuda:N. runtime.engines.choice chooses among
    the engines that open one kind of file.
    """
    kind = kind_of(path)
    if kind.engine is None:
        raise PlifError(f"{path}: no engine runs it here; {kind.instead}")
    if name == "auto":
        name = kind.engine
    if name == "onnxruntime" and device is not None and device.startswith("cuda"):
        name = "onnxruntime-cuda"
    if name in ENGINES:
        module, attribute = ENGINES[name].split(":")
        found = getattr(import_module(module), attribute)
    else:
        points = [point for point in _entry_points() if point.name == name]
        if not points:
            raise PlifError(f"engine '{name}' is not known here; expected auto or one of: {', '.join(engine_names())}")
        try:
            found = points[0].load()
        except ImportError:
            raise PlifError(f"engine '{name}' is not installed completely: pip install 'plif[train]'") from None
    if path.suffix not in found.suffixes and kind.suffix not in found.suffixes:
        raise PlifError(
            f"{path}: engine '{name}' opens what ends in {', '.join(found.suffixes)}; use --engine auto"
            + (f", or export for it: --to {name}" if name in ENGINES and ".onnx" not in found.suffixes else "")
        )
    return found
