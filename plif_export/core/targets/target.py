"""What a target is, what an export hands to it, and ONNX files as they are opened and compared."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol, TypeVar

import onnx

from plif_export.core.proof.report import Report
from plif_export.core.proof.structure import Places
from plif_export.core.proof.subjects.subject import Subject
from plif_export.core.readers.rules import Problem
from runtime.core.api import Model, load
from runtime.core.base.errors import PlifError
from runtime.core.base.grammar import word
from runtime.core.model.card import Card
from runtime.core.model.graph import Graph
from runtime.core.model.readers.onnx_contents import read_model
from runtime.core.model.readers.onnx_wire import not_onnx

Setting = TypeVar("Setting")
DEFAULT_MATH = "folded"  # measured in bench/maths.py: the same spikes as exact on every model here, and faster


class Footprint(Protocol):
    """What an artifact takes of a machine, of a target that counts it."""

    def to_dict(self) -> dict[str, object]: ...

    def sentence(self) -> str: ...


@dataclass
class ExportJob:
    """What an export hands to its target.

    graph    after all passes
    proto    the same network as ONNX, in the target's dialect; its card is inside already
    card     the artifact's card
    options  what the user gave with --set NAME=VALUE,..., checked by the target
    notes    lines for the user; a target adds what it has to say
    command  the command line that makes the artifact again
    proved   SHA-256 of the ONNX form that passed the gate, without its card; None where no proof was asked for
    not_run  why this machine cannot run the artifact, set by the target; the gate then asks no engine
    name     of the artifact's file or folder
    size     of flash and RAM, where the target counts them
    run      whether `open` may run code that the target did not write itself
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
    size: Footprint | None = None
    run: bool = False


class Target:
    """One value of `--to`. The defaults below are those of a target that writes one file and can express everything.

    suffix      of the artifact's name: ".onnx", ".engine", "_openvino", ".nir"
    beside      suffixes of further files of its name, which are written with it: ".h"
    folder      whether the artifact is a folder
    dialect     how the ONNX form expresses int8: "integer" (ConvInteger), "qdq" (QuantizeLinear) or "where" (the
                same, and a reset is a Where)
    math        of an export that does not say one: "folded" or "exact"
    options     the names that --set takes
    of_the_day  those among them that decide nothing about the artifact
    engine      the runtime's engine that opens the artifact and is asked to pass the gate; None where there is none
    """

    name: ClassVar[str]
    suffix: ClassVar[str]
    beside: ClassVar[tuple[str, ...]] = ()
    folder: ClassVar[bool] = False
    dialect: ClassVar[str] = "integer"
    math: ClassVar[str] = DEFAULT_MATH
    forms: ClassVar[tuple[str, ...]] = ("step", "unrolled")
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp16", "int8")
    options: ClassVar[tuple[str, ...]] = ()
    of_the_day: ClassVar[tuple[str, ...]] = ()
    engine: ClassVar[str | None] = None

    def check(self, graph: Graph, card: Card, options: Mapping[str, str]) -> None:
        """Raises PlifError, before any work, for what this target cannot express or what is not installed."""

    def problems(self, graph: Graph, options: Mapping[str, str]) -> list[Problem]:
        """Why layers cannot be written, where the target can say it of each; `check` raises the first of them."""
        return []

    def write(self, job: ExportJob, path: Path) -> None:
        """Writes the artifact to `path`, a temporary place beside its own; a folder target makes the folder."""
        raise NotImplementedError

    def open(
        self, path: Path, card: Card, sha256: str | None = None, job: ExportJob | None = None
    ) -> Model | Subject | None:
        """A written artifact as the gate runs it; None where nothing on this machine does.

        job: what it has to be made from, for a target that opens only what it writes itself. Raises CheckFailed for another.
        """
        return None if self.engine is None else load(path, self.engine, sha256=sha256)

    def inner_onnx(self, path: Path, card: Card) -> onnx.ModelProto | None:
        """The proved ONNX file inside an artifact; None where there is none."""
        return None

    def anatomy(self, path: Path, card: Card) -> Places:
        """What an artifact says beside its card, all of it: to be compared with that of one that `write` makes again."""
        raise NotImplementedError

    def named(self, path: Path, card: Card) -> str:
        """The name under which an artifact was written, where the name is in it; else that which it has now."""
        return path.name

    def foreign(self, card: Card) -> str | None:
        """What in an artifact no export of this machine can make again: it is compared by the ONNX form that it was made from."""
        return None

    def kept(self, card: Card, made_from: str) -> Card:
        """What the card of such an artifact says of it, which is believed; made_from: the ONNX form that the model gives."""
        return {}

    def faults(self, path: Path, card: Card, opened: Model | Subject | None) -> Iterable[tuple[str, str]]:
        """What of an artifact that passed the gate is wrong in the form in which it is shipped: (layer, what)."""
        return ()


def add_faults(target: Target, path: Path, card: Card, report: Report, opened: Model | Subject | None) -> None:
    """Fails the report of an artifact that passed the gate, where it is wrong in the form in which it is shipped."""
    if report.passed:
        for layer, what in target.faults(path, card, opened):
            report.fail(layer, 0, what)


def map_problems(graph: Graph) -> list[Problem]:
    """That the network gives a map, of a target whose artifacts give one number for each class."""
    last = graph[graph.output]
    rule = f"the network gives a map {list(last.shape)}, and here only one number for each class can be given"
    return [Problem(last.name, last.op, rule, "use --to onnx")] if len(last.shape) != 1 else []


def setting(options: Mapping[str, str], name: str, read: Callable[[str], Setting], usual: Setting) -> Setting:
    """An option of --set as a reader gives it (runtime/core/base/grammar.py); the usual value when it was not given."""
    if name not in options:
        return usual
    try:
        return read(options[name])
    except ValueError as wrong:
        raise PlifError(f"--set {name}={options[name]}: expected {wrong}") from None


def flag(options: Mapping[str, str], name: str) -> bool:
    """An option that is true or false; false when it was not given."""
    return setting(options, name, lambda text: word("true", "false")(text.lower()), "false") == "true"


def load_onnx(path: Path) -> onnx.ModelProto:
    """An ONNX file with its weights inside. Raises PlifError for anything else."""
    data = read_model(path)
    try:
        return onnx.load_model_from_string(data)
    except Exception:  # protobuf's own exception, whose class depends on its implementation
        raise not_onnx(path, len(data)) from None


def onnx_bytes(proto: onnx.ModelProto) -> bytes:
    """The network alone, without the card in its metadata: what other compilers get, and what a proof is about."""
    bare = onnx.ModelProto()
    bare.CopyFrom(proto)
    del bare.metadata_props[:]
    return bytes(bare.SerializeToString(deterministic=True))


def onnx_sha256(proto: onnx.ModelProto) -> str:
    """The SHA-256 of the network alone, in hexadecimal: what an artifact of another form was made from."""
    return hashlib.sha256(onnx_bytes(proto)).hexdigest()
