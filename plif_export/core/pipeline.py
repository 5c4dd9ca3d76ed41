"""The export of a trained network to a proved file: read, run the passes, write, check, then rename into place."""

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

from plif_export.core.arguments import HasShape, check_arguments, output_path, report_path
from plif_export.core.cards import collect_provenance, describe_flushing, make_card, set_card
from plif_export.core.options import ExportOptions
from plif_export.core.passes import run_passes
from plif_export.core.proof.report import Report
from plif_export.core.prove import open_engines, prove
from plif_export.core.readers import read_model, resolve_network
from plif_export.core.readers.facts import UNNAMED, ModelFacts
from plif_export.core.targets import find_target
from plif_export.core.targets.target import ExportJob, Footprint, Target, add_shipped_errors, onnx_sha256
from plif_export.core.writers import FORMS
from runtime.core.api import Model
from runtime.core.base.errors import CheckFailed
from runtime.core.base.files import atomic_write, hash_artifact
from runtime.core.base.options import with_fields
from runtime.core.base.text import printable
from runtime.core.model.card import Card
from runtime.core.model.digest import read_digest, require_finite
from runtime.core.model.graph import Graph
from runtime.core.model.readers.contents import find_non_finite
from runtime.core.observers import find_observers
from runtime.native import flush_subnormals


@dataclass
class Exported:
    """The result of an export: the written artifact and its report; `verify` is None if no proof was requested."""

    path: Path
    sha256: str
    bytes: int
    seconds: float
    verify: Report | None
    notes: list[str] = field(default_factory=list)
    not_run: str | None = None  # why this machine cannot run it; `verify` is then the proof of its ONNX form

    size: Footprint | None = None  # of flash and RAM, where the target counts them

    def __repr__(self) -> str:
        proof = self.not_run or ("written without proof" if self.verify is None else self.verify.sentence())
        return f"<Exported {str(self.path)!r}: {self.bytes} bytes, SHA-256 {self.sha256[:16]}...; {printable(proof)}>"

    @property
    def passed(self) -> bool:
        return self.verify is not None and self.verify.passed

    def to_dict(self) -> dict[str, object]:
        record: dict[str, object] = {
            "path": str(self.path),
            "sha256": self.sha256,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "verify": None if self.verify is None else self.verify.to_dict(),
        }
        if self.size is not None:
            record["memory"] = self.size.to_dict()
        return record if self.not_run is None else {**record, "not_run": self.not_run}


@with_fields(ExportOptions)
@flush_subnormals(False)
def export(
    model: str | Path | Module, path: str | Path | None = None, example_input: HasShape | None = None, **options: Any
) -> Exported:
    """Export a model: write an artifact and its report, after the artifact passed its parity proof.

    model          a model.pt, a SpikingJelly state_dict (with `network`), a NIR file, or a live nn.Module: a
                   plif_train.Network, or any other with layers of torch.nn, SpikingJelly, snnTorch or Norse; or
                   "my_module.py:NAME", which runs that code and takes the module that NAME is, or returns
    path           the output path; next to the model under its usual name if None
    example_input  one step [B, ...], or the sequence or image that forward takes; only its shape is used. A module
                   that is not a plif network needs it, or shape=
    options        form="step", precision="fp32", to="onnx", ...: the fields of ExportOptions
                   (plif_export/core/options.py)
    Raises CheckFailed if the gate does not pass (then nothing is written), PlifError for a model that cannot be
    exported.
    """
    start_time = time.perf_counter()
    chosen = ExportOptions(**options)
    network = resolve_network(model)
    source = read_model(network, example_input, chosen)
    target = find_target(chosen.to, chosen.options)
    math = chosen.math or target.math
    check_arguments(chosen, math, source, target, example_input)
    T = chosen.T or source.facts.T
    request, path = (model, path, chosen), output_path(model, path, chosen, T, math, target)
    graph, card = plan_export(source.graph, source.facts, chosen, target, path.name, source.sha256)
    if (training_record := collect_provenance(network, chosen.metadata)) is not None:
        card["provenance"] = training_record
    target.check(graph, card, chosen.options)
    notes = [*([] if source.facts.classes_named else [UNNAMED]), *source.notes]
    notes += describe_flushing(graph, card, path.name)
    proto = FORMS[chosen.form](graph, T, chosen.batch, target.dialect)
    run_proof = partial(
        prove, proto, card, source, seed=chosen.seed, label=path.name,
        require_tested=chosen.require_tested, heard_by=list(chosen.select_observers("proof")),
    )  # fmt: skip
    report = proved_sha256 = None
    if chosen.verify:
        engines, not_run = open_engines(proto, card) if target.is_onnx else ([], [])
        report = run_proof(engines=engines)
        _require_passed(report, path)
        card["parity"] = report.summary()
        proved_sha256 = onnx_sha256(proto)  # a target compares its input with this
    set_card(proto, card)
    job = ExportJob(graph, proto, card, chosen.options, notes, request, proved_sha256, name=path.name)
    hearers = find_observers("artifact")
    extra_paths = [path.with_name(path.name + part.suffix) for part in hearers]
    extra_paths += [path.with_suffix(suffix) for suffix in target.extra_suffixes]
    with atomic_write(path, report_path(path), *extra_paths, folder=target.folder) as temporary_paths:
        artifact, report_file, *text_files = temporary_paths
        target.write(job, artifact)
        size, sha256 = hash_artifact(artifact)
        if job.not_run is not None:
            scope = "; proved is the ONNX form it was built from, not what was built" if report is not None else ""
            job.notes.append(f"parity: not run, since {job.not_run}{scope}")
        elif report is not None:
            # The ONNX form passed; now the target's artifact must pass, in the engine that will run it.
            opened = target.open(artifact, card, sha256, job)
            name = opened.engine.name if isinstance(opened, Model) else None
            others, not_run = ([], not_run) if name is None else open_engines(artifact, card, "auto", name, sha256)
            for session in (opened, *others):  # others: every engine among which `auto` chooses
                if session is not None:
                    run_proof(opened=session, report=report)
            report.set_not_run(not_run)
            add_shipped_errors(target, artifact, card, report, opened)
            _require_passed(report, path)
        if report is not None:
            proved_artifact = ProvedArtifact(
                target.name, path.name, sha256, proto, card, graph, source.graph, report, chosen.seed
            )
            for part, text_file in zip(hearers, text_files, strict=False):
                if (text := part.load("hear")(proved_artifact)) is not None:
                    text_file.write_text(text)
                _require_passed(report, path)
            report.sha256 = sha256
            report.digest = {"sha256": read_digest(card), "changed": []}
        exported = Exported(
            path, sha256, size, time.perf_counter() - start_time, report, job.notes, job.not_run, job.size
        )
        report_file.write_text(json.dumps({**exported.to_dict(), "path": path.name, "card": card}, indent=2) + "\n")
    for part in find_observers("opening", "engines"):
        part.load("record_written")(sha256)
    return exported


def plan_export(
    graph: Graph, facts: ModelFacts, chosen: ExportOptions, target: Target, name: str, sha256: str | None = None
) -> tuple[Graph, Card]:
    """Transform a model's graph for an export target; return the resulting graph and its metadata card.

    `target.check` gets both. name, sha256: of the file, for messages and the card.
    """
    math = chosen.math or target.math
    graph = run_passes(graph, math, facts.kind == "static" and chosen.form == "unrolled", chosen.precision)
    for node in graph:
        numbers = {key: np.asarray(value) for key, value in node.attrs.items() if isinstance(value, float)}
        for key, values in {**node.params, **numbers}.items():
            require_finite(find_non_finite(f"layer {node.name}: its {key}", values), name)
    card = make_card(
        facts, graph, T=chosen.T or facts.T, form=chosen.form, precision=chosen.precision, math=math, batch=chosen.batch,
        source_sha256=sha256,
    )  # fmt: skip
    if decide := {name: text for name, text in chosen.options.items() if name not in target.nondeterministic_options}:
        card["options"] = decide
    return graph, card


def _require_passed(report: Report, path: Path) -> None:
    if not report.passed:
        older_file = "; the older file of this name is as it was" if path.exists() else ""
        raise ParityError(f"{path.name}: {report.sentence()}; nothing was written{older_file}", report)


@dataclass(frozen=True)
class ProvedArtifact:
    """An artifact that passed its parity proof, given to plug-in parts that write a file next to it.

    graph  after all passes;  model: the graph as it was read
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


class ParityError(CheckFailed):
    """The error of an artifact that differs from its model in the parity proof; `report` lists the differences."""

    def __init__(self, message: str, report: Report) -> None:
        super().__init__(message)
        self.report = report
