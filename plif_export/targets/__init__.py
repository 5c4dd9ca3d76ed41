"""Targets: what `--to` can name. A target turns a proved ONNX form of a network into the file or folder that its engine opens.

An export reads the model, runs the passes, writes the graph as ONNX in the target's dialect, proves that, and then asks the
target to write its own artifact from it (which for `onnx` is the proved file itself). A target that has an engine on this
machine opens what it wrote, and that has to pass the gate as well; one that cannot says so, and the card says "not run".

To add a target, write a file beside this one with a class that has these members and enter it in TARGETS.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

import onnx

from runtime.api import load
from runtime.base.errors import PlifError
from runtime.model.card import Card
from runtime.model.graph import Graph

if TYPE_CHECKING:
    from plif_export.proof.session import Running
    from plif_export.readers.rules import Problem


@dataclass
class Made:
    """What an export has made when it is the target's turn.

    graph    after all passes
    proto    the same network as ONNX, in the target's dialect; its card is inside already
    card     the artifact's card
    options  what the user gave with --set NAME=VALUE,..., checked by the target
    notes    lines for the user; a target adds what it has to say
    command  the command line that makes it again
    name     of the artifact's file or folder
    proved   SHA-256 of the ONNX form that passed the gate, without its card; None when it was not asked to
    not_run  set by the target where this machine cannot run what it wrote: why. The gate then asks no engine
    """

    graph: Graph
    proto: onnx.ModelProto
    card: Card
    options: Mapping[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    command: str = ""
    proved: str | None = None
    not_run: str | None = None
    name: str = "model"


class Target(Protocol):
    name: ClassVar[str]
    suffix: ClassVar[str]  # of the artifact's name: ".onnx", ".engine", "_openvino", ".nir"
    folder: ClassVar[bool]  # the artifact is a folder
    dialect: ClassVar[str]  # how the ONNX form says int8: "integer" (ConvInteger), "qdq" (QuantizeLinear) or "tensorrt"
    # A target may have a default math of its own: `math: ClassVar[str]`, exact or folded.
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


@runtime_checkable
class Explains(Protocol):
    """A target that can say of each layer why it cannot be written; `check` raises the first of them."""

    def problems(self, graph: Graph, options: Mapping[str, str]) -> list[Problem]: ...


@runtime_checkable
class OpensItself(Protocol):
    """A target whose artifact no engine of the runtime opens, but which can run what it wrote, for the gate."""

    def runs(self, path: Path, card: Card) -> Running | None: ...


@runtime_checkable
class HoldsOnnx(Protocol):
    """A target whose artifact has the proved ONNX file inside. faults: (layer or "config", what) of all around it that does
    not fit the card."""

    def onnx(self, path: Path, card: Card) -> onnx.ModelProto: ...

    def faults(self, path: Path, card: Card) -> Iterable[tuple[str, str]]: ...


DEFAULT_MATH = "folded"  # measured in bench/maths.py: the same spikes as exact on every model here, and faster


def default_math(target: Target) -> str:
    """The math of an export that does not say one."""
    return getattr(target, "math", DEFAULT_MATH)


# name -> "module:class"; imported when asked for, so that an extra is needed only by who uses it
TARGETS: dict[str, str] = {
    "onnx": "plif_export.targets.onnx:OnnxTarget",
    "openvino": "plif_export.targets.openvino:OpenVinoTarget",
    "nir": "plif_export.targets.nir:NirTarget",
    "triton": "plif_export.targets.triton:TritonTarget",
    "tensorrt": "plif_export.targets.tensorrt:TensorRtTarget",
    "tensorrt-rtx": "plif_export.targets.tensorrt:TensorRtRtxTarget",
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


def flag(options: Mapping[str, str], name: str) -> bool:
    """An option that is true or false; false when it was not given."""
    value = options.get(name, "false").lower()
    if value not in ("true", "false"):
        raise PlifError(f"--set {name}={options[name]}: expected true or false")
    return value == "true"


def open_written(target: Target, path: Path, card: Card, sha256: str | None = None) -> Running | None:
    """The artifact as the gate runs it; None where nothing on this machine does."""
    if isinstance(target, OpensItself):
        return target.runs(path, card)
    return None if target.engine is None else load(path, target.engine, sha256=sha256)
