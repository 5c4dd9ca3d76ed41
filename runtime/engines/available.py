"""Which engines can run on this machine, why the others cannot, and what to install: asked of what is installed, without
opening a file."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import NamedTuple

from runtime.base.errors import install_command
from runtime.core.parts import find_part
from runtime.engines.known import ONNX_RUNTIME, engine_names


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
