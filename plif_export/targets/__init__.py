"""Targets: what `--to` can name. A target turns a proved ONNX form of a network into the file or folder that its engine opens.

An export reads the model, runs the passes, writes the graph as ONNX in the target's dialect, proves that, and then asks the
target to write its own artifact from it (which for `onnx` is the proved file itself). A target that has an engine on this
machine opens what it wrote, and that has to pass the gate as well; one that cannot says so, and the card says "not run".

To add a target, write a file beside this one with a class that has these members and enter it in TARGETS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import ClassVar, Protocol

import onnx

from runtime.card import Card
from runtime.errors import PlifError
from runtime.graph import Graph


@dataclass
class Made:
    """What an export has made when it is the target's turn.

    graph    after all passes
    proto    the same network as ONNX, in the target's dialect; its card is inside already
    card     the artifact's card
    options  what the user gave with --set NAME=VALUE,..., checked by the target
    notes    lines for the user; a target adds what it has to say
    """

    graph: Graph
    proto: onnx.ModelProto
    card: Card
    options: Mapping[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Target(Protocol):
    name: ClassVar[str]
    suffix: ClassVar[str]  # of the artifact's name: ".onnx", ".engine", "_openvino", ".nir"
    folder: ClassVar[bool]  # the artifact is a folder
    dialect: ClassVar[str]  # how the ONNX form says int8: "integer" (ConvInteger) or "qdq" (QuantizeLinear)
    forms: ClassVar[tuple[str, ...]]
    precisions: ClassVar[tuple[str, ...]]
    options: ClassVar[tuple[str, ...]]  # the names that --set takes
    engine: ClassVar[
        str | None
    ]  # the runtime's engine that opens it, asked to pass the gate; None: nothing runs it here

    def check(self, graph: Graph, card: Card, options: Mapping[str, str]) -> None:
        """Raises PlifError, before any work, for what this target cannot express or what is not installed."""

    def write(self, made: Made, path: Path) -> None:
        """Writes the artifact to `path`, a temporary place beside its own; a folder target makes the folder."""


# name -> "module:class"; imported when asked for, so that an extra is needed only by who uses it
TARGETS: dict[str, str] = {
    "onnx": "plif_export.targets.onnx:OnnxTarget",
}


def find_target(name: str) -> Target:
    """The target of that name. Raises PlifError for an unknown one."""
    if name not in TARGETS:
        raise PlifError(f"--to {name}: this version writes {', '.join(TARGETS)}")
    module, attribute = TARGETS[name].split(":")
    target: Target = getattr(import_module(module), attribute)()
    return target


def check_options(target: Target, options: Mapping[str, str]) -> None:
    """Refuses options that a target does not have."""
    for name in options:
        if name not in target.options:
            known = f"it has {', '.join(target.options)}" if target.options else "it has none"
            raise PlifError(f"--set {name}: --to {target.name} has no such option; {known}")
