"""From a trained network to a file that is proved: read, run the passes, write, check, and only then give it its name."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from torch.nn import Module

from plif_export.arguments import check_arguments, command_line, destination, report_path
from plif_export.cards import make_card, provenance, set_card
from plif_export.options import ExportOptions, VerifyOptions
from plif_export.passes import prepare
from plif_export.proof.report import Report
from plif_export.proof.subjects.subject import Subject
from plif_export.prove import expected_of, prove
from plif_export.readers import read
from plif_export.readers.facts import UNNAMED
from plif_export.targets import find_target
from plif_export.targets.c_size import Size
from plif_export.targets.target import ExportJob, Target, load_onnx, onnx_bytes
from plif_export.writers import FORMS
from runtime.api import Model, load, open_as_it_is
from runtime.base.declared import EngineOptions
from runtime.base.errors import CheckFailed, PlifError
from runtime.base.files import measure, whole_or_nothing
from runtime.base.options import with_fields
from runtime.base.text import printable
from runtime.model.artifacts import kind_of
from runtime.model.card import ARTIFACT_FORMAT, Card, read_card
from runtime.model.digest import changes, digest_of, part_layer, require_finite, sentence
from runtime.model.readers.contents import not_finite


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

    size: Size | None = None  # of flash and RAM, where the target counts them

    def __repr__(self) -> str:
        proof = self.not_run or ("written without proof" if self.verify is None else self.verify.sentence())
        return f"<Exported {str(self.path)!r}: {self.bytes} bytes, SHA-256 {self.sha256[:16]}...; {printable(proof)}>"

    @property
    def passed(self) -> bool:
        return self.verify is not None and self.verify.passed

    def to_dict(self) -> dict[str, Any]:
        found = {
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
def export(
    model: str | Path | Module, path: str | Path | None = None, example_input: Any = None, **options: Any
) -> Exported:
    """Writes an artifact and its report, after the parity gate passed.

    model          a model.pt, a SpikingJelly state_dict (with `network`), a NIR file, or a live nn.Module: a
                   plif_train.Network, or any other that is made of layers of torch.nn, SpikingJelly, snnTorch or Norse
    path           where to; beside the model under its usual name when None
    example_input  one step [B, ...], or the sequence or image that forward takes; only its shape is used. A module that is not
                   ours needs it
    options        form="step", precision="fp32", to="onnx", ...: the fields of ExportOptions (plif_export/options.py)
    Raises CheckFailed when the gate does not pass (nothing is written then), PlifError for what cannot be exported.
    """
    began = time.perf_counter()
    chosen = ExportOptions(**options)
    source = read(model, example_input, chosen)
    target = find_target(chosen.to, chosen.options)
    math = chosen.math or target.math
    check_arguments(chosen, math, source, target, example_input)
    T = chosen.T or source.facts.T
    command = command_line(model, path, chosen, target.math)
    path = destination(model, path, chosen, T, math, target)
    graph = prepare(source.graph, math, source.facts.kind == "static" and chosen.form == "unrolled", chosen.precision)
    for node in graph:
        numbers = {key: np.asarray(value) for key, value in node.attrs.items() if isinstance(value, float)}
        for key, values in {**node.params, **numbers}.items():
            require_finite(not_finite(f"layer {node.name}: its {key}", values), path.name)
    kept: dict[str, Any] = {"form": chosen.form, "precision": chosen.precision, "math": math, "batch": chosen.batch}
    card = make_card(source.facts, graph, T=T, **kept, source_sha256=source.sha256)
    if (known := provenance(model, chosen.metadata)) is not None:
        card["provenance"] = known
    target.check(graph, card, chosen.options)
    unnamed = [] if source.facts.classes_named else [UNNAMED]
    proto = FORMS[chosen.form](graph, T, chosen.batch, target.dialect)
    report = proved = None
    if chosen.verify:
        report = prove(proto, card, source, seed=chosen.seed, where=path.name)
        _require(report, path)
        card["parity"] = report.summary()
        proved = hashlib.sha256(onnx_bytes(proto)).hexdigest()  # a target compares its input with this
    set_card(proto, card)
    job = ExportJob(graph, proto, card, chosen.options, [*unnamed, *source.notes], command, proved, name=path.name)
    others = [path.with_suffix(suffix) for suffix in target.beside]
    with whole_or_nothing(path, report_path(path), *others, folder=target.folder) as (artifact, beside, *_):
        target.write(job, artifact)
        size, sha256 = measure(artifact)
        if job.not_run is not None:
            what = "; proved is the ONNX form it was built from, not what was built" if report is not None else ""
            job.notes.append(f"parity: not run, since {job.not_run}{what}")
        elif report is not None:
            # The ONNX form passed; now what the target made of it has to pass, in the engine that will run it.
            opened = target.open(artifact, card, sha256, job)
            if opened is not None:
                prove(proto, card, source, seed=chosen.seed, where=path.name, opened=opened, report=report)
            _add_faults(target, artifact, card, report, opened)
            _require(report, path)
        if report is not None:
            report.digest = {"sha256": digest_of(card), "changed": []}
        result = Exported(path, sha256, size, time.perf_counter() - began, report, job.notes, job.not_run, job.size)
        beside.write_text(json.dumps({**result.to_dict(), "path": path.name, "card": card}, indent=2) + "\n")
    return result


def _require(report: Report, path: Path) -> None:
    if not report.passed:
        left = "; the older file of this name is as it was" if path.exists() else ""
        raise ParityFailed(f"{path.name}: {report.sentence()}; nothing was written{left}", report)


class ParityFailed(CheckFailed):
    """The artifact did not pass the gate; `report` says what differs."""

    def __init__(self, message: str, report: Report) -> None:
        super().__init__(message)
        self.report = report


@with_fields(VerifyOptions)
def verify(artifact: str | Path, model: str | Path | Module, inputs: Any = None, **options: Any) -> Report:
    """The parity gate on a file that exists, and whether it is as it was exported: a part that the digest does not know
    fails it, whatever the gate finds.

    inputs  [T, B, C, H, W] from reset; None makes event-like ones (or images), from a non-zero start state
    options steps=, engine=, ...: the fields of VerifyOptions (plif_export/options.py). An engine is proved too, step by step as
            the runtime runs it (the gate itself runs the file in ONNX Runtime). What a model without a card does not say, as in
            export, is compared with the artifact's card; what is not said is not proved, and the report lists it
    """
    artifact = Path(artifact)
    card = read_card(artifact)
    if card["format"] != ARTIFACT_FORMAT:
        raise PlifError(f"{artifact}: is a model, not an exported artifact; export it first: plif export {artifact}")
    example = np.zeros((1, *card["input"]["shape"]), np.float32)
    said = VerifyOptions(**options)
    source = read(model, example, said if said.shape else replace(said, shape=card["input"]["shape"]))
    if source.has_card:
        said.refuse_beside_card()
    source = replace(source, facts=source.facts.as_claimed(card))
    x = None
    if inputs is not None:
        x = np.asarray(inputs, np.float32)
        if x.ndim != example.ndim + 1 or list(x.shape[2:]) != card["input"]["shape"]:
            raise PlifError(
                f"inputs are {list(x.shape)}; expected [T, B, {', '.join(map(str, card['input']['shape']))}]"
            )
    kind, report = kind_of(artifact), Report()
    contents, target = kind.read_contents(artifact), find_target(kind.name)
    changed = changes(card, contents)
    try:
        if target.opens_changed or not changed:
            as_it_is = bool(changed) or contents.not_finite is not None  # `load` would refuse it
            opener = _load_as_it_is if as_it_is else load
            graph, expected = expected_of(source, card)
            job = ExportJob(graph, onnx.ModelProto(), expected)
            proto, opened = _open(artifact, target, card, job, said.engine, opener)
            report = prove(proto, card, source, x, steps=said.steps, seed=said.seed, where=artifact.name, opened=opened)
            _add_faults(target, artifact, card, report, opened)
    except CheckFailed as error:
        report = Report()
        report.fail("source", 0, str(error))
    except PlifError as error:
        if changed in (None, [], ["card"]):  # a card that cannot be used is no artifact
            raise
        report = Report()
        report.fail(part_layer(changed[0], card), 0, f"{sentence(changed)}, and now it cannot be run: {error}")
    report.digest = None if changed is None else {"sha256": digest_of(card), "changed": changed}
    if contents.not_finite is not None:
        report.fail(part_layer(contents.not_finite.partition(" holds ")[0], card), 0, contents.not_finite)
    if changed:
        report.fail(part_layer(changed[0], card), 0, sentence(changed))
    return report


def _add_faults(target: Target, artifact: Path, card: Card, report: Report, opened: Model | Subject | None) -> None:
    """Fails the report where something around a proved ONNX file (a config, labels) does not fit the card."""
    if report.passed:
        for layer, what in target.faults(artifact, card, opened):
            report.fail(layer, 0, what)


def _load_as_it_is(artifact: Path, engine: str) -> Model:
    return open_as_it_is(artifact, read_card(artifact), engine, EngineOptions())


def _open(
    artifact: Path, target: Target, card: Card, job: ExportJob, engine: str | None, load: Callable[[Path, str], Model]
) -> tuple[onnx.ModelProto | None, Model | Subject | None]:
    """Opens an artifact for the gate: the ONNX file that can be taken apart, and the model that can only be run."""
    if target.name == "onnx":
        return load_onnx(artifact), None if engine is None else load(artifact, engine)
    if target.engine is not None:
        return None, load(artifact, engine or "auto")
    if engine is not None:
        raise PlifError(f"--engine {engine}: no engine of this machine opens {artifact}; leave it out")
    return target.inner_onnx(artifact, card), target.open(artifact, card, job=job)


def samples(artifact: str | Path, data: str, limit: int) -> np.ndarray:
    """The first samples of a data set as the inputs of a parity check: float32 [T, B, C, H, W], B samples."""
    from runtime.data import open_dataset
    from runtime.events.framing import framing_of

    card = read_card(artifact)
    c, h, w = card["input"]["shape"]
    dataset = open_dataset(
        data,
        "test",
        framing=framing_of(card),
        shape=(c, h, w),
        normalisation=card["normalisation"],
        trained=card.get("sensor"),
    )
    chosen = [dataset.sample(i) for i in range(min(limit, len(dataset)))]
    if dataset.kind == "static":
        return np.broadcast_to(np.stack(chosen), (card["T"], len(chosen), c, h, w))
    T = min(len(sample) for sample in chosen)
    T -= T % card["T"] if card["form"] == "unrolled" else 0
    if T == 0:
        raise PlifError(f"{data}: recordings are shorter than the {card['T']} steps of {artifact}")
    return np.stack([sample[:T] for sample in chosen], axis=1)
