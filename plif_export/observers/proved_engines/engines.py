"""The choice of the engines that must pass a proof, opened as `runtime.load` opens them, with default options.

An export proves every engine among which `auto` chooses here, since its choice by time may differ tomorrow. `plif
verify --engine all` tries each engine that opens such a file.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx

from runtime.core.api import Model, open_unverified
from runtime.core.base.declared import EngineOptions
from runtime.core.base.errors import PlifError
from runtime.core.base.files import hash_artifact
from runtime.core.engines.available import engines_for, explain_missing
from runtime.core.model.artifacts import ONNX, Kind, detect_kind
from runtime.core.model.card import Card
from runtime.core.parts import find_part, find_parts, index_by_name, third_party_parts


def open_engines(
    artifact: Path | onnx.ModelProto,
    card: Card,
    which: str = "auto",
    proved: str | None = None,
    sha256: str | None = None,
) -> tuple[list[Model], list[str]]:
    """Open an artifact with the engines that a proof must run.

    artifact  a path, or an ONNX model that has no file yet
    which     auto: all engines among which auto chooses; all: each one of this machine; none
    proved    an engine to leave out
    sha256    of an artifact that an export has just written; it needs no confined process
    Returns the models, and the names of the engines that were not opened, with the reason in brackets if tried.
    """
    if not isinstance(artifact, Path):
        with tempfile.TemporaryDirectory(prefix="plif-gate-") as folder:
            path = Path(folder) / "model.onnx"
            path.write_bytes(artifact.SerializeToString(deterministic=True))
            return open_engines(path, card, which, proved, hash_artifact(path)[1])
    kind = detect_kind(artifact)
    known = [name for name in list_engines(kind) if name != proved]
    names = {"auto": [name for name in known if name in engines_for(kind)], "all": known}.get(which, [])
    opened, not_run = [], [name for name in known if name not in names]
    for name in names:
        try:
            if (reason := explain_missing(name)) is not None:
                raise PlifError(reason)
            opened.append(open_unverified(artifact, card, name, EngineOptions(sha256=sha256)))
        except PlifError as problem:
            not_run.append(f"{name} ({str(problem).removeprefix(f'{artifact}: ')})")
    return opened, not_run


def list_engines(kind: Kind) -> list[str]:
    """List all engines that may open a kind of file, installed or not: those of `auto` first."""
    parts_by_name = {**index_by_name(find_parts("engines")), **index_by_name(third_party_parts("engines"))}
    named = [name for name, part in parts_by_name.items() if not part.auto and find_part("artifacts", name) is None]
    return [*dict.fromkeys([*engines_for(kind), *(sorted(named) if kind is ONNX else [])])]
