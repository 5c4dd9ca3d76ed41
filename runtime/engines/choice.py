"""`--engine auto`: the fastest engine that opens the artifact as it is, found by a short calibration and remembered.

Every candidate computes what the artifact says, in its precision; nothing is converted. runtime/base/tuner.py has the rule,
docs/engines.md has it in words.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from runtime.base.declared import EngineOptions
from runtime.base.errors import PlifError
from runtime.base.tuner import Measurement, tune
from runtime.base.version import __version__
from runtime.engines import Engine
from runtime.engines.available import engines_for, find_engine, why_not
from runtime.engines.model import EngineChoice
from runtime.model.artifacts import kind_of
from runtime.model.card import Card

ORT_PACKAGES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino")


def open_engine(name: str, path: Path, card: Card, options: EngineOptions) -> tuple[Engine, EngineChoice]:
    """The engine of that name; for `auto` the one that is chosen. Raises PlifError where none opens the file, and for one that
    would flush subnormal numbers of a network that notices."""
    if name != "auto":
        return _open(name, path, card, options), EngineChoice(name, name, "as asked")
    names = tuple(engines_for(kind_of(path)))  # in order of preference
    if len(names) < 2 or options.device not in (None, "cpu"):
        engine = _open("auto", path, card, options)
        return engine, EngineChoice(engine.name, "auto", f"it opens {kind_of(path).suffix} files")
    first, last = names[0], names[-1]
    reason = why_not(first)
    if reason is None:
        try:
            engine = _open(first, path, card, options)
        except PlifError as error:
            refusal = str(error).removeprefix(f"{path}: ").removesuffix(f"; use --engine {last}")
            reason = f"the {first} engine cannot run it ({refusal})"
    if reason is not None:
        return _open(last, path, card, options), EngineChoice(last, "auto", reason)
    if (reason := why_not(last)) is not None:
        return engine, EngineChoice(first, "auto", reason)
    choice = _choose(path, card, options, names)
    if choice.engine != engine.name:
        engine = _open(choice.engine, path, card, options)
    return engine, choice


def _open(name: str, path: Path, card: Card, options: EngineOptions) -> Engine:
    engine = find_engine(name, path, options.device)
    if card.get("flush_denormals") is False and (options.flush_denormals or not engine.keeps_subnormals):
        what = "flush_denormals=True" if engine.keeps_subnormals else f"engine {engine.name}"
        instead = (
            "leave it out"
            if engine.keeps_subnormals
            else "run its .onnx file on the CPU: --engine event or onnxruntime"
        )
        raise PlifError(
            f"{path}: {what} makes 0 of numbers below 2^-126, and this network would give other spikes (its card says "
            f"flush_denormals: false); {instead}"
        )
    return engine(path, card, options)


def load_code(name: str, path: Path) -> None:
    """Imports what `open_engine` will most likely need. It raises nothing: open_engine says what is missing."""
    with suppress(Exception):
        find_engine(engines_for(kind_of(path))[0] if name == "auto" else name, path)


def _choose(path: Path, card: Card, options: EngineOptions, names: tuple[str, ...]) -> EngineChoice:
    """Chooses among engines that all open the file: by the time of a call in activity plus that of a call in silence."""

    def measure(names: Sequence[str]) -> Measurement[str]:
        from runtime.engines.calibrate import calibrate  # here: a start that reads what was measured needs none of it

        return calibrate(path, names, options)

    depends_on = partial(_depends_on, path, card, options, names)
    found = tune(names, measure, parts=("active", "silent"), depends_on=depends_on, folder="engines")
    if not found.times:
        return EngineChoice(found.best, "auto", f"first in order, {found.note}")
    shown = {name: f"{times['active']:.3g} and {times['silent']:.3g}" for name, times in found.times.items()}
    others = ", ".join(f"{text} with {name}" for name, text in shown.items() if name != found.best)
    reason = f"{shown[found.best]} ms a call, active and silent, against {others} ({found.note})"
    return EngineChoice(found.best, "auto", reason, found.times, found.key)


# --- what the choice depends on -----------------------------------------------------------------------------------


def _depends_on(path: Path, card: Card, options: EngineOptions, names: tuple[str, ...]) -> dict[str, object]:
    """All that the choice may depend on. Not whether rates are counted: plif stream and plif eval take the same engine."""
    from runtime import native

    libraries = sorted(Path(native.__file__).parent.glob("_event*.so"))
    return {
        "card": hashlib.sha256(json.dumps(card, sort_keys=True).encode()).hexdigest(),
        "bytes": path.stat().st_size,
        "engines": list(names),
        "plif": __version__,
        "native": [hashlib.sha256(library.read_bytes()).hexdigest() for library in libraries],
        "path": os.environ.get(native.PATH_VARIABLE) or None,
        "onnxruntime": _onnxruntime_version(),
        "processor": processor(),
        "cores": native.cores(),
        "options": [options.threads, options.flush_denormals],
    }


def _onnxruntime_version() -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    for package in ORT_PACKAGES:
        with suppress(PackageNotFoundError):
            return f"{package} {version(package)}"
    return None


def processor() -> str:
    """The processor's name."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
