"""Which engines there are, which of them opens what, which can run on this machine, and what the others lack: asked of what is
installed, without opening a file."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from runtime.base.errors import PlifError, install_command
from runtime.core.parts import by_name, find_part, find_parts, parts_of_others
from runtime.engines import Engine
from runtime.model.artifacts import ONNX, Kind, kind_of

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
    onnxruntime-cuda. runtime.engines.choice chooses among the engines that open one kind of file.
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
        from runtime.engines.onnxruntime import OnnxRuntimeEngine

        return OnnxRuntimeEngine
    part = find_part("engines", name)
    if part is None:
        raise PlifError(f"engine '{name}' is not known here; expected auto or one of: {', '.join(engine_names())}")
    try:
        engines: tuple[type[Engine], ...] = part.load("engine:ENGINES")
    except ImportError:
        raise PlifError(f"engine '{name}' is not installed completely: {install_command(part.extra)}") from None
    return next(each for each in engines if each.name == name)


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
