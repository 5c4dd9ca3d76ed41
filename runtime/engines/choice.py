"""`--engine auto`: the fastest engine that opens the artifact as it is, found by a short calibration and remembered.

Every candidate computes what the artifact says, in its precision; nothing is converted. The candidates have a fixed order,
and a later one is chosen only where it is faster by more than MARGIN, so that noise does not decide. The result is kept in
the user's cache folder under a key made of everything that it depends on; without such a folder, and where other programs
kept the processors busy meanwhile, it holds for the process. chosen.py keeps it, and forgets it where steps become slower.
docs/engines.md has the whole rule.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from runtime.base.errors import PlifError
from runtime.base.version import __version__
from runtime.engines import Engine, EngineOptions, find_engine
from runtime.engines.available import why_not
from runtime.engines.chosen import EngineChoice, cache_folder, chosen, read, write
from runtime.model.artifacts import kind_of
from runtime.model.card import Card

NO_CALIBRATION = "PLIF_NO_CALIBRATION"
CANDIDATES = {".onnx": ("event", "onnxruntime")}  # in order of preference
MARGIN = 0.10
# Seconds that threads waited for a processor, per second, from which a measurement is not kept.
BUSY = 0.10
ORT_PACKAGES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino")


def open_engine(name: str, path: Path, card: Card, options: EngineOptions) -> tuple[Engine, EngineChoice]:
    """The engine of that name; for `auto` the one that is chosen. Raises PlifError where none opens the file."""
    if name != "auto":
        return find_engine(name, path, options.device)(path, card, options), EngineChoice(name, name, "as asked")
    names = CANDIDATES.get(kind_of(path).suffix, ())
    if not names or options.device not in (None, "cpu"):
        engine = find_engine("auto", path, options.device)(path, card, options)
        return engine, EngineChoice(engine.name, "auto", f"it opens {kind_of(path).suffix} files")
    reason = why_not("event")
    if reason is None:
        try:
            engine = find_engine("event", path)(path, card, options)
        except PlifError as error:
            refusal = str(error).removeprefix(f"{path}: ").removesuffix("; use --engine onnxruntime")
            reason = f"the event engine cannot run it ({refusal})"
    if reason is not None:
        return find_engine("onnxruntime", path)(path, card, options), EngineChoice("onnxruntime", "auto", reason)
    if (reason := why_not("onnxruntime")) is not None:
        return engine, EngineChoice("event", "auto", reason)
    choice = _choose(path, card, options, names)
    if choice.engine != engine.name:
        engine = find_engine(choice.engine, path)(path, card, options)
    return engine, choice


def load_code(name: str, path: Path) -> None:
    """Imports what `open_engine` will most likely need. It raises nothing: open_engine says what is missing."""
    with suppress(Exception):
        find_engine("event" if name == "auto" and kind_of(path).suffix in CANDIDATES else name, path)


def _choose(path: Path, card: Card, options: EngineOptions, names: tuple[str, ...]) -> EngineChoice:
    """Chooses among engines that all open the file: from memory, from the cache folder, or by measuring now."""
    if os.environ.get(NO_CALIBRATION, "0") not in ("", "0"):
        return EngineChoice(names[0], "auto", f"first in order, not measured ({NO_CALIBRATION} is set)")
    depends = _depends_on(path, card, options, names)
    key = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()
    if key in chosen:
        return chosen[key]
    where = cache_folder()
    times = read(where / f"{key}.json", names) if where else None
    note = "measured before"
    if times is None:
        from runtime.engines.calibrate import calibrate

        try:
            measured = calibrate(path, names, options)
        except PlifError as error:
            return EngineChoice(names[0], "auto", f"first in order, not measured ({error})")
        times = {name: {"active": round(a, 4), "silent": round(s, 4)} for name, (a, s) in measured.times.items()}
        if measured.waited > BUSY:
            note = "measured now, for this process only: other programs kept the processors busy"
        elif where is not None and write(where / f"{key}.json", {"measured_ms": times, "depends_on": depends}):
            note = "measured now"
        else:
            note = "measured now, for this process only: no cache folder to write to"
    chosen[key] = replace(decide(names, times, note), key=key)
    return chosen[key]


def decide(names: tuple[str, ...], times: dict[str, dict[str, float]], note: str) -> EngineChoice:
    """The rule: compare the time of a call in activity plus that of a call in silence; a later engine must win by more
    than MARGIN.

    times  engine -> {"active": ms a call, "silent": ms a call};  note: where the times come from
    """
    total = {name: times[name]["active"] + times[name]["silent"] for name in names}
    best = names[0]
    for name in names[1:]:
        if total[name] < (1 - MARGIN) * total[best]:
            best = name
    shown = " and ".join(f"{times[best][key]:.3g}" for key in ("active", "silent"))
    others = ", ".join(
        f"{times[name]['active']:.3g} and {times[name]['silent']:.3g} with {name}" for name in names if name != best
    )
    reason = f"{shown} ms a call, active and silent, against {others} ({note})"
    return EngineChoice(best, "auto", reason, times)


# --- what the choice depends on -----------------------------------------------------------------------------------


def _depends_on(path: Path, card: Card, options: EngineOptions, names: tuple[str, ...]) -> dict[str, Any]:
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
