"""The verification of an existing artifact against its model: first its structure, then its numbers.

structure  the model is read and exported again with the choices that the card names, and everything is compared
numbers    the gate, on the engine itself
digest     whether the file is as it was exported
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from secrets import randbelow
from typing import Any

import numpy as np
import onnx
from torch.nn import Module

from plif_export.core.arguments import report_path
from plif_export.core.cards import can_check_flushing, set_card
from plif_export.core.options import VerifyOptions
from plif_export.core.proof.report import Report
from plif_export.core.proof.structure import (
    LATER_FIELDS,
    UNVERIFIED_FIELDS,
    Difference,
    compare_cards,
    find_layer,
    find_links,
    select_unverified,
)
from plif_export.core.proof.subjects.subject import Subject
from plif_export.core.prove import expected_export, open_engines, prove
from plif_export.core.readers import read_model, resolve_network
from plif_export.core.readers.facts import TrainedModel
from plif_export.core.targets import find_target
from plif_export.core.targets.target import ExportJob, Target, add_shipped_errors, load_onnx, onnx_sha256
from plif_export.core.writers import FORMS
from runtime.core.api import Model, open_unverified
from runtime.core.base.declared import EngineOptions
from runtime.core.base.errors import CheckFailed, PlifError
from runtime.core.base.files import hash_artifact
from runtime.core.base.options import with_fields
from runtime.core.base.text import printable
from runtime.core.model.artifacts import detect_kind
from runtime.core.model.card import ARTIFACT_FORMAT, Card, encode_card, read_card
from runtime.core.model.digest import describe_changes, find_changed_parts, find_part_layer, read_digest
from runtime.core.parts import load_from_parts
from runtime.native import flush_subnormals

EXPORT_AGAIN = "export it again with this version"
MOST_DIFFERENCES = 100  # in a report; the first that is no rounding fails it
LARGE = 1 << 28  # bytes of a file of which the card is read before it is copied


@with_fields(VerifyOptions)
@flush_subnormals(False)
def verify(artifact: str | Path, model: str | Path | Module, inputs: object = None, **options: Any) -> Report:
    """Verify that an existing artifact equals a model, by its structure, a parity proof, and its digest.

    The artifact is read once, into a private copy; the report names the SHA-256 of these bytes.

    inputs  [T, B, C, H, W] from reset, or a function of the artifact's path that returns them; None draws event-like
            ones (or images), from a non-zero start state
    options steps=, engine=, ...: the fields of VerifyOptions (plif_export/core/options.py). An engine is proved too,
            step by step as the runtime runs it (the gate itself runs the file in ONNX Runtime). Facts that a model
            without a card does not state are, as in export, options, and compared with the artifact's card. Unstated
            facts are not proved, and the report lists them
    """
    artifact = Path(artifact)
    if artifact.name in ("", ".."):
        artifact = Path(os.path.abspath(artifact))
    if not artifact.is_file() or artifact.stat().st_size > LARGE:  # copy only what has a card
        read_card(artifact)
    with tempfile.TemporaryDirectory(prefix="plif-verify-") as folder:
        copy = Path(folder) / artifact.name
        place = f"{folder}/", printable(str(artifact).removesuffix(artifact.name))  # messages name the user's path
        try:
            links = list(find_links(artifact))
            _, sha256 = hash_artifact(artifact, copy)
            report = _verify_copy(copy, artifact, model, inputs, links, VerifyOptions(**options))
        except OSError as error:
            raise PlifError(f"{artifact}: cannot be copied to {folder} ({error.strerror}); set TMPDIR") from None
        except PlifError as error:
            error.args = (str(error).replace(*place),)
            raise
    if report.failed_at is not None:
        report.failed_at["what"] = report.failed_at["what"].replace(*place)
    report.sha256 = sha256
    return report


def _verify_copy(
    artifact: Path, original: Path, model: str | Path | Module, inputs: object, links: list[Difference],
    verify_options: VerifyOptions,
) -> Report:  # fmt: skip
    """Verify a private copy of an artifact, which nobody else can change meanwhile.

    original  the artifact itself, for the files next to it that belong to it
    """
    source_name, model = model, resolve_network(model)
    card = read_card(artifact)
    if card["format"] != ARTIFACT_FORMAT:
        raise PlifError(f"{artifact}: is a model, not an exported artifact; export it first: plif export {artifact}")
    example = np.zeros((1, *card["input"]["shape"]), np.float32)
    shape = verify_options.shape or card["input"]["shape"]
    source = read_model(model, example, replace(verify_options, shape=shape))
    if source.has_card:
        verify_options.refuse_with_card()
    own_T = source.facts.T
    source = replace(source, facts=source.facts.with_card_facts(card))
    x = None
    inputs = inputs(artifact) if callable(inputs) else inputs
    if inputs is not None:
        x = np.asarray(inputs, np.float32)
        if x.ndim != example.ndim + 1 or list(x.shape[2:]) != card["input"]["shape"]:
            raise PlifError(
                f"inputs are {list(x.shape)}; expected [T, B, {', '.join(map(str, card['input']['shape']))}]"
            )
    kind, report = detect_kind(artifact), Report()
    seed = randbelow(2**32) if verify_options.seed is None else verify_options.seed
    target = find_target(kind.name, read_settings(card, artifact))
    for suffix in target.extra_suffixes:
        hash_artifact(original.with_suffix(suffix), artifact.with_suffix(suffix))
    if (written := report_path(original)).is_file():  # an engine is opened only by its SHA-256
        hash_artifact(written, report_path(artifact))
    contents = kind.read_contents(artifact)
    changed = find_changed_parts(card, contents)
    wrong: list[Difference] = []
    job: ExportJob | None = None
    try:
        with tempfile.TemporaryDirectory(prefix="plif-again-") as folder:
            job, differences = export_again(artifact, card, source, target, Path(folder))
            if verify_options.structure == "compared":
                wrong = [*links, *islice(differences, MOST_DIFFERENCES)]
                if all(difference.rounding for difference in wrong):  # many of these must not hide another one
                    wrong += islice((difference for difference in differences if not difference.rounding), 1)
        job.may_run = verify_options.run
        proto, opened, engines, not_run = _open_for_gate(artifact, target, card, job, verify_options.engine)
        report = prove(
            proto, card, source, x, steps=verify_options.steps, seed=seed, label=artifact.name, opened=opened,
            engines=engines, require_tested=verify_options.require_tested,
            heard_by=list(verify_options.select_observers("proof")),
        )  # fmt: skip
        report.set_not_run(not_run)
        add_shipped_errors(target, artifact, card, report, opened)
    except CheckFailed as error:
        report = Report()
        report.fail("source", 0, str(error))
    except PlifError as error:
        if changed in (None, [], ["card"]):  # an unusable card is an error, not a failed proof
            raise
        report = Report()
        report.fail(
            find_part_layer(changed[0], card), 0, f"{describe_changes(changed)}, and now it cannot be run: {error}"
        )
    report.seed = seed
    report.digest = None if changed is None else {"sha256": read_digest(card), "changed": changed}
    report.structure = [difference.to_dict() for difference in wrong]
    if job is not None:
        list_unconfirmed = load_from_parts("observers", "unconfirmed claims") or (lambda *_: UNVERIFIED_FIELDS)
        claims = list_unconfirmed(card, job.card, model, report, x is None and verify_options.steps is None)
        report.not_proved = [*_list_unproved(card, source, own_T, target, verify_options), *claims, *report.not_proved]
    mismatch = next((difference for difference in wrong if not difference.rounding), None)
    if mismatch is not None and report.failed_at is None:
        report.fail(find_layer(mismatch.path, card), 0, f"{mismatch}; {EXPORT_AGAIN}")
    elif mismatch is not None and report.failed_at is not None and EXPORT_AGAIN not in report.failed_at["what"]:
        problem = report.failed_at["what"]
        report.failed_at["what"] += f"; {EXPORT_AGAIN}" if str(mismatch) in problem else f"; {mismatch}; {EXPORT_AGAIN}"
    if contents.not_finite is not None:
        report.fail(find_part_layer(contents.not_finite.partition(" holds ")[0], card), 0, contents.not_finite)
    if changed:
        report.fail(find_part_layer(changed[0], card), 0, describe_changes(changed))
    if (
        report.failed_at is not None and source_name is not model  # a network built by code
        and load_from_parts("readers", "have_different_weights")(model, resolve_network(source_name))
    ):  # fmt: skip
        report.failed_at["what"] += (
            f"; {source_name} makes other weights each time: load them from a file, or set a seed"
        )
    return report


def export_again(
    artifact: Path, card: Card, source: TrainedModel, target: Target, folder: Path
) -> tuple[ExportJob, Iterator[Difference]]:
    """Export the model again with the choices in an artifact's card, into `folder`, and compare both artifacts.

    Returns the export job and the differences, which are read while the folder exists.
    """
    graph, expected = expected_export(source, card)
    expected |= select_unverified(card)  # a field of LATER_FIELDS replaces the model's value
    if "options" in card:
        expected["options"] = card["options"]
    if card["form"] not in FORMS:
        raise PlifError(f"{artifact}: form '{card['form']}'; expected one of {', '.join(FORMS)}")
    proto = FORMS[card["form"]](graph, expected["T"], card["batch"], target.dialect)
    job = ExportJob(graph, proto, expected, read_settings(card, artifact), name=target.stored_name(artifact, card))
    if target.unreproducible(card) is not None:
        expected |= target.unchecked_fields(card, onnx_sha256(proto))
        return job, compare_cards(card, expected)
    target.check(graph, expected, job.options)
    set_card(proto, expected)
    rewritten = folder / job.name
    target.write(job, rewritten)
    return job, _compare_artifacts(target, (artifact, card), (rewritten, job.card))


def _compare_artifacts(
    target: Target, artifact: tuple[Path, Card], expected: tuple[Path, Card]
) -> Iterator[Difference]:
    """Yield the differences of two artifacts and their metadata cards; files are read only as needed."""
    yield from compare_cards(artifact[1], expected[1])
    yield from target.compare_contents(artifact, expected)


def read_settings(card: Card, artifact: Path) -> dict[str, str]:
    """Return the `--set` options of the target with which an artifact was exported."""
    settings = card.get("options", {})
    if not isinstance(settings, dict) or not all(isinstance(text, str) for text in settings.values()):
        raise PlifError(f"{artifact}: its card's options are no texts by their names; export it again")
    return settings


def _list_unproved(
    card: Card, source: TrainedModel, own_T: int, target: Target, verify_options: VerifyOptions
) -> Iterator[str]:
    """Yield what a verification could compare with nothing: fields of an artifact's card, or its structure."""
    foreign = target.unreproducible(card)
    if verify_options.structure == "ignored":
        yield "structure"
    elif foreign is not None:
        yield f"structure of {foreign} (compared is the ONNX form that it was made from)"
    yield from (
        f"{key} {encode_card(card[key])}"
        for key in LATER_FIELDS
        if key in card and card[key] != source.facts.rules.get(key)
    )
    if source.sha256 is None and card["source_sha256"] is not None:
        yield "source_sha256"
    if "T" in source.facts.unstated and card["form"] == "step" and card["T"] != own_T and not card["framing"]:
        yield f"T={card['T']}"
    if not can_check_flushing():
        yield "flush_denormals"
    if read_digest(card) is None:
        yield "digest (the card has none)"


def _open_for_gate(
    artifact: Path, target: Target, card: Card, job: ExportJob, engine: str | None
) -> tuple[onnx.ModelProto | None, Model | Subject | None, list[Model], list[str]]:
    """Open an artifact for its parity proof: as an ONNX file to cut into layers, and as a model to run.

    Returns both, the models of further engines, and the names of engines that do not run it. Models are opened even
    if `load` refuses the file because it was changed.
    """
    if not target.is_onnx and target.engine is None:
        if engine not in (None, "all"):
            raise PlifError(f"--engine {engine}: no engine of this machine opens {artifact}; leave it out")
        return target.inner_onnx(artifact, card), target.open(artifact, card, job=job), [], []
    proto = load_onnx(artifact) if target.is_onnx else None
    opened = None
    if proto is None or engine not in (None, "all"):
        opened = open_unverified(artifact, card, "auto" if engine in (None, "all") else engine, EngineOptions())
    which = {None: "auto", "all": "all"}.get(engine, "none")
    return proto, opened, *open_engines(artifact, card, which, None if opened is None else opened.engine.name)


def load_samples(artifact: str | Path, data: str, limit: int) -> np.ndarray:
    """Return the first samples of a data set as input of a parity proof: float32 [T, B, C, H, W], B samples."""
    from runtime.core.data import open_dataset
    from runtime.core.events.framing import resolve_framing

    card = read_card(artifact)
    c, h, w = card["input"]["shape"]
    dataset = open_dataset(
        data,
        "test",
        framing=resolve_framing(card),
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
