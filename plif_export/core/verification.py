"""Whether an artifact that exists is the model: first its structure, then its numbers.

structure  the model is read and exported again with the choices that the card names, and everything is compared
numbers    the gate, on what the engine really does
digest     whether the file is as it was exported
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from math import prod
from pathlib import Path
from secrets import randbelow
from typing import Any

import numpy as np
import onnx
from torch.nn import Module

from plif_export.core.cards import flushing_is_known, provenance, set_card
from plif_export.core.options import VerifyOptions
from plif_export.core.proof.report import Report
from plif_export.core.proof.structure import LATER, Difference, card_differences, claims_of, differences, layer_of
from plif_export.core.proof.subjects.subject import Subject
from plif_export.core.prove import expected_of, prove
from plif_export.core.readers import network_of, read
from plif_export.core.readers.facts import TrainedModel
from plif_export.core.targets import find_target
from plif_export.core.targets.target import ExportJob, Target, add_faults, load_onnx, onnx_sha256
from plif_export.core.writers import FORMS
from runtime.core.api import Model, load, open_as_it_is
from runtime.core.base.declared import EngineOptions
from runtime.core.base.errors import CheckFailed, PlifError
from runtime.core.base.options import with_fields
from runtime.core.model.artifacts import kind_of
from runtime.core.model.card import ARTIFACT_FORMAT, Card, encode, read_card
from runtime.core.model.digest import changes, digest_of, part_layer, sentence
from runtime.core.parts import given_by_parts
from runtime.native import flushing

AGAIN = "export it again with this version"
MOST_DIFFERENCES = 100  # in a report; the first fails it


@with_fields(VerifyOptions)
@flushing(False)
def verify(artifact: str | Path, model: str | Path | Module, inputs: object = None, **options: Any) -> Report:
    """Whether a file that exists is the model: its structure, the parity gate, and whether it is as it was exported.

    inputs  [T, B, C, H, W] from reset; None makes event-like ones (or images), from a non-zero start state
    options steps=, engine=, ...: the fields of VerifyOptions (plif_export/core/options.py). An engine is proved too, step by step
            as the runtime runs it (the gate itself runs the file in ONNX Runtime). What a model without a card does not say, as
            in export, is compared with the artifact's card; what is not said is not proved, and the report lists it
    """
    artifact, named, model = Path(artifact), model, network_of(model)
    card = read_card(artifact)
    if card["format"] != ARTIFACT_FORMAT:
        raise PlifError(f"{artifact}: is a model, not an exported artifact; export it first: plif export {artifact}")
    example = np.zeros((1, *card["input"]["shape"]), np.float32)
    said = VerifyOptions(**options)
    source = read(model, example, said if said.shape else replace(said, shape=card["input"]["shape"]))
    if source.has_card:
        said.refuse_beside_card()
    own_T = source.facts.T
    source = replace(source, facts=source.facts.as_claimed(card))
    x = None
    if inputs is not None:
        x = np.asarray(inputs, np.float32)
        if x.ndim != example.ndim + 1 or list(x.shape[2:]) != card["input"]["shape"]:
            raise PlifError(
                f"inputs are {list(x.shape)}; expected [T, B, {', '.join(map(str, card['input']['shape']))}]"
            )
    kind, report, seed = kind_of(artifact), Report(), randbelow(2**32) if said.seed is None else said.seed
    contents, target = kind.read_contents(artifact), find_target(kind.name, settings_of(card, artifact))
    changed = changes(card, contents)
    wrong: list[Difference] = []
    job: ExportJob | None = None
    try:
        with tempfile.TemporaryDirectory(prefix="plif-again-") as folder:
            job, found = write_again(artifact, card, source, target, Path(folder))
            if said.structure == "compared":
                wrong = list(islice(found, MOST_DIFFERENCES))
        job.run = said.run
        as_it_is = bool(changed) or contents.not_finite is not None  # `load` would refuse it
        proto, opened = _open(artifact, target, card, job, said.engine, as_it_is)
        report = prove(
            proto, card, source, x, steps=said.steps, seed=seed, where=artifact.name, opened=opened,
            require_tested=said.require_tested, heard_by=list(said.hearers("proof")),
        )  # fmt: skip
        add_faults(target, artifact, card, report, opened)
    except CheckFailed as error:
        report = Report()
        report.fail("source", 0, str(error))
    except PlifError as error:
        if changed in (None, [], ["card"]):  # a card that cannot be used is no artifact
            raise
        report = Report()
        report.fail(part_layer(changed[0], card), 0, f"{sentence(changed)}, and now it cannot be run: {error}")
    report.seed = seed
    report.digest = None if changed is None else {"sha256": digest_of(card), "changed": changed}
    report.structure = [difference.to_dict() for difference in wrong]
    if job is not None:
        claims = _claims(card, job.card, provenance(model, {}) or {}, report, x is None and said.steps is None)
        report.not_proved = [*_not_proved(card, source, own_T, target, said), *claims, *report.not_proved]
    other = next((difference for difference in wrong if not difference.rounding), None)
    if other is not None and report.failed_at is None:
        report.fail(layer_of(other.where, card), 0, f"{other}; {AGAIN}")
    elif other is not None and report.failed_at is not None and AGAIN not in report.failed_at["what"]:
        what = report.failed_at["what"]
        report.failed_at["what"] += f"; {AGAIN}" if str(other) in what else f"; {other}; {AGAIN}"
    if contents.not_finite is not None:
        report.fail(part_layer(contents.not_finite.partition(" holds ")[0], card), 0, contents.not_finite)
    if changed:
        report.fail(part_layer(changed[0], card), 0, sentence(changed))
    if (
        report.failed_at is not None and named is not model  # which code made
        and given_by_parts("readers", "other_weights")(model, network_of(named))
    ):  # fmt: skip
        report.failed_at["what"] += f"; {named} makes other weights each time: load them from a file, or set a seed"
    return report


def write_again(
    artifact: Path, card: Card, source: TrainedModel, target: Target, folder: Path
) -> tuple[ExportJob, Iterator[Difference]]:
    """An artifact of the model by the choices that a card names, written into `folder` where this machine can; and where it
    differs from the one that exists, as long as the folder is there."""
    graph, expected = expected_of(source, card)
    expected |= claims_of(card)  # a key of LATER replaces what the model says of it
    if "options" in card:
        expected["options"] = card["options"]
    if card["form"] not in FORMS:
        raise PlifError(f"{artifact}: form '{card['form']}'; expected one of {', '.join(FORMS)}")
    proto = FORMS[card["form"]](graph, expected["T"], card["batch"], target.dialect)
    job = ExportJob(graph, proto, expected, settings_of(card, artifact), name=target.named(artifact, card))
    if target.foreign(card) is not None:
        expected |= target.kept(card, onnx_sha256(proto))
        return job, card_differences(card, expected)
    target.check(graph, expected, job.options)
    set_card(proto, expected)
    again = folder / job.name
    target.write(job, again)
    return job, _differences(target, (artifact, card), (again, job.card))


def _differences(target: Target, found: tuple[Path, Card], expected: tuple[Path, Card]) -> Iterator[Difference]:
    """Of two artifacts and their cards; nothing is read before it is asked for."""
    yield from card_differences(found[1], expected[1])
    yield from differences(target.anatomy(*found), target.anatomy(*expected))


def settings_of(card: Card, artifact: Path) -> dict[str, str]:
    """The options of its target with which an artifact was exported."""
    found = card.get("options", {})
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise PlifError(f"{artifact}: its card's options are no texts by their names; export it again")
    return found


def _not_proved(card: Card, source: TrainedModel, own_T: int, target: Target, said: VerifyOptions) -> Iterator[str]:
    """What an artifact says that was compared with nothing."""
    foreign = target.foreign(card)
    if said.structure == "ignored":
        yield "structure"
    elif foreign is not None:
        yield f"structure of {foreign} (compared is the ONNX form that it was made from)"
    by_model = {"decide": source.facts.decide}
    yield from (f"{key} {encode(card[key])}" for key in LATER if key in card and card[key] != by_model.get(key))
    if source.sha256 is None and card["source_sha256"] is not None:
        yield "source_sha256"
    if "T" in source.facts.unsaid and card["form"] == "step" and card["T"] != own_T and not card["framing"]:
        yield f"T={card['T']}"
    if not flushing_is_known():
        yield "flush_denormals"
    if digest_of(card) is None:
        yield "digest (the card has none)"


def _claims(card: Card, expected: Card, known: Mapping[str, object], report: Report, usual: bool) -> Iterator[str]:
    """What the maker of an artifact says of the day of its export, and what was found does not bear out.

    expected  the card of an export of today;  known: what the model itself says of its provenance
    usual     whether this proof took the input of an export
    """
    said, parity, mine = card.get("provenance", {}), card["parity"], report.summary()
    if not isinstance(said, dict):
        yield "provenance"
    elif said != known:
        yield f"provenance ({', '.join(key for key in {**known, **said} if said.get(key) != known.get(key))})"
    if card["versions"] != expected["versions"]:
        yield "versions"
    if "memory" in card and card["memory"] != expected.get("memory"):
        yield "memory"
    if isinstance(parity, dict):
        neurons = sum(prod(state["shape"]) for state in card["states"])
        counts = [parity.get(key) for key in ("steps", "streams", "spikes", "spike_mismatches", "excused")]
        steps, streams, spikes, differ, excused = [n if isinstance(n, int) else -1 for n in counts]
        fits = set(parity) == set(mine) and parity["passed"] is True and parity["untested"] == mine["untested"]
        fits = fits and 0 <= differ == excused <= spikes <= steps * streams * neurons
        if not fits or (usual and steps != mine["steps"]):
            yield "parity"
    elif parity not in ("not run", None):
        yield "parity"


def _open(
    artifact: Path, target: Target, card: Card, job: ExportJob, engine: str | None, as_it_is: bool
) -> tuple[onnx.ModelProto | None, Model | Subject | None]:
    """Opens an artifact for the gate: the ONNX file that can be taken apart, and the model that can only be run.

    as_it_is  also where `load` refuses it
    """

    def load_it(name: str) -> Model:
        return open_as_it_is(artifact, card, name, EngineOptions()) if as_it_is else load(artifact, name)

    if target.name == "onnx":
        return load_onnx(artifact), None if engine is None else load_it(engine)
    if target.engine is not None:
        return None, load_it(engine or "auto")
    if engine is not None:
        raise PlifError(f"--engine {engine}: no engine of this machine opens {artifact}; leave it out")
    return target.inner_onnx(artifact, card), target.open(artifact, card, job=job)


def samples(artifact: str | Path, data: str, limit: int) -> np.ndarray:
    """The first samples of a data set as the inputs of a parity check: float32 [T, B, C, H, W], B samples."""
    from runtime.core.data import open_dataset
    from runtime.core.events.framing import framing_of

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
