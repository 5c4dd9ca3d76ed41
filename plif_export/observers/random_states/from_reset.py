"""Runs of an artifact from reset, on whole numbers of events: the states that a user's stream reaches.

Weights that are multiples of one number give sums that meet the threshold exactly. Where the artifact rounds
otherwise (W / tau times x, for W x divided by tau), a spike then differs, and random membranes do not show it. So the
artifact runs on its own spikes, next to the interpreter. A call after which they differ is repeated from equal states
and judged as in the gate: a difference by rounding is counted as excused. Then both continue from equal states.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from plif_export.core.proof.arithmetic import interpret
from plif_export.core.proof.arithmetic.bounds import Bounds
from plif_export.core.proof.arithmetic.interpret import Array
from plif_export.core.proof.compare import count_mismatches
from plif_export.core.proof.forced import check_teacher_forced
from plif_export.core.proof.gate import LARGE
from plif_export.core.proof.reference import GraphReference
from plif_export.core.proof.report import Report
from plif_export.core.proof.subjects.slices import CannotRun
from plif_export.core.proof.subjects.subject import Answer, Case, States, Subject, split_calls
from runtime.core.events.stimulus import make_event_frames
from runtime.core.model.graph import Graph, state_key

STEPS, STREAMS = 64, 8
STEPS_LARGE = 16  # of one stream, with more weights than LARGE


def check_from_reset(subject: Subject, graph: Graph, bounds: Bounds, report: Report, rng: np.random.Generator) -> None:
    """Compare runs of an artifact from reset with the interpreter; add to the report, and fail it on errors."""
    large = bounds.weights > LARGE
    together = subject.chunk == 1 and subject.forces_rows and subject.accepts_rows(STREAMS) and not large
    steps, rows = STEPS_LARGE if large else STEPS, STREAMS if together else 1
    steps = -(-steps // subject.chunk) * subject.chunk
    x = make_event_frames(steps, rows, graph.input_shape, subject.card["framing"], rng)
    x = np.ascontiguousarray(np.broadcast_to(x[:1], x.shape)) if subject.static else x
    run = subject.run_call if rows > 1 else subject.run_single
    states: States | None = None
    for case in _run_calls(graph, x, subject.chunk):
        try:
            answer = run(case.x, case.start if states is None else states)
        except CannotRun as problem:
            report.fail(problem.layer, case.step, f"{subject.signature}{problem}")
            return
        states = answer.after
        after = {layer: steps[subject.chunk - 1].after for layer, steps in case.expected.items()}
        if has_parted(answer, case.y, after, bounds):
            check_teacher_forced(subject, [case], bounds, report, prefix="in a run from reset, ")
            states = None
        if not report.passed:
            return


def _run_calls(graph: Graph, x: Array, chunk: int) -> Iterator[Case]:
    """Yield the calls of a run of the interpreter from reset, x [steps, rows, ...]; the values of one are in memory."""
    reference, state = GraphReference(graph), interpret.initial_state(graph, x.shape[1])
    for k in range(0, len(x), chunk):
        history = reference.run(x[k : k + chunk], state)
        yield from (replace(case, step=k) for case in split_calls(history, chunk))
        for node in graph.neurons:
            after = history.layers[node.layer].steps[-1].after
            state |= {state_key(node.layer, name): after[name] for name in node.initial}


def has_parted(answer: Answer, y: Array, after: States, bounds: Bounds) -> bool:
    """Return whether the output of a call on an artifact's own spikes, or a state after it, is not the expected one.

    y [steps, rows, classes];  after: the expected states
    """
    differ = count_mismatches(answer.y, y, bounds.largest.get("output", 0.0))
    for layer, state in after.items():
        bound = bounds.largest.get(layer, 0.0)
        differ += sum(count_mismatches(answer.after[layer][name], v, bound) for name, v in state.items())
    return differ > 0
