"""The known engines: the files that each opens, and the requirements that are missing on this machine.

Where several open an artifact, a part chooses by their time (runtime/engines/tuner); without it the first that can
run is taken.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from runtime.core.base.declared import EngineOptions
from runtime.core.base.errors import PlifError, format_pip_install
from runtime.core.engines import Engine
from runtime.core.engines.model import EngineChoice
from runtime.core.model.artifacts import ONNX, Kind, detect_kind
from runtime.core.model.card import Card
from runtime.core.observers import find_observers
from runtime.core.parts import find_part, find_parts, index_by_name, third_party_parts

ONNX_RUNTIME = "onnxruntime"  # the engine that is no part


def engine_names() -> list[str]:
    return [ONNX_RUNTIME, *index_by_name(find_parts("engines")), *index_by_name(third_party_parts("engines"))]


def engines_for(kind: Kind) -> list[str]:
    """List the engines that open a kind of file by default, in order of preference.

    The last one runs all files of the kind.
    """
    for parts in (find_parts, third_party_parts):
        parts_by_name = index_by_name(parts("engines"))
        names = [name for name, part in parts_by_name.items() if kind.suffix in part.auto]
        names = [kind.name] if kind.name in parts_by_name else names
        if names or kind is ONNX:
            break
    return [*names, ONNX_RUNTIME] if kind is ONNX else names


def find_engine(name: str, path: Path, device: str | None = None) -> type[Engine]:
    """Find the engine class for a file by name; "auto" means the last one in `engines_for`.

    onnxruntime, named or chosen by `auto`, becomes the engine of that name and of the device where there is one:
    onnxruntime-cuda. open_engine chooses among the engines that open one kind of file.
    """
    kind = detect_kind(path)
    names = engines_for(kind)
    if not names:
        raise PlifError(f"{path}: no engine runs it here{'; ' * bool(kind.instead)}{kind.instead}")
    if name == "auto":
        name = names[-1]
    if name == ONNX_RUNTIME and device is not None:
        device_name = f"{name}-{device.partition(':')[0]}"
        name = device_name if find_part("engines", device_name) is not None else name
    engine = load_engine_class(name)
    if path.suffix not in engine.suffixes and kind.suffix not in engine.suffixes:
        raise PlifError(
            f"{path}: engine '{name}' opens what ends in {', '.join(engine.suffixes)}; use --engine auto"
            + (f", or export for it: --to {name}" if find_part("artifacts", name) else "")
        )
    return engine


def load_engine_class(name: str) -> type[Engine]:
    """Import the engine class of a name; refuse an unknown name."""
    if name == ONNX_RUNTIME:
        from runtime.core.engines.onnxruntime import OnnxRuntimeEngine

        return OnnxRuntimeEngine
    part = find_part("engines", name)
    if part is None:
        raise PlifError(f"engine '{name}' is not known here; expected auto or one of: {', '.join(engine_names())}")
    try:
        engines: tuple[type[Engine], ...] = part.load("engine:ENGINES")
    except ImportError:
        raise PlifError(f"engine '{name}' is not installed completely: {format_pip_install(part.extra)}") from None
    return next(engine for engine in engines if engine.name == name)


def open_engine(name: str, path: Path, card: Card, options: EngineOptions) -> tuple[Engine, EngineChoice]:
    """Open an artifact with the engine of a name; for "auto", with the fastest suitable one.

    Raise PlifError where no engine opens the file, and for an engine that would flush subnormal numbers of a network
    that notices.
    """
    if name != "auto":
        return _open(name, path, card, options), EngineChoice(name, name, "as asked")
    names = tuple(engines_for(detect_kind(path)))  # in order of preference
    if len(names) < 2 or options.device not in (None, "cpu"):
        engine = _open("auto", path, card, options)
        return engine, EngineChoice(engine.name, "auto", f"it opens {detect_kind(path).suffix} files")
    first, last = names[0], names[-1]
    reason = explain_missing(first)
    if reason is None:
        try:
            engine = _open(first, path, card, options)
        except PlifError as error:
            refusal = str(error).removeprefix(f"{path}: ").removesuffix(f"; use --engine {last}")
            reason = f"the {first} engine cannot run it ({refusal})"
    if reason is not None:
        return _open(last, path, card, options), EngineChoice(last, "auto", reason)
    if (reason := explain_missing(last)) is not None:
        return engine, EngineChoice(first, "auto", reason)
    for part in find_observers("choice", "engines"):
        choice: EngineChoice = part.load("choice:choose")(path, card, options, names)
        return engine if choice.engine == engine.name else _open(choice.engine, path, card, options), choice
    return engine, EngineChoice(first, "auto", "first in order")


def _open(name: str, path: Path, card: Card, options: EngineOptions) -> Engine:
    engine = find_engine(name, path, options.device)
    if card.get("flush_denormals") is False and (options.flush_denormals or not engine.keeps_subnormals):
        subject, instead = "flush_denormals=True", "leave it out"
        if not engine.keeps_subnormals:
            subject, instead = f"engine {engine.name}", "run its .onnx file on the CPU: --engine event or onnxruntime"
        raise PlifError(
            f"{path}: {subject} makes 0 of numbers below 2^-126, and this network would give other spikes (its card says "
            f"flush_denormals: false); {instead}"
        )
    parts = find_observers("opening", "engines")
    if options.confined == "on" and not parts:
        raise PlifError(f"{path}: --confined on: no part of plif here confines an engine; leave it out")
    for part in parts:
        engine = part.load("confine_engine")(engine, path, options)
    return engine(path, card, options)


def preload_engine(name: str, path: Path) -> None:
    """Import the code that `open_engine` will most likely need.

    It raises nothing: open_engine reports missing code.
    """
    with suppress(Exception):
        find_engine(engines_for(detect_kind(path))[0] if name == "auto" else name, path)


class MissingRequirement(NamedTuple):
    """A requirement that an engine misses on this machine: the reason, and the command that installs it.

    Each is half a line.
    """

    why: str
    install: str


def find_all_missing() -> dict[str, MissingRequirement | None]:
    """Find the missing requirement of each engine, by name; None for an engine that can run."""
    return {name: find_missing(name) for name in engine_names()}


def find_missing(name: str) -> MissingRequirement | None:
    """Find the missing requirement of one engine; None if it can run, as far as known without a file."""
    if name == ONNX_RUNTIME:
        return check_module("onnxruntime", "cpu", "ONNX Runtime")
    part = find_part("engines", name)
    if part is None:
        return None
    if part.check:
        check: Callable[[str], MissingRequirement | None] = part.load(part.check)
        return check(name)
    return join_missing(*(check_module(module, part.extra) for module in part.requires))


def explain_missing(name: str) -> str | None:
    """Explain in one text why an engine cannot run on this machine, or return None."""
    requirement = find_missing(name)
    return requirement and f"{requirement.why}: {requirement.install}"


def describe_engine(name: str) -> str:
    """Describe an engine in a few words."""
    part = find_part("engines", name)
    if part is None:
        return "ONNX Runtime on the CPU"
    return part.names[name] if isinstance(part.names, dict) else part.about


def join_missing(*requirements: MissingRequirement | None) -> MissingRequirement | None:
    missing = [requirement for requirement in requirements if requirement is not None]
    return MissingRequirement(*("; ".join(texts) for texts in zip(*missing, strict=True))) if missing else None


def check_module(module: str, extra: str, name: str | None = None, index: str = "") -> MissingRequirement | None:
    if importlib.util.find_spec(module) is not None:
        return None
    return MissingRequirement(f"{name or module} is not installed", format_pip_install(extra, index))
