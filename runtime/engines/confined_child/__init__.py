"""Decides which artifacts are opened in a confined process: --confined auto, on or off.

ONNX Runtime and OpenVINO read a graph in C++, and had errors of their own. With `auto` a graph is opened in this process
only if the user gave the SHA-256 of the file, or if plif wrote the file for this user (written.py). The digest in a card
proves nothing here: a forger writes it as well. The event engine reads no graph, and PyTorch gets tensors only.
"""

from __future__ import annotations

import warnings
from pathlib import Path

from runtime.core.base.declared import EngineOptions
from runtime.core.base.errors import PlifError, PlifWarning
from runtime.core.base.files import hash_artifact
from runtime.core.engines import Engine
from runtime.engines.confined_child.written import has_written, record_written

__all__ = ["choose_confinement", "confine_engine", "record_written"]


def choose_confinement(path: Path, options: EngineOptions) -> bool:
    """Return whether the graph of an artifact must be opened in a confined process."""
    if options.confined != "auto":
        return options.confined == "on"
    return options.sha256 is None and not has_written(hash_artifact(path)[1])


def confine_engine(engine: type[Engine], path: Path, options: EngineOptions) -> type[Engine]:
    """Return the engine class that opens an artifact: the given one, or the same in a confined process.

    Warns with --confined off. Raises PlifError with --confined on for an engine that cannot be confined.
    """
    if not engine.opens_graphs:
        return engine
    if options.confined == "off":
        warnings.warn(f"{path}: engine {engine.name} opens it in this process (--confined off)", PlifWarning, 2)
        return engine
    if engine.on_gpu:
        if options.confined == "on":
            raise PlifError(
                f"{path}: engine {engine.name} needs the GPU, which a confined process does not reach; "
                "use --engine onnxruntime, or --confined off if you trust the file"
            )
        return engine
    if not choose_confinement(path, options):
        return engine
    from runtime.engines.confined_child.engine import ConfinedEngine

    return type(f"Confined{engine.__name__}", (ConfinedEngine, engine), {})
