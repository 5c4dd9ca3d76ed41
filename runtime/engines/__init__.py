"""Engines: what runs an artifact. One file per backend; the registry is ENGINES plus the entry points `plif.engines`.

To add an engine, write a file here with a class that derives from Engine and enter it in ENGINES (or publish an entry point
of the group `plif.engines` from another package: that is how the torch engine of plif_train comes in). An engine has no
state of its own, so that many sessions can share one. A session gets its arrays and its calls from `buffers`, in one of two
ways (runtime/engines/buffers.py):

    membranes in arrays       the class has `bind`, which binds buffers once and gives back a function that runs one call
                              on them; a session binds two sets of membranes both ways (ping-pong), so that a step
                              allocates nothing:
                                  run = engine.bind(x, v, y, v_next)      # reads x and v, writes y and v_next
                                  run()
    membranes on a device     the class overrides `buffers` and gives a Resident
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from runtime import native
from runtime.base.declared import EngineOptions
from runtime.base.errors import PlifError, install_command
from runtime.engines.buffers import Arrays, Buffers, PingPong, Rates
from runtime.model.artifacts import Kind, kind_of
from runtime.model.card import Card


class Engine:
    """An artifact that one backend has opened. Base class of all engines."""

    name: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]  # of what it opens: of a name, or of a kind (runtime/model/artifacts.py)
    counts_rates: ClassVar[bool] = True  # whether it can count the spikes of each layer
    keeps_subnormals: ClassVar[bool] = (
        False  # whether it can be told to: what cannot is refused where the card asks for it
    )
    sums_in_float32: ClassVar[bool] = False  # also where the artifact's weights are float16
    threads: int | None = None  # how many threads it runs at most, where it decides that itself
    adapter: str | None = None  # the GPU that it runs on, by name and driver, where that can be told
    times_calls: bool = False  # whether it measures how long each call takes anyway: `took_ms`
    card: Card  # of the opened file, as the engine sees it

    def __init__(self, path: Path, card: Card, options: EngineOptions) -> None:
        raise NotImplementedError

    def bind(self, x: np.ndarray, v: Arrays, y: np.ndarray, v_next: Arrays, rates: Rates = None) -> Callable[[], None]:
        """A function that runs one call on these arrays, which are those of Buffers (runtime/engines/buffers.py).

        It reads x and v and writes y, v_next and, where the engine was opened with rates, `rates`. v and v_next hold float32
        [rows, ...], one array for each of the card's states, in their order.
        """
        raise NotImplementedError

    def membranes(self, rows: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Two sets of membranes for `bind`, float32 [rows, ...], zeros. An engine may lay them out as it likes to read them,
        and give the same set twice where it updates membranes in place."""
        first, second = ([np.zeros((rows, *s["shape"]), np.float32) for s in self.card["states"]] for _ in range(2))
        return first, second

    def buffers(self, rows: int, rates: bool = False) -> Buffers:
        """New arrays for `rows` rows, bound to this engine; rates: with the firing rate of each layer."""
        return PingPong(self.card, rows, rates, self.membranes(rows), self.bind)

    def took_ms(self, rows: int) -> float:
        """How long the last call of so many rows took, of an engine with `times_calls`."""
        raise NotImplementedError

    def one_thread(self) -> Engine:
        """This engine for calls from several threads at once: where it decides how many threads a call takes, it takes one."""
        return self


def flushes(card: Card, options: EngineOptions) -> bool:
    """Whether an engine makes subnormal numbers zero: as asked, else where the card does not say that the network notices. Never
    without the native library, which alone puts back what that changes in the calling thread."""
    asked = options.flush_denormals
    return native.is_built() and (bool(card.get("flush_denormals", True)) if asked is None else asked)


# name -> "module:class"; a module is imported when its engine is asked for, so that nothing heavy is loaded before
ENGINES: dict[str, str] = {
    "onnxruntime": "runtime.engines.onnxruntime:OnnxRuntimeEngine",
    "onnxruntime-cuda": "runtime.engines.onnxruntime_gpu:OnnxRuntimeCudaEngine",
    "onnxruntime-tensorrt": "runtime.engines.onnxruntime_gpu:OnnxRuntimeTensorRtEngine",
    "webgpu": "runtime.engines.onnxruntime_webgpu:OnnxRuntimeWebGpuEngine",
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


def engines_for(kind: Kind) -> list[str]:
    """The engines that open a kind of file when nobody names one, in order of preference; the last runs all of them."""
    found = {"model": ["torch"], "onnx": ["event", "onnxruntime"], "plif": ["event"], "web": ["event"]}
    return found.get(kind.name, [kind.name] if kind.name in ENGINES else [])


def find_engine(name: str, path: Path, device: str | None = None) -> type[Engine]:
    """The engine class of that name; `auto` is the one that its kind of file names (runtime/model/artifacts.py).

    onnxruntime, named or chosen by `auto`, becomes onnxruntime-cuda where the device is cuda or cuda:N.
    runtime.engines.choice chooses among the engines that open one kind of file.
    """
    kind = kind_of(path)
    known = engines_for(kind)
    if not known:
        raise PlifError(f"{path}: no engine runs it here; {kind.instead}")
    if name == "auto":
        name = known[-1]
    if name == "onnxruntime" and device is not None and device.startswith("cuda"):
        name = "onnxruntime-cuda"
    if name in ENGINES:
        module, attribute = ENGINES[name].split(":")
        found: type[Engine] = getattr(import_module(module), attribute)
    else:
        points = [point for point in _entry_points() if point.name == name]
        if not points:
            raise PlifError(f"engine '{name}' is not known here; expected auto or one of: {', '.join(engine_names())}")
        try:
            found = points[0].load()
        except ImportError:
            raise PlifError(f"engine '{name}' is not installed completely: {install_command('train')}") from None
    if path.suffix not in found.suffixes and kind.suffix not in found.suffixes:
        raise PlifError(
            f"{path}: engine '{name}' opens what ends in {', '.join(found.suffixes)}; use --engine auto"
            + (f", or export for it: --to {name}" if name in ENGINES and ".onnx" not in found.suffixes else "")
        )
    return found
