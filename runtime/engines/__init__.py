"""Engines: what runs an artifact. One file per backend; the registry is ENGINES plus the entry points `plif.engines`.

An engine binds buffers once and gives back a function that runs one call on them:

    run = engine.bind(x, v, y, v_next)      # arrays of the caller: x and v are read, y and v_next are written
    run()

The caller keeps two sets of membranes and binds both directions (ping-pong), so that a step allocates nothing, and a GPU
engine may capture one CUDA graph per direction. An engine has no state of its own: many sessions share one.
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

from runtime.card import Card
from runtime.errors import PlifError


@dataclass(frozen=True)
class EngineOptions:
    """threads None: as many as the machine has. rates: also count spikes per layer (slower; eval and dashboards ask)."""

    threads: int | None = None
    flush_denormals: bool = True
    rates: bool = False
    device: str = "cpu"


class Engine(Protocol):
    name: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]  # of the files it opens
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


# name -> "module:class"; a module is imported when its engine is asked for, so that nothing heavy is loaded before
ENGINES: dict[str, str] = {
    "onnxruntime": "runtime.engines.onnxruntime:OnnxRuntimeEngine",
    "event": "runtime.engines.event:EventEngine",
}

ENTRY_POINTS = "plif.engines"


def _entry_points() -> Iterable[Any]:
    from importlib.metadata import entry_points  # not at the top: it costs a tenth of what NumPy costs to import

    return entry_points(group=ENTRY_POINTS)


def engine_names() -> list[str]:
    return [*ENGINES, *(point.name for point in _entry_points())]


def find_engine(name: str, path: Path) -> type[Any]:
    """The engine class of that name; `auto` is torch for a model.pt and onnxruntime for everything else.

    runtime.engines.choice chooses among the engines that open one kind of file.
    """
    if name == "auto":
        name = "torch" if path.suffix in (".pt", ".pth") else "onnxruntime"
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
    if path.suffix not in found.suffixes:
        raise PlifError(
            f"{path}: engine '{name}' opens files that end in {', '.join(found.suffixes)}; use --engine auto"
        )
    return found
