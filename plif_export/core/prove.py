"""The proof of one artifact: chooses the reference, the inputs, the start states and the expected card."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnx

from plif_export.core.cards import can_check_flushing, make_card
from plif_export.core.passes import run_passes
from plif_export.core.proof import gate
from plif_export.core.proof.arithmetic.interpret import Array, State
from plif_export.core.proof.reference import GraphReference, Reference, draw_start
from plif_export.core.proof.report import Report
from plif_export.core.proof.subjects.sliced_file import SlicedFile, refuse_another_model
from plif_export.core.proof.subjects.subject import EngineSession, Subject
from plif_export.core.readers import read_model
from plif_export.core.readers.facts import ModelFacts, TrainedModel
from plif_train.core.network.network import Network
from runtime.core.api import Model
from runtime.core.base.errors import PlifError
from runtime.core.engines.available import ONNX_RUNTIME
from runtime.core.events import stimulus
from runtime.core.model.card import Card
from runtime.core.model.graph import Graph
from runtime.core.parts import Part, load_from_parts

PARITY_STEPS = 20
PARITY_STREAMS = 2


Hearer: TypeAlias = tuple[Part, Mapping[str, object]]


@dataclass(frozen=True)
class Proof:
    """A proof that an artifact passed, given to plug-in parts that listen for proofs and may add checks.

    subject    the engine, or the ONNX file without an engine
    file       the ONNX file if the subject is an engine
    reference  the expected behaviour; graph: the same as a graph
    frames     T -> float32 [T, 1, ...], the default input of a proof
    start      the states from which it began, {key: [1, ...]}
    report     the result, which a part may fail
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
    proto: onnx.ModelProto | None, card: Card, model: TrainedModel | Network, inputs: np.ndarray | None = None, *,
    steps: int | None = None, seed: int = 0, label: str = "artifact", opened: Model | Subject | None = None,
    engines: Sequence[Model] = (), report: Report | None = None, require_tested: bool = False,
    heard_by: Sequence[Hearer] = (),
) -> Report:  # fmt: skip
    """Prove that an artifact equals its model: run both on given inputs, or on a default stimulus.

    inputs  [T, B, C, H, W] float32: B streams, from reset; without them membranes start anywhere below the threshold
    proto   the ONNX file to cut into layers; None for an artifact that is no ONNX file: then `opened` alone is judged
    opened  the artifact opened with an engine, which then must pass as well
    engines the artifact opened with further engines, which are compared in the same calls and must pass as well
    report  the report of the file, if that was proved before: only the engine is compared, and added to the report
    require_tested  whether a layer that never fires is a failure
    heard_by  parts with further checks of an artifact that passed, each with its options (HEARS = ("proof",) in their
              part.py)
    """
    source = read_model(model) if isinstance(model, Network) else model
    unrolled, rounded = card["form"] == "unrolled", card["precision"] != "fp32"
    rng = np.random.default_rng(seed)
    graph, expected = expected_export(source, card)
    checked_graph, reference = source.graph, source.reference
    if rounded:  # rounded weights change spikes; the interpreter gives the expected ones
        checked_graph, reference = graph, GraphReference(graph)
    if inputs is None:
        inputs = _draw_stimulus(source.facts, card, steps or max(PARITY_STEPS, card["T"] if unrolled else 0), rng)
        start = [draw_start(source.graph, rng) for _ in range(inputs.shape[1])]
    else:
        start = [reference.initial() for _ in range(inputs.shape[1])]
    engine = opened if opened is None or isinstance(opened, Subject) else EngineSession(opened, label)
    file = None
    if proto is not None and (report is None or heard_by):
        refuse_another_model(card, reference, list(inputs.shape[2:]), label)
        file = SlicedFile(proto, card, reference.layers, label)
    if report is None:
        subject = file or engine
        if subject is None:
            raise PlifError(f"{label}: nothing on this machine runs it, so nothing can be proved")
        others = [EngineSession(model, label) for model in engines]
        for session in others:
            if file is not None and session.engine == ONNX_RUNTIME:  # it then runs the rows of the file, too
                file.runtime = session
        in_fp32 = source.reference if rounded and subject.shows_spikes else None
        report = gate.run_gate(
            subject, reference, inputs, start, graph=checked_graph, expected=expected, model_in_fp32=in_fp32, seed=seed,
            engines=others,
        )  # fmt: skip
        if source.if_silent and report.failed_at is not None and len(report.untested) == len(report.layers):
            report.failed_at["what"] += f" ({source.if_silent})"
        unstated = (name for name in source.facts.unstated if name != "T")
        report.not_proved = [*unstated, *source.not_proved, *report.not_proved]
        report.module = source.sampled
        report.untested += [layer for layer in source.untested if layer not in report.untested]
    if proto is not None and engine is not None and report.passed:
        gate.check_engine(engine, reference, inputs, start, report, graph=checked_graph, seed=seed)
    if report.untested and require_tested:
        report.fail(report.untested[0], 0, f"nothing made these layers fire: {', '.join(report.untested)}")
    if heard_by and report.passed:
        judged = engine or file
        assert judged is not None
        frames = partial(_draw_stimulus, source.facts, {**card, "batch": 1}, rng=rng)
        proof = Proof(
            judged, file if judged is engine else None, reference, checked_graph, frames, start[0], report, rng
        )
        for part, part_options in heard_by:
            if report.passed:
                part.load("hear")(proof, **part_options)
    return report


def open_engines(artifact: Path | onnx.ModelProto, card: Card, *which: str | None) -> tuple[list[Model], list[str]]:
    """Open an artifact with the engines that a proof must run, and list those that it does not, by a part; see there."""
    part_function = load_from_parts("observers", "engines of a proof")
    return ([], []) if part_function is None else part_function(artifact, card, *which)


def expected_export(source: TrainedModel, card: Card) -> tuple[Graph, Card]:
    """Return the graph and the metadata card that exporting the model again gives, with a card's choices.

    The choices are form, precision and math.
    """
    static = source.facts.kind == "static" and card["form"] == "unrolled"
    graph = run_passes(source.graph, card["math"], static, card["precision"])
    # An unrolled export may choose its T, and need not state one.
    from_model = "T" not in source.facts.unstated and (card["form"] != "unrolled" or not source.has_card)
    chosen = {key: card[key] for key in ("form", "precision", "math", "batch")}
    sha256 = source.sha256 if source.sha256 and card["source_sha256"] else card["source_sha256"]
    expected = make_card(
        source.facts, graph, T=source.facts.T if from_model else card["T"], source_sha256=sha256, **chosen
    )
    if not can_check_flushing():  # an artifact may have this field
        expected.pop("flush_denormals")
        expected |= {key: card[key] for key in ("flush_denormals",) if key in card}
    if not source.facts.classes_named:  # the model does not state whether classes were named
        expected["classes_named"] = card.get("classes_named")
    return graph, expected


def _draw_stimulus(facts: ModelFacts, card: Card, steps: int, rng: np.random.Generator) -> np.ndarray:
    """Make the random default input of a proof: [T, B, C, H, W] float32, T at least `steps`, in whole calls."""
    streams, call_steps = card["batch"] or PARITY_STREAMS, card["T"] if card["form"] == "unrolled" else 1
    steps = -(-steps // call_steps) * call_steps
    if facts.kind == "static":  # one image is the input of all steps of a call
        image_steps = max(call_steps, facts.T)
        images = stimulus.make_stress_images(-(-steps // image_steps), streams, facts.shape, facts.normalisation, rng)
        return images.repeat(image_steps, axis=0)[:steps]
    return stimulus.make_stress_frames(steps, streams, facts.shape, facts.framing, rng)
