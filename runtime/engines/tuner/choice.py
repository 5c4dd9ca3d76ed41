"""The choice by time among engines that all open an artifact.

Every candidate computes the artifact in its own precision; nothing is converted. docs/engines.md has the rule in
words.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from runtime import native
from runtime.core.base.declared import EngineOptions
from runtime.core.base.version import __version__
from runtime.core.engines.model import EngineChoice
from runtime.core.model.card import Card
from runtime.core.observers import find_observers
from runtime.engines.tuner import Measurement, tune

ORT_PACKAGES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino")


def choose(path: Path, card: Card, options: EngineOptions, names: tuple[str, ...]) -> EngineChoice:
    """Choose the fastest of engines that all open a file, by the time of an active and a silent call together."""

    def measure(names: Sequence[str]) -> Measurement[str]:
        from runtime.engines.tuner.calibrate import (
            calibrate,  # here: a start that reads what was measured needs none of it
        )

        return calibrate(path, names, options)

    depends_on = partial(_collect_dependencies, path, card, options, names)
    outcome = tune(names, measure, parts=("active", "silent"), depends_on=depends_on, folder="engines")
    if not outcome.times:
        return EngineChoice(outcome.best, "auto", f"first in order, {outcome.note}")
    shown = {name: f"{times['active']:.3g} and {times['silent']:.3g}" for name, times in outcome.times.items()}
    alternatives = ", ".join(f"{text} with {name}" for name, text in shown.items() if name != outcome.best)
    reason = f"{shown[outcome.best]} ms a call with and without spikes, {alternatives} ({outcome.note})"
    return EngineChoice(outcome.best, "auto", reason, outcome.times, outcome.key)


# --- what the choice depends on -----------------------------------------------------------------------------------


def _collect_dependencies(path: Path, card: Card, options: EngineOptions, names: tuple[str, ...]) -> dict[str, object]:
    """Collect everything that the choice of the fastest engine may depend on.

    Rates are not part of it: plif stream and plif eval take the same engine.
    """
    libraries = sorted(Path(native.__file__).parent.glob("_event*.so"))
    return {
        "card": hashlib.sha256(json.dumps(card, sort_keys=True).encode()).hexdigest(),
        "bytes": path.stat().st_size,
        "engines": list(names),
        "plif": __version__,
        "native": [hashlib.sha256(library.read_bytes()).hexdigest() for library in libraries],
        "path": os.environ.get(native.PATH_VARIABLE) or None,
        "onnxruntime": _onnxruntime_version(),
        "processor": native.processor_name(),
        "cores": native.count_cores(),
        "options": [options.threads, options.flush_denormals],
        "confined": [part.load("choose_confinement")(path, options) for part in find_observers("opening", "engines")],
    }


def _onnxruntime_version() -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    for package in ORT_PACKAGES:
        with suppress(PackageNotFoundError):
            return f"{package} {version(package)}"
    return None
