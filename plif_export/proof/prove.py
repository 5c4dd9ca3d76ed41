"""The proof of one artifact: which reference judges it, on which inputs, from which state, and against which card."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from plif_export.cards import make_card
from plif_export.passes import prepare
from plif_export.proof import gate, session
from plif_export.proof.reference import GraphReference, Reference
from plif_export.proof.report import Report
from plif_export.proof.session import Running
from plif_export.readers import Read, read
from plif_train.network import Network
from runtime.base.errors import PlifError
from runtime.events import stimulus
from runtime.model.card import Card

PARITY_STEPS = 20
PARITY_STREAMS = 2


def prove(
    proto: onnx.ModelProto | None,
    card: Card,
    model: Read | Network,
    inputs: np.ndarray | None = None,
    *,
    steps: int | None = None,
    seed: int = 0,
    where: str = "artifact",
    runs: Running | None = None,
    report: Report | None = None,
) -> Report:
    """The gate. Without inputs, on the default stimulus, from a non-zero start state: membranes anywhere below threshold.

    proto   the ONNX file to take apart; None for an artifact that is none, and then `runs` is judged alone
    runs    the artifact opened with an engine, which then has to pass as well
    report  of the file, when it was proved before: only the engine is asked, and added to it
    """
    source = read(model) if isinstance(model, Network) else model
    rng, static = np.random.default_rng(seed), source.facts.kind == "static"
    graph = prepare(source.graph, card["math"], static and card["form"] == "unrolled", card["precision"])
    judge, reference = source.graph, source.reference
    if card["precision"] != "fp32":  # rounded weights make other spikes; what they must make, the interpreter says
        judge, reference = graph, GraphReference(graph)
    kept = {key: card[key] for key in ("form", "precision", "math", "batch", "source_sha256")}
    own = source.has_card and card["form"] == "step"  # elsewhere T is the artifact's to say
    T = source.facts.T if own else card["T"]
    expected = make_card(source.facts, graph, T=T, **kept)
    start = None
    if inputs is None:
        steps = steps or max(PARITY_STEPS, card["T"] if card["form"] == "unrolled" else 0)
        if card["form"] == "unrolled":
            steps = -(-steps // card["T"]) * card["T"]
        streams = card["batch"] or PARITY_STREAMS
        if static:
            image = stimulus.images(streams, source.facts.shape, source.facts.normalisation, rng)
            inputs = np.broadcast_to(image, (steps, *image.shape))
        else:
            inputs = stimulus.events_like(steps, streams, source.facts.shape, source.facts.framing, rng)
        start = [_start(reference, rng) for _ in range(streams)]
    starts = start or [reference.initial() for _ in range(inputs.shape[1])]
    if proto is None:
        if runs is None:
            raise PlifError(f"{where}: nothing on this machine runs it, so nothing can be proved")
        return session.alone(runs, reference, inputs, starts, judge, expected, seed)
    if report is None:
        report = gate.check(
            proto,
            card,
            reference,
            inputs,
            start,
            where,
            graph=judge,
            expected=expected,
            model_in_fp32=None if card["precision"] == "fp32" else source.reference,
            seed=seed,
        )
    if runs is not None and report.passed:
        session.check(runs, reference, inputs, starts, report)
    return report


def _start(reference: Reference, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A start state for one stream: every state variable anywhere from somewhat below its reset to the threshold."""
    state = {}
    for key, v in reference.initial().items():
        top = reference.thresholds[key.rpartition(".")[2]]
        state[key] = rng.uniform(v.flat[0] - 0.5 * (top - v.flat[0]), top, v.shape).astype(np.float32)
    return state


def summary(report: Report) -> dict[str, Any]:
    """What the card keeps of a report."""
    keys = (
        "passed",
        "steps",
        "streams",
        "spikes",
        "spike_mismatches",
        "excused",
        "max_abs_dv",
        "free_running_mismatches",
        "decisions",
        "decisions_changed",
    )
    found = report.to_dict()
    kept = {**{key: found[key] for key in keys}, "untested": found["untested"]}
    if report.precision != "fp32":  # the gate was against the same rounded weights; this is against the model
        kept["rounding_mismatches"] = report.rounding_mismatches
        kept["flips"] = {layer.name: layer.free_running_mismatches for layer in report.layers}
    return kept
