"""The thorough checks (`--thorough`, minutes): a long run, and a search for an input with a difference.

long run   an engine against the file in ONNX Runtime, or the file against the model, on their own spikes. States are
           set equal every EQUAL steps, and wherever the two diverge; the number of divergences tells for how long
           free runs stay equal. After a divergence, that one call is repeated from equal states: it must be excused,
           as in the gate
search     frames of any density and height, with all membranes a few bounds from their thresholds; every second frame
           is a change of the one that came nearest to the tolerance
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from plif_export.core.proof.arithmetic.bounds import Bounds
from plif_export.core.proof.arithmetic.interpret import Array, State
from plif_export.core.proof.forced import check_teacher_forced
from plif_export.core.proof.reference import Reference
from plif_export.core.proof.report import Report, ThoroughRecord
from plif_export.core.proof.subjects.subject import Case, States, Subject, split_calls
from plif_export.core.prove import Proof
from plif_export.observers.random_states.from_reset import has_parted
from plif_export.observers.random_states.probe import NEAR_THRESHOLD, draw_all_layers
from runtime.core.events.stimulus import MOST
from runtime.core.model.graph import Graph, state_key

STEPS = 10_000
EQUAL = 100
RESTARTS = 1_000
CHANGED = 0.05  # of the numbers of a frame


def run_thorough(proof: Proof) -> None:
    """Test a proved artifact by a run of many steps, and by a search for inputs on which it differs from the model.

    The engine is compared with the file if there are both, else with the reference. Fails the report, and records the
    effort.
    """
    subject, report = proof.subject, proof.report
    bounds = Bounds(proof.graph, subject.half)
    record: ThoroughRecord = {"steps": 0, "parted": 0, "restarts": 0, "nearest": 0.0}
    report.thorough = record
    _run_long(subject, proof.file, proof.reference, proof.frames, proof.start, bounds, report, record)
    _search_inputs(subject, proof.graph, bounds, report, record, proof.rng)
    steps, parted = record["steps"], record["parted"]
    about = f"about {steps // parted}" if parted else f"all {steps}"
    report.remarks += [
        f"free runs stay equal for {about} steps",
        f"{record['restarts']} restarts beside the thresholds found no input on which they part",
    ]


def _run_long(
    subject: Subject, file: Subject | None, reference: Reference, frames: Callable[[int], Array], start: State,
    bounds: Bounds, report: Report, record: ThoroughRecord,
) -> None:  # fmt: skip
    def case_of(x: Array, states: States) -> Case:
        keyed = {state_key(layer, name): v for layer, state in states.items() for name, v in state.items()}
        (case,) = split_calls(reference.run(x, keyed), subject.chunk)
        return case

    def judged(x: Array, states: States) -> tuple[Array, States]:
        if file is not None:
            answer = file.run_single(x, states)
            return answer.y, answer.after
        case = case_of(x, states)
        return case.y, {layer: steps[subject.chunk - 1].after for layer, steps in case.expected.items()}

    states = subject.group_states(start[state_key(layer, variable)] for layer, variable in subject.states)
    while record["steps"] < STEPS:
        engine_states = states
        x = frames(-(-EQUAL // subject.chunk) * subject.chunk)
        for call in np.split(x, len(x) // subject.chunk):
            engine_answer = subject.run_single(call, engine_states)
            y, after = judged(call, states)
            engine_states = engine_answer.after
            if has_parted(engine_answer, y, after, bounds):
                record["parted"] += 1
                check_teacher_forced(
                    subject, [case_of(call, states)], bounds, report, prefix=f"in step {record['steps']}, "
                )
                if not report.passed:
                    return
                engine_states = after
            states = after
            record["steps"] += subject.chunk


def _search_inputs(
    subject: Subject, graph: Graph, bounds: Bounds, report: Report, record: ThoroughRecord, rng: np.random.Generator
) -> None:
    """Search for an input on which an artifact differs from the model, by frames drawn anew or changed at random."""
    best = np.zeros((subject.chunk, 1, *graph.input_shape), np.float32)
    while record["restarts"] < RESTARTS and report.passed:
        density, height = 10 ** rng.uniform(-3, 0), MOST ** rng.random()
        x = np.rint(rng.uniform(0.5, height + 0.5, best.shape)) * (rng.random(best.shape) < density)
        if record["restarts"] % 2:
            x = np.where(rng.random(best.shape) < CHANGED, x, best)
        case = draw_all_layers(subject, graph, bounds, x, rng.random(), NEAR_THRESHOLD, rng)
        frame_report = Report(layers=report.layers)
        check_teacher_forced(subject, [case], bounds, frame_report, prefix="on a frame that was searched, ")
        record["restarts"] += 1
        if frame_report.max_scaled_dv > record["nearest"]:
            best, record["nearest"] = x.astype(np.float32), frame_report.max_scaled_dv
        if frame_report.failed_at is not None:
            report.fail(frame_report.failed_at["layer"], frame_report.failed_at["step"], frame_report.failed_at["what"])
