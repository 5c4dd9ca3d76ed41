"""The proof of one artifact: which reference judges it, on which inputs, from which states, and against which card."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
import onnx

from plif_export.core.cards import flushing_is_known, make_card
from plif_export.core.passes import prepare
from plif_export.core.proof import gate
from plif_export.core.proof.arithmetic.interpret import Array, State
from plif_export.core.proof.reference import GraphReference, Reference, random_start
from plif_export.core.proof.report import Report
from plif_export.core.proof.subjects.sliced_file import SlicedFile, refuse_another_model
from plif_export.core.proof.subjects.subject import EngineSession, Subject
from plif_export.core.readers import read
from plif_export.core.readers.facts import ModelFacts, TrainedModel
from plif_train.core.network.network import Network
from runtime.core.api import Model
from runtime.core.base.errors import PlifError
from runtime.core.events import stimulus
from runtime.core.model.card import Card
from runtime.core.model.graph import Graph
from runtime.core.parts import Part

PARITY_STEPS = 20
PARITY_STREAMS = 2


Hearer: TypeAlias = tuple[Part, Mapping[str, object]]


@dataclass(frozen=True)
class Proof:
    """A proof that passed, for the parts that hear one.

    subject    the engine, or the ONNX file where no engine was asked
    file       the ONNX file where the subject is an engine
    reference  what it has to do; graph: the same as a graph
    frames     T -> float32 [T, 1, ...], the default input of a proof
    start      the states from which it began, {key: [1, ...]}
    report     which a part may fail
    """

    subject: Subject
    file: Subject | None
    reference: Reference
    graph: Graph
    frames: Callable[[int], Array]
    start: State
    report: Report
    rng: np.random.Generator


def prove(
    proto: onnx.ModelProto | None,
    card: Card,
    model: TrainedModel | Network,
    inputs: np.ndarray | None = None,
    *,
    steps: int | None = None,
    seed: int = 0,
    where: str = "artifact",
    opened: Model | Subject | None = None,
    report: Report | None = None,
    require_tested: bool = False,
    heard_by: Sequence[Hearer] = (),
) -> Report:
    """The gate. Without inputs, on the default stimulus, from a non-zero start state: membranes anywhere below threshold.

    inputs  [T, B, C, H, W] float32: B streams, from reset
    proto   the ONNX file to take apart; None for an artifact that is no ONNX file: then `opened` alone is judged
    opened  the artifact opened with an engine, which then has to pass as well
    report  the report of the file, where that was proved before: only the engine is compared, and added to the report
    require_tested  whether a layer that nothing makes fire is a failure
    heard_by  parts that ask more of what passed the gate, each with its options (HEARS = ("proof",) in their part.py)
    """
    source = read(model) if isinstance(model, Network) else model
    unrolled, rounded = card["form"] == "unrolled", card["precision"] != "fp32"
    rng = np.random.default_rng(seed)
    graph, expected = expected_of(source, card)
    judge, reference = source.graph, source.reference
    if rounded:  # rounded weights make other spikes; what they must make, the interpreter says
        judge, reference = graph, GraphReference(graph)
    if inputs is None:
        inputs = _stimulus(source.facts, card, steps or max(PARITY_STEPS, card["T"] if unrolled else 0), rng)
        start = [random_start(source.graph, rng) for _ in range(inputs.shape[1])]
    else:
        start = [reference.initial() for _ in range(inputs.shape[1])]
    engine = opened if opened is None or isinstance(opened, Subject) else EngineSession(opened, where)
    file = None
    if proto is not None and (report is None or heard_by):
        refuse_another_model(card, reference, list(inputs.shape[2:]), where)
        file = SlicedFile(proto, card, reference.layers, where)
    if report is None:
        subject: Subject
        if file is not None:
            subject = file
        elif engine is not None:
            subject = engine
        else:
            raise PlifError(f"{where}: nothing on this machine runs it, so nothing can be proved")
        in_fp32 = source.reference if rounded and subject.shows_spikes else None
        report = gate.check(
            subject, reference, inputs, start, graph=judge, expected=expected, model_in_fp32=in_fp32, seed=seed
        )
        if source.if_silent and report.failed_at is not None and len(report.untested) == len(report.layers):
            report.failed_at["what"] += f" ({source.if_silent})"
        unsaid = (name for name in source.facts.unsaid if name != "T")
        report.not_proved = [*unsaid, *source.not_proved, *report.not_proved]
        report.module = source.sampled
        report.untested += [layer for layer in source.untested if layer not in report.untested]
    if proto is not None and engine is not None and report.passed:
        gate.check_engine(engine, reference, inputs, start, report, graph=judge, seed=seed)
    if report.untested and require_tested:
        report.fail(report.untested[0], 0, f"nothing made these layers fire: {', '.join(report.untested)}")
    if heard_by and report.passed:
        last = engine or file
        assert last is not None
        frames = partial(_stimulus, source.facts, {**card, "batch": 1}, rng=rng)
        proof = Proof(last, file if last is engine else None, reference, judge, frames, start[0], report, rng)
        for part, asked in heard_by:
            if report.passed:
                part.load("hear")(proof, **asked)
    return report


def expected_of(source: TrainedModel, card: Card) -> tuple[Graph, Card]:
    """What an export of the model gives with the choices that a card says (form, precision, math): its graph and its card."""
    static = source.facts.kind == "static" and card["form"] == "unrolled"
    graph = prepare(source.graph, card["math"], static, card["precision"])
    # Unrolled, an export may choose its T; and nobody need say one.
    own = "T" not in source.facts.unsaid and (card["form"] != "unrolled" or not source.has_card)
    chosen = {key: card[key] for key in ("form", "precision", "math", "batch")}
    sha256 = source.sha256 if source.sha256 and card["source_sha256"] else card["source_sha256"]
    expected = make_card(source.facts, graph, T=source.facts.T if own else card["T"], source_sha256=sha256, **chosen)
    if not flushing_is_known():  # an artifact may know more
        expected.pop("flush_denormals")
        expected |= {key: card[key] for key in ("flush_denormals",) if key in card}
    if not source.facts.classes_named:  # whether somebody named them, nobody says again
        expected["classes_named"] = card.get("classes_named")
    return graph, expected


def _stimulus(facts: ModelFacts, card: Card, steps: int, rng: np.random.Generator) -> np.ndarray:
    """The default input of a proof: [T, B, C, H, W] float32, T at least `steps`, in whole calls."""
    streams, a_call = card["batch"] or PARITY_STREAMS, card["T"] if card["form"] == "unrolled" else 1
    steps = -(-steps // a_call) * a_call
    if facts.kind == "static":  # an image stands for the steps of a call
        shown = max(a_call, facts.T)
        images = stimulus.images_of_a_camera(-(-steps // shown), streams, facts.shape, facts.normalisation, rng)
        return images.repeat(shown, axis=0)[:steps]
    return stimulus.of_a_camera(steps, streams, facts.shape, facts.framing, rng)
