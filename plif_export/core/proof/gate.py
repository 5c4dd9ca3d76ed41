"""The gate: does what was exported do what was trained? In spikes, layer by layer, step by step.

It asks a subject (subject.py), which is the ONNX file, cut into its layers, or a session of an engine. Each question is written
once, over what a subject shows; a file is asked about every layer and step, an engine about what comes out of a call.

    start           a fresh session has the states that the model has after a reset
    teacher-forced  from the reference's states, each layer does in one call what the reference does (forced.py). An artifact
                    passes when no spike differs unexcused; h and the next membrane agree wherever the spike does (a state
                    that is frozen, swapped or reset wrongly leaves this step's spikes right and only the next step's wrong,
                    so it has to be looked at itself); and the output agrees on every step
    rounding        what rounded weights change, against the model itself: their precision asks (plif_export/precisions). They
                    make other spikes, so there the reference is the interpreter on the same rounded weights
    free-running    the whole artifact from the same start state on its own spikes: reported beside the gate, not judged
    untested        a layer that is silent or saturated throughout is named: nothing was shown about it on this input
    rows            streams are rows of a batch, and no row may touch another
    random spikes   weights and thresholds that the input leaves unused, and
    faint states    from states that are subnormal, or nearly: engines may flush them to zero, and nothing else may show it.
                    A part asks both (plif_export/observers/random_states); where it is missing, the report says so
    form            what its form asks of an artifact whose steps passed: of one that takes any number of steps in a call, that it
                    does what its step does as often
    card            whoever runs the artifact believes its card, so the card must be the one that the model gives
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from plif_export.core.passes import part_of
from plif_export.core.proof.arithmetic.bounds import Bounds
from plif_export.core.proof.arithmetic.interpret import Array, State
from plif_export.core.proof.compare import count_off, other_spikes
from plif_export.core.proof.forced import require_shown, teacher_forced
from plif_export.core.proof.reference import History, Reference
from plif_export.core.proof.report import LayerReport, Report
from plif_export.core.proof.structure import card_differences
from plif_export.core.proof.subjects.slices import CannotRun
from plif_export.core.proof.subjects.subject import Answer, States, Subject, cases
from runtime.core.base.errors import PlifError
from runtime.core.engines.session import whole_votes
from runtime.core.model.card import Card
from runtime.core.model.graph import Graph, state_key
from runtime.core.parts import given_by_parts

UNASKED = "weights and thresholds that the input leaves unused"
ROWS_TOGETHER = (33, 17, 3)  # beside one alone
LARGE = 10**7  # weights; then the first three rows and the last stand for all


def check(
    subject: Subject,
    reference: Reference,
    x: Array,
    start: Sequence[State] | None = None,
    *,
    graph: Graph,
    expected: Card | None = None,
    model_in_fp32: Reference | None = None,
    seed: int = 0,
) -> Report:
    """The whole gate on x [T, B, C, H, W] float32: B streams, one at a time.

    start     the states of each stream, {key: [1, ...]} float32; from reset when None
    graph     the model as read, before any pass (with rounded weights: after all): what rounding can do, and the question of
              random spikes
    expected  the card that the model gives
    model_in_fp32  the model itself, where the reference has rounded weights and the subject shows spikes
    """
    if x.ndim < 3 or not len(x) or not x.shape[1]:
        raise PlifError(
            f"inputs of shape {list(x.shape)} hold no step of no stream; expected [T, B, ...] with both at least 1"
        )
    if len(x) % subject.chunk:
        T = subject.chunk
        raise PlifError(f"{subject.where}: unrolled over T={T}, so parity needs a multiple of {T} steps, not {len(x)}")
    layers = [LayerReport(layer) for layer in reference.layers]
    report = Report(precision=subject.card["precision"], steps=len(x), streams=x.shape[1], layers=layers, seed=seed)
    report.inputs = [float(x.min()), float(x.max())]
    report.rounding = model_in_fp32 is not None
    states = [reference.initial() for _ in range(x.shape[1])] if start is None else list(start)
    if not _starts_like(subject, reference, report):
        return report
    fired = {layer: np.zeros(2, np.int64) for layer in reference.layers}  # spikes, and the most that there could be
    shown, bounds = 0, Bounds(graph, subject.half)
    flips = None if model_in_fp32 is None else part_of(report.precision).load("flips:Flips")(model_in_fp32, graph)
    for b, state in enumerate(states):
        history = reference.run(x[:, b : b + 1], state)
        own = layers if subject.shows_spikes else None
        shown += teacher_forced(subject, cases(history, subject.chunk), bounds, report, own)
        for layer in layers:
            seen = history.layers[layer.name]
            fired[layer.name] += seen.spikes, seen.most
            report.spikes += seen.spikes if seen.spiking else 0
            layer.rate += seen.rate / len(states)
        if flips is not None:
            history = flips.count(subject, x[:, b : b + 1], state, bounds, report)
        _run_freely(subject, history, report)
    require_shown(subject, shown, report)
    if flips is not None:
        report.rounded_fire = flips.any_fires(x)
    if subject.engine is not None:
        report.engine_steps += shown
    if all(spikes in (0, most) for spikes, most in fired.values()):
        report.fail(layers[0].name, 0, "no layer fired (or all fired always), so nothing was shown")
    _ask_more(subject, x, states, graph, bounds, report, seed)
    report.untested = bounds.untested
    if report.passed and expected is not None:
        _compare_cards(subject.card, expected, report)
    for layer in layers:
        report.add(layer)
        if not subject.shows_spikes:  # one division for all; a mean over streams may differ in the last bit
            layer.rate = float(np.divide(*fired[layer.name]))
    return report


def check_engine(
    subject: Subject,
    reference: Reference,
    x: Array,
    start: Sequence[State],
    report: Report,
    *,
    graph: Graph,
    seed: int = 0,
) -> None:
    """The gate's questions to an engine that runs a file which has passed the gate: start, teacher-forced, random spikes, faint
    states and rows. (The card is the file's, and what the engine does freely is the file's report.)

    x [T, B, C, H, W] float32, the states of each stream {key: [1, ...]} and the graph, as in `check`. Adds to the file's
    report, and fails it.
    """
    if _starts_like(subject, reference, report):
        histories = (reference.run(x[:, b : b + 1], state) for b, state in enumerate(start))
        asked = (case for history in histories for case in cases(history, subject.chunk))
        bounds = Bounds(graph, subject.half)
        layers = [LayerReport(layer) for layer in reference.layers]
        shown = teacher_forced(subject, asked, bounds, report, layers)
        for layer in layers:
            report.add(layer)
        report.engine_steps += shown
        require_shown(subject, shown, report)
        _ask_more(subject, x, start, graph, bounds, report, seed)


def _ask_more(
    subject: Subject, x: Array, start: Sequence[State], graph: Graph, bounds: Bounds, report: Report, seed: int
) -> None:
    """What is asked of a subject whose layers do on x what they should: rows, what a part asks of all, and what its form asks."""
    if report.passed:
        _compare_rows(subject, x, start, bounds, report)
    ask = given_by_parts("observers", "question of the gate")
    if ask is None:
        report.not_proved = list(dict.fromkeys([*report.not_proved, UNASKED]))
    elif report.passed:
        ask(subject, graph, bounds, report, x, seed)
    ask_form = given_by_parts("writers", subject.card["form"])
    if ask_form is not None and report.passed:
        ask_form(subject, x, start, bounds, report)


def _starts_like(subject: Subject, reference: Reference, report: Report) -> bool:
    """A fresh session has the states that the model has after a reset. (Where a file starts, its card says.)"""
    report.engine = subject.engine or report.engine
    try:
        initial, found = reference.initial(), subject.initial()
    except CannotRun as problem:  # a program that ends before it is asked anything
        report.fail(problem.layer, 0, f"{subject.signature}{problem}")
        return False
    for layer in [layer for layer in reference.layers if found and layer not in found]:
        report.fail(layer, 0, f"{subject.signature}has no state of this layer, which the model has")
    for layer, state in found.items():
        for variable, v in state.items():
            wanted = initial.get(state_key(layer, variable))
            if wanted is None or v.shape[1:] != wanted.shape[1:]:
                shape = "nothing" if wanted is None else list(wanted.shape[1:])
                report.fail(layer, 0, f"{subject.signature}has a state {list(v.shape[1:])}, the model {shape}")
            elif not np.allclose(v, wanted, rtol=1e-6, atol=1e-6):
                what = f"starts at {v.flat[0]:g}, the model at {wanted.flat[0]:g}"
                report.fail(layer, 0, subject.signature + what)
    return report.passed


def _run_freely(subject: Subject, history: History, report: Report) -> None:
    """The artifact on its own spikes, from the history's start: counts how much of it then differs from the history."""
    votes, voters = np.zeros((2, *history.y.shape[2:])), int(subject.card["output"].get("voters", 1))
    states = None
    for case in cases(history, subject.chunk):
        try:
            answer = subject.alone(case.x, case.start if states is None else states)
        except CannotRun as problem:  # a file whose states do not fit each other cannot be stepped at all
            report.fail(problem.layer, case.step, f"{subject.signature}{problem}")
            return
        states = answer.after
        for layer in report.layers:
            for k, seen in answer.layers[layer.name].items():
                t, wanted = case.step, case.expected[layer.name][k]
                if seen.s is None:  # of an engine, membranes that are off after the call are counted
                    differ = sum(count_off(v, wanted.after[variable]) for variable, v in seen.after.items())
                elif wanted.values == "membrane":
                    differ = 0
                else:
                    t, differ = t + k, int(np.sum(other_spikes(seen.s.reshape(wanted.s.shape), wanted)))
                layer.free_running_mismatches += differ
                if differ:
                    report.diverged(layer.name, t)
        for i, y in enumerate((answer.y, case.y)):
            votes[i] += whole_votes(y[:, 0], voters).sum(axis=0)
        if count_off(answer.y, case.y):
            report.diverged("output", case.step)
    if votes.ndim > 2:  # maps, about which nothing is decided
        return
    report.decisions += 1
    report.decisions_changed += int(votes[0].argmax() != votes[1].argmax())


def _compare_rows(subject: Subject, x: Array, start: Sequence[State], bounds: Bounds, report: Report) -> None:
    """The whole artifact on several different streams at once against each of them alone, each step within the largest
    bound that the questions before have seen: the most rows in one call, the fewest in more."""
    more = subject.chunk if subject.unrolled else min(subject.rows_steps, len(x))
    sizes = (subject.batch,) if subject.batch else tuple(filter(subject.fits, ROWS_TOGETHER))
    large = bounds.weights > LARGE
    for count in sizes:
        steps = more if count == sizes[-1] else subject.chunk
        # each stream is another part of the stimulus, moved to the side, and so are the membranes
        frames = [np.roll(x.take(range(b, b + steps), 0, mode="wrap")[:, b % x.shape[1]], b, -1) for b in range(count)]
        states = [{key: np.roll(v, b, -1) for key, v in start[b % len(start)].items()} for b in range(count)]
        try:
            stacked = {key: np.concatenate([state[key] for state in states]) for key in states[0]}
            together = run_calls(subject, subject.call, np.stack(frames, axis=1), stacked)
            for b in [0, 1, 2, count - 1][:count] if large else range(count):
                alone = run_calls(subject, subject.alone, frames[b][:, None], states[b])
                mine = [values[b : b + 1] for values in together]
                for layer, name, off in differing(subject, mine, alone, steps, bounds):
                    what = f"a stream beside {count - 1} others gives other {name} than alone ({off} differ)"
                    report.fail(layer, 0, subject.signature + what)
                    return
        except CannotRun as problem:
            report.fail(problem.layer, 0, f"{subject.signature}{problem}")
            return
        report.rows = max(report.rows, count)


def differing(
    subject: Subject, found: list[Array], wanted: list[Array], steps: int, bounds: Bounds
) -> Iterator[tuple[str, str, int]]:
    """What differs of what `run_calls` gave, over so many steps: (layer, name, how many numbers), in forward order."""
    names = [*((record["layer"], record["output"]) for record in subject.card["states"]), ("output", "y")]
    for (layer, name), one, other in zip(names, found, wanted, strict=True):
        if off := count_off(one, other, steps * bounds.largest.get(layer, 0.0)):
            yield layer, name, off


def run_calls(subject: Subject, call: Callable[[Array, States], Answer], x: Array, start: State) -> list[Array]:
    """Calls over x [T, rows, ...] from a start {key: [rows, ...]}: the states after the last in the order of the card, and
    all outputs, each [rows, ...]."""
    states = subject.by_layer(start[state_key(layer, variable)] for layer, variable in subject.states)
    outputs = []
    for t in range(0, len(x), subject.chunk):
        answer = call(x[t : t + subject.chunk], states)
        states = answer.after
        outputs.append(answer.y)
    return [*(states[layer][variable] for layer, variable in subject.states), np.concatenate(outputs).swapaxes(0, 1)]


def _compare_cards(found: Card, expected: Card, report: Report) -> None:
    """Everything that the model decides about its card, key by key."""
    shared = {key: value for key, value in found.items() if key in expected}
    for difference in card_differences(shared, expected):
        if not difference.rounding:
            report.fail("card", 0, str(difference))
            return
