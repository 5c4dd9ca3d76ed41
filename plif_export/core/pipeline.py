"""From a trained network to a file that is proved: read, run the passes, write, check, and only then give it its name."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from torch.nn import Module

from plif_export.core.arguments import Shaped, check_arguments, command_line, destination, report_path
from plif_export.core.cards import make_card, notices_flushing, provenance, set_card
from plif_export.core.options import ExportOptions
from plif_export.core.passes import prepare
from plif_export.core.proof.report import Report
from plif_export.core.prove import prove
from plif_export.core.readers import network_of, read
from plif_export.core.readers.facts import UNNAMED, ModelFacts
from plif_export.core.targets import find_target
from plif_export.core.targets.target import ExportJob, Footprint, Target, add_faults, onnx_sha256
from plif_export.core.writers import FORMS
from runtime.core.base.errors import CheckFailed
from runtime.core.base.files import measure, whole_or_nothing
from runtime.core.base.options import with_fields
from runtime.core.base.text import printable
from runtime.core.model.card import Card
from runtime.core.model.digest import digest_of, require_finite
from runtime.core.model.graph import Graph
from runtime.core.model.readers.contents import not_finite
from runtime.core.observers import hearing
from runtime.native import flushing


@dataclass
class Exported:
    """The result of an export. `verify` is None where no proof was asked for."""

    path: Path
    sha256: str
    bytes: int
    seconds: float
    verify: Report | None
    notes: list[str] = field(default_factory=list)
    not_run: str | None = None  # why this machine cannot run it; `verify` is then of the ONNX form it was made from

    size: Footprint | None = None  # of flash and RAM, where the target counts them

    def __repr__(self) -> str:
        proof = self.not_run or ("written without proof" if self.verify is None else self.verify.sentence())
        return f"<Exported {str(self.path)!r}: {self.bytes} bytes, SHA-256 {self.sha256[:16]}...; {printable(proof)}>"

    @property
    def passed(self) -> bool:
        return self.verify is not None and self.verify.passed

    def to_dict(self) -> dict[str, object]:
        found: dict[str, object] = {
            "path": str(self.path),
            "sha256": self.sha256,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "verify": None if self.verify is None else self.verify.to_dict(),
        }
        if self.size is not None:
            found["memory"] = self.size.to_dict()
        return found if self.not_run is None else {**found, "not_run": self.not_run}


@with_fields(ExportOptions)
@flushing(False)
def export(
    model: str | Path | Module, path: str | Path | None = None, example_input: Shaped | None = None, **options: Any
) -> Exported:
    """Writes an artifact and its report, after the parity gate passed.

    model          a model.pt, a SpikingJelly state_dict (with `network`), a NIR file, or a live nn.Module: a
                   plif_train.Network, or any other that is made of layers of torch.nn, SpikingJelly, snnTorch or Norse; or
                   "my_module.py:NAME", which runs that code and takes the module that NAME is, or returns
    path           where to; beside the model under its usual name when None
    example_input  one step [B, ...], or the sequence or image that forward takes; only its shape is used. A module that is not
                   ours needs it, or shape=
    options        form="step", precision="fp32", to="onnx", ...: the fields of ExportOptions (plif_export/core/options.py)
    Raises CheckFailed when the gate does not pass (nothing is written then), PlifError for what cannot be exported.
    """
    began = time.perf_counter()
    chosen = ExportOptions(**options)
    network = network_of(model)
    source = read(network, example_input, chosen)
    target = find_target(chosen.to, chosen.options)
    math = chosen.math or target.math
    check_arguments(chosen, math, source, target, example_input)
    T = chosen.T or source.facts.T
    command = command_line(model, path, chosen, target.math)
    path = destination(model, path, chosen, T, math, target)
    graph, card = planned(source.graph, source.facts, chosen, target, path.name, source.sha256)
    if (known := provenance(network, chosen.metadata)) is not None:
        card["provenance"] = known
    target.check(graph, card, chosen.options)
    notes = [*([] if source.facts.classes_named else [UNNAMED]), *source.notes]
    if "flush_denormals" in card:
        notes.append(f"subnormal numbers are kept, and long silence may be slow: {notices_flushing(graph)}")
    proto = FORMS[chosen.form](graph, T, chosen.batch, target.dialect)
    asked = partial(
        prove, proto, card, source, seed=chosen.seed, where=path.name,
        require_tested=chosen.require_tested, heard_by=list(chosen.hearers("proof")),
    )  # fmt: skip
    report = proved = None
    if chosen.verify:
        report = asked()
        _require(report, path)
        card["parity"] = report.summary()
        proved = onnx_sha256(proto)  # a target compares its input with this
    set_card(proto, card)
    job = ExportJob(graph, proto, card, chosen.options, notes, command, proved, name=path.name)
    hearers = hearing("artifact")
    others = [path.with_name(path.name + part.suffix) for part in hearers]
    others += [path.with_suffix(suffix) for suffix in target.beside]
    with whole_or_nothing(path, report_path(path), *others, folder=target.folder) as written:
        artifact, beside, *texts = written
        target.write(job, artifact)
        size, sha256 = measure(artifact)
        if job.not_run is not None:
            what = "; proved is the ONNX form it was built from, not what was built" if report is not None else ""
            job.notes.append(f"parity: not run, since {job.not_run}{what}")
        elif report is not None:
            # The ONNX form passed; now what the target made of it has to pass, in the engine that will run it.
            opened = target.open(artifact, card, sha256, job)
            if opened is not None:
                asked(opened=opened, report=report)
            add_faults(target, artifact, card, report, opened)
            _require(report, path)
        if report is not None:
            proved_as = Proved(target.name, path.name, sha256, proto, card, graph, source.graph, report, chosen.seed)
            for part, place in zip(hearers, texts, strict=False):
                if (text := part.load("hear")(proved_as)) is not None:
                    place.write_text(text)
                _require(report, path)
        if report is not None:
            report.digest = {"sha256": digest_of(card), "changed": []}
        result = Exported(path, sha256, size, time.perf_counter() - began, report, job.notes, job.not_run, job.size)
        beside.write_text(json.dumps({**result.to_dict(), "path": path.name, "card": card}, indent=2) + "\n")
    return result


def planned(
    graph: Graph, facts: ModelFacts, chosen: ExportOptions, target: Target, name: str, sha256: str | None = None
) -> tuple[Graph, Card]:
    """The graph that a target gets of one as it was read, and its card: what `target.check` is then asked.

    name, sha256  of the file, for messages and the card
    """
    math = chosen.math or target.math
    graph = prepare(graph, math, facts.kind == "static" and chosen.form == "unrolled", chosen.precision)
    for node in graph:
        numbers = {key: np.asarray(value) for key, value in node.attrs.items() if isinstance(value, float)}
        for key, values in {**node.params, **numbers}.items():
            require_finite(not_finite(f"layer {node.name}: its {key}", values), name)
    card = make_card(
        facts, graph, T=chosen.T or facts.T, form=chosen.form, precision=chosen.precision, math=math, batch=chosen.batch,
        source_sha256=sha256,
    )  # fmt: skip
    decide = {name: text for name, text in chosen.options.items() if name not in target.of_the_day}
    if decide:
        card["options"] = decide
    return graph, card


def _require(report: Report, path: Path) -> None:
    if not report.passed:
        left = "; the older file of this name is as it was" if path.exists() else ""
        raise ParityFailed(f"{path.name}: {report.sentence()}; nothing was written{left}", report)


@dataclass(frozen=True)
class Proved:
    """An artifact that passed the gate, for the parts that write something beside it.

    graph  after all passes;  model: as it was read
    """

    target: str
    name: str
    sha256: str
    proto: onnx.ModelProto
    card: Card
    graph: Graph
    model: Graph
    report: Report
    seed: int


class ParityFailed(CheckFailed):
    """The artifact did not pass the gate; `report` says what differs."""

    def __init__(self, message: str, report: Report) -> None:
        super().__init__(message)
        self.report = report
