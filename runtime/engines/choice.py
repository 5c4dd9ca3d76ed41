"""Which engine opens an artifact: the one that was asked for, or with `--engine auto` one that opens it as it is.

Where several do, a part chooses by their time (runtime/engines/tuner); without it the first that can run here is taken.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from runtime.base.declared import EngineOptions
from runtime.base.errors import PlifError
from runtime.core.observers import hearing
from runtime.engines import Engine
from runtime.engines.available import engines_for, find_engine, why_not
from runtime.engines.model import EngineChoice
from runtime.model.artifacts import kind_of
from runtime.model.card import Card


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
