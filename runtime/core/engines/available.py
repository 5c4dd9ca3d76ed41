"""Which engines there are, which of them opens what, which can run on this machine, and what the others lack.

Where several open an artifact, a part chooses by their time (runtime/engines/tuner); without it the first that can run is taken.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from runtime.core.base.declared import EngineOptions
from runtime.core.base.errors import PlifError, install_command
from runtime.core.engines import Engine
from runtime.core.engines.model import EngineChoice
from runtime.core.model.artifacts import ONNX, Kind, kind_of
from runtime.core.model.card import Card
from runtime.core.observers import hearing
from runtime.core.parts import by_name, find_part, find_parts, parts_of_others

ONNX_RUNTIME = "onnxruntime"  # the engine that is no part


def engine_names() -> list[str]:
    return [ONNX_RUNTIME, *by_name(find_parts("engines")), *by_name(parts_of_others("engines"))]


def engines_for(kind: Kind) -> list[str]:
    """The engines that open a kind of file when nobody names one, in order of preference; the last runs all of them."""
    for parts in (find_parts, parts_of_others):
        known = by_name(parts("engines"))
        own = [kind.name] if kind.name in known else [name for name, part in known.items() if kind.suffix in part.auto]
        if own or kind is ONNX:
            break
    return [*own, ONNX_RUNTIME] if kind is ONNX else own


def find_engine(name: str, path: Path, device: str | None = None) -> type[Engine]:
    """The engine class of that name; `auto` is the last of `engines_for`.

    onnxruntime, named or chosen by `auto`, becomes the engine of that name and of the device where there is one:
    onnxruntime-cuda. open_engine chooses among the engines that open one kind of file.
    """
    kind = kind_of(path)
    known = engines_for(kind)
    if not known:
        raise PlifError(f"{path}: no engine runs it here{'; ' * bool(kind.instead)}{kind.instead}")
    if name == "auto":
        name = known[-1]
    if name == ONNX_RUNTIME and device is not None:
        of_device = f"{name}-{device.partition(':')[0]}"
        name = of_device if find_part("engines", of_device) is not None else name
    found = engine_class(name)
    if path.suffix not in found.suffixes and kind.suffix not in found.suffixes:
        raise PlifError(
            f"{path}: engine '{name}' opens what ends in {', '.join(found.suffixes)}; use --engine auto"
            + (f", or export for it: --to {name}" if find_part("artifacts", name) else "")
        )
    return found


def engine_class(name: str) -> type[Engine]:
    """Raises PlifError where there is no engine of that name."""
    if name == ONNX_RUNTIME:
        from runtime.core.engines.onnxruntime import OnnxRuntimeEngine

        return OnnxRuntimeEngine
    part = find_part("engines", name)
    if part is None:
        raise PlifError(f"engine '{name}' is not known here; expected auto or one of: {', '.join(engine_names())}")
    try:
        engines: tuple[type[Engine], ...] = part.load("engine:ENGINES")
    except ImportError:
        raise PlifError(f"engine '{name}' is not installed completely: {install_command(part.extra)}") from None
    return next(each for each in engines if each.name == name)


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
    for part in hearing("choice", "engines"):
        choice: EngineChoice = part.load("choice:choose")(path, card, options, names)
        return engine if choice.engine == engine.name else _open(choice.engine, path, card, options), choice
    return engine, EngineChoice(first, "auto", "first in order")


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


class Lack(NamedTuple):
    """Why an engine cannot run here, and what to install; each is half a line."""

    why: str
    install: str


def engine_lacks() -> dict[str, Lack | None]:
    """Each engine by name -> None where it can run, else what it lacks."""
    return {name: lack_of(name) for name in engine_names()}


def lack_of(name: str) -> Lack | None:
    """What that engine lacks here; None: it can run, as far as it can be told without a file."""
    if name == ONNX_RUNTIME:
        return missing_module("onnxruntime", "cpu", "ONNX Runtime")
    part = find_part("engines", name)
    if part is None:
        return None
    if part.check:
        check: Callable[[str], Lack | None] = part.load(part.check)
        return check(name)
    return all_of(*(missing_module(module, part.extra) for module in part.requires))


def why_not(name: str) -> str | None:
    """The same as one text."""
    lack = lack_of(name)
    return lack and f"{lack.why}: {lack.install}"


def what_is(name: str) -> str:
    """What an engine is, in a few words."""
    part = find_part("engines", name)
    if part is None:
        return "ONNX Runtime on the CPU"
    return part.names[name] if isinstance(part.names, dict) else part.about


def all_of(*lacks: Lack | None) -> Lack | None:
    there = [lack for lack in lacks if lack is not None]
    return Lack(*("; ".join(texts) for texts in zip(*there, strict=True))) if there else None


def missing_module(module: str, extra: str, name: str | None = None, index: str = "") -> Lack | None:
    if importlib.util.find_spec(module) is not None:
        return None
    return Lack(f"{name or module} is not installed", install_command(extra, index))
