"""The base class of targets, the job that an export hands to it, and helpers for ONNX files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol, TypeVar

import onnx

from plif_export.core.options import ExportOptions
from plif_export.core.proof.report import Report
from plif_export.core.proof.structure import Difference, FileContents, find_differences
from plif_export.core.proof.subjects.subject import Subject
from plif_export.core.readers.rules import Problem
from runtime.core.api import Model, load
from runtime.core.base.errors import PlifError
from runtime.core.base.grammar import choice_parser
from runtime.core.model.card import Card
from runtime.core.model.graph import Graph
from runtime.core.model.readers.onnx_contents import read_model
from runtime.core.model.readers.onnx_wire import not_onnx_error

Setting = TypeVar("Setting")
DEFAULT_MATH = "folded"  # measured in bench/maths.py: the same spikes as exact on every model here, and faster


class Footprint(Protocol):
    """The memory that an artifact needs (flash, RAM), for export targets that compute it."""

    def to_dict(self) -> dict[str, object]: ...

    def sentence(self) -> str: ...


@dataclass
class ExportJob:
    """The data that an export hands to its target: graph, ONNX network, card, options and notes.

    graph    after all passes
    proto    the same network as ONNX, in the target's dialect; its card is inside already
    card     the artifact's card
    options  the user's --set NAME=VALUE,..., checked by the target
    notes    lines for the user; a target adds its own
    request  the model, the output path and the options of the export, as the user gave them
    proved_sha256  of the ONNX form that passed the gate, without its card; None without a proof
    not_run  why this machine cannot run the artifact, set by the target; the gate then runs no engine
    name     of the artifact's file or folder
    size     flash and RAM, if the target counts them
    may_run  whether `open` may run code that the target did not write itself
    """

    graph: Graph
    proto: onnx.ModelProto
    card: Card
    options: Mapping[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    request: tuple[object, str | Path | None, ExportOptions] | None = None
    proved_sha256: str | None = None
    not_run: str | None = None
    name: str = "model"
    size: Footprint | None = None
    may_run: bool = False


class Target:
    """An export format, one value of the option `--to`; its default methods suit formats of one file.

    suffix      of the artifact's name: ".onnx", ".engine", "_openvino", ".nir"
    extra_suffixes  of further files with its name, which are written with it: ".h"
    folder      whether the artifact is a folder
    dialect     how the ONNX form expresses int8: "integer" (ConvInteger), "qdq" (QuantizeLinear) or "where" (the
                same, and a reset is a Where)
    math        the default of an export: "folded" or "exact"
    options     the names that --set takes
    nondeterministic_options  those options that do not change the artifact
    is_onnx     whether the artifact is the ONNX form itself, so that its engines are proved with it
    engine      the runtime's engine that opens the artifact and must pass the gate; None if there is none
    """

    name: ClassVar[str]
    suffix: ClassVar[str]
    extra_suffixes: ClassVar[tuple[str, ...]] = ()
    folder: ClassVar[bool] = False
    dialect: ClassVar[str] = "integer"
    math: ClassVar[str] = DEFAULT_MATH
    forms: ClassVar[tuple[str, ...]] = ("step", "unrolled")
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp16", "int8")
    options: ClassVar[tuple[str, ...]] = ()
    nondeterministic_options: ClassVar[tuple[str, ...]] = ()
    is_onnx: ClassVar[bool] = False
    engine: ClassVar[str | None] = None

    def check(self, graph: Graph, card: Card, options: Mapping[str, str]) -> None:
        """Refuse a graph that this export target cannot express, or missing software, before any work (PlifError)."""

    def problems(self, graph: Graph, options: Mapping[str, str]) -> list[Problem]:
        """Return why an export target cannot write single layers of a graph; `check` raises the first of these."""
        return []

    def write(self, job: ExportJob, path: Path) -> None:
        """Write the artifact of an export to `path`, a temporary place next to the final one.

        A target that writes a folder creates it.
        """
        raise NotImplementedError

    def open(
        self, path: Path, card: Card, sha256: str | None = None, job: ExportJob | None = None
    ) -> Model | Subject | None:
        """Open a written artifact for its parity proof; None if nothing on this machine runs it.

        job: the job that it must be made from, for a target that opens only its own output. Raises CheckFailed for
        other files.
        """
        return None if self.engine is None else load(path, self.engine, sha256=sha256)

    def inner_onnx(self, path: Path, card: Card) -> onnx.ModelProto | None:
        """Return the proved ONNX file that an artifact contains; None if there is none."""
        return None

    def normalized_contents(self, path: Path, card: Card) -> FileContents:
        """Return all contents of an artifact except its card, in a form to compare with a second export's."""
        raise NotImplementedError

    def compare_contents(self, artifact: tuple[Path, Card], expected: tuple[Path, Card]) -> Iterator[Difference]:
        """Yield the differences between an artifact and a second export, both with their cards, which are left out."""
        yield from find_differences(self.normalized_contents(*artifact), self.normalized_contents(*expected))

    def stored_name(self, path: Path, card: Card) -> str:
        """Return the name that an artifact stores of itself, given when it was written; else its current name."""
        return path.name

    def unreproducible(self, card: Card) -> str | None:
        """Return the name of what no export on this machine can reproduce in an artifact; None if all can be.

        Such an artifact is compared by the ONNX form that it was made from.
        """
        return None

    def unchecked_fields(self, card: Card, onnx_sha256: str) -> Card:
        """Return the fields of an artifact's card that no export can reproduce, which are accepted unchecked.

        onnx_sha256: of the ONNX form that the model gives.
        """
        return {}

    def find_shipped_errors(self, path: Path, card: Card, opened: Model | Subject | None) -> Iterable[tuple[str, str]]:
        """Return (layer, problem) of each error in the shipped form of an artifact whose test form was proved."""
        return ()


def add_shipped_errors(target: Target, path: Path, card: Card, report: Report, opened: Model | Subject | None) -> None:
    """Add the errors in the shipped form of a proved artifact to its report, which fails if there are any."""
    if report.passed:
        for layer, problem in target.find_shipped_errors(path, card, opened):
            report.fail(layer, 0, problem)


def find_map_output(graph: Graph) -> list[Problem]:
    """Return a problem if the network's output is a map [C, H, W], which some export targets cannot give."""
    last = graph[graph.output]
    rule = f"the network gives a map {list(last.shape)}, and here only one number for each class can be given"
    return [Problem(last.name, last.op, rule, "use --to onnx")] if len(last.shape) != 1 else []


def parse_setting(options: Mapping[str, str], name: str, read: Callable[[str], Setting], default: Setting) -> Setting:
    """Return the value of an export target's --set option, parsed by a function of runtime/core/base/grammar.py.

    Returns the default if the option was not given.
    """
    if name not in options:
        return default
    try:
        return read(options[name])
    except ValueError as error:
        raise PlifError(f"--set {name}={options[name]}: expected {error}") from None


def parse_flag(options: Mapping[str, str], name: str) -> bool:
    """Return the value of an export target's true or false --set option; false if it was not given."""
    return parse_setting(options, name, lambda text: choice_parser("true", "false")(text.lower()), "false") == "true"


def load_onnx(path: Path) -> onnx.ModelProto:
    """Load an ONNX file that contains its weights. Raises PlifError for any other file."""
    data = read_model(path)
    try:
        return onnx.load_model_from_string(data)
    except Exception:  # protobuf's own exception, whose class depends on its implementation
        raise not_onnx_error(path, len(data)) from None


def onnx_bytes(proto: onnx.ModelProto) -> bytes:
    """Serialise an ONNX network to bytes, without the metadata card.

    Other compilers get these bytes, and a proof is about them.
    """
    bare = onnx.ModelProto()
    bare.CopyFrom(proto)
    del bare.metadata_props[:]
    return bytes(bare.SerializeToString(deterministic=True))


def onnx_sha256(proto: onnx.ModelProto) -> str:
    """Return the SHA-256 of an ONNX network without its metadata card, in hexadecimal."""
    return hashlib.sha256(onnx_bytes(proto)).hexdigest()
