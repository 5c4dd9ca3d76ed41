"""What takes minutes (`--thorough`): a long run beside a judge, and a search for an input on which artifact and model part.

long run   an engine beside the file in ONNX Runtime, or the file beside the model, on their own spikes. States are set equal
           every EQUAL steps, and wherever the two part; how often they do says for how long free runs stay equal.
           Where they part, that one call is asked again from equal states: it has to be excused, as in the gate
search     frames of any density and height, with all membranes a few bounds beside their thresholds; every second frame is
           a change of the one that came nearest to what is allowed
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from plif_export.core.proof.arithmetic.bounds import Bounds
from plif_export.core.proof.arithmetic.interpret import Array, State
from plif_export.core.proof.compare import count_off
from plif_export.core.proof.forced import teacher_forced
from plif_export.core.proof.reference import Reference
from plif_export.core.proof.report import Report, Thorough
from plif_export.core.proof.subjects.subject import Case, States, Subject, cases
from plif_export.core.prove import Proof
from plif_export.observers.random_states.probe import BESIDE_THRESHOLD, of_all_layers
from runtime.core.events.stimulus import MOST
from runtime.core.model.graph import Graph, state_key

STEPS = 10_000
EQUAL = 100
RESTARTS = 1_000
CHANGED = 0.05  # of the numbers of a frame


def search(proof: Proof) -> None:
    """Both, on what has passed the gate: the engine beside the file where there are both, else beside the reference. Fails the
    report, and says in it what was tried."""
    subject, report = proof.subject, proof.report
    bounds = Bounds(proof.graph, subject.half)
    tried: Thorough = {"steps": 0, "parted": 0, "restarts": 0, "nearest": 0.0}
    report.thorough = tried
    _run_long(subject, proof.file, proof.reference, proof.frames, proof.start, bounds, report, tried)
    _search(subject, proof.graph, bounds, report, tried, proof.rng)


def _run_long(
    subject: Subject, file: Subject | None, reference: Reference, frames: Callable[[int], Array], start: State,
    bounds: Bounds, report: Report, tried: Thorough,
) -> None:  # fmt: skip
    def case_of(x: Array, states: States) -> Case:
        keyed = {state_key(layer, name): v for layer, state in states.items() for name, v in state.items()}
        (case,) = cases(reference.run(x, keyed), subject.chunk)
        return case

    def judged(x: Array, states: States) -> tuple[Array, States]:
        if file is not None:
            answer = file.alone(x, states)
            return answer.y, answer.after
        case = case_of(x, states)
        return case.y, {layer: steps[subject.chunk - 1].after for layer, steps in case.expected.items()}

    states = subject.by_layer(start[state_key(layer, variable)] for layer, variable in subject.states)
    while tried["steps"] < STEPS:
        own = states
        x = frames(-(-EQUAL // subject.chunk) * subject.chunk)
        for call in np.split(x, len(x) // subject.chunk):
            found = subject.alone(call, own)
            y, after = judged(call, states)
            own = found.after
            off = count_off(found.y, y, bounds.largest.get("output", 0.0))
            for layer, state in after.items():
                off += sum(count_off(own[layer][name], v, bounds.largest.get(layer, 0.0)) for name, v in state.items())
            if off:
                tried["parted"] += 1
                teacher_forced(subject, [case_of(call, states)], bounds, report, where=f"in step {tried['steps']}, ")
                if not report.passed:
                    return
                own = after
            states = after
            tried["steps"] += subject.chunk


def _search(
    subject: Subject, graph: Graph, bounds: Bounds, report: Report, tried: Thorough, rng: np.random.Generator
) -> None:
    """RESTARTS frames, drawn anew and changed in turns."""
    best = np.zeros((subject.chunk, 1, *graph.input_shape), np.float32)
    while tried["restarts"] < RESTARTS and report.passed:
        density, height = 10 ** rng.uniform(-3, 0), MOST ** rng.random()
        x = np.rint(rng.uniform(0.5, height + 0.5, best.shape)) * (rng.random(best.shape) < density)
        if tried["restarts"] % 2:
            x = np.where(rng.random(best.shape) < CHANGED, x, best)
        case = of_all_layers(subject, graph, bounds, x, rng.random(), BESIDE_THRESHOLD, rng)
        found = Report(layers=report.layers)
        teacher_forced(subject, [case], bounds, found, where="on a frame that was searched, ")
        tried["restarts"] += 1
        if found.max_scaled_dv > tried["nearest"]:
            best, tried["nearest"] = x.astype(np.float32), found.max_scaled_dv
        if found.failed_at is not None:
            report.fail(**found.failed_at)
