"""The gate: does the exported artifact spike like the trained model? Layer by layer, step by step.

It tests a subject (subject.py): the ONNX file, cut into its layers, or a session of an engine. Each check is written
once, for every kind of subject; a file is checked in every layer and step, an engine by the outputs of its calls.

    start           a fresh session has the states of the model after a reset
    teacher-forced  from the reference's states, each layer does in one call what the reference does (forced.py). An
                    artifact passes when no spike differs unexcused; h and the next membrane agree wherever the spike
                    does (a state that is frozen, swapped or reset wrongly leaves this step's spikes right and only
                    the next step's wrong, so it must be compared itself); and the output agrees on every step
    rounding        the changes by rounded weights, against the model itself: checked by their precision
                    (plif_export/precisions). They change spikes, so the reference there is the interpreter on the same
                    rounded weights
    free-running    the whole artifact from the same start state on its own spikes: reported with the gate, not judged
    untested        a layer that is always silent or saturated is named: its threshold was not tested on this input
    rows            streams are rows of a batch, and no row may change another
    random spikes   weights and thresholds that the input leaves unused, and
    faint states    states that are subnormal, or nearly: engines may flush them to zero, and no other check may show
                    it. A part does both checks (plif_export/observers/random_states); without it, the report says so
    form            the check of its form for an artifact with correct steps: a call of many steps must equal as many
                    single steps
    card            the runtime relies on the card, so the card must be the one that the model gives
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from plif_export.core.passes import precision_part
from plif_export.core.proof.arithmetic.bounds import Bounds
from plif_export.core.proof.arithmetic.interpret import Array, State
from plif_export.core.proof.compare import count_mismatches, differing_spikes
from plif_export.core.proof.forced import check_teacher_forced, require_compared
from plif_export.core.proof.reference import History, Reference, describe_reference
from plif_export.core.proof.report import LayerReport, Report
from plif_export.core.proof.structure import compare_cards
from plif_export.core.proof.subjects.slices import CannotRun
from plif_export.core.proof.subjects.subject import Answer, Case, States, Subject, split_calls
from runtime.core.base.errors import PlifError
from runtime.core.base.progress import show_stage
from runtime.core.engines.session import to_spike_counts
from runtime.core.model.card import Card
from runtime.core.model.graph import Graph, state_key
from runtime.core.parts import load_from_parts

UNTESTED_WEIGHTS = "weights and thresholds that the input leaves unused"
ROWS_TOGETHER = (33, 17, 3)  # batch sizes, compared with each stream alone
LARGE = 10**7  # weights; then the first three rows and the last stand for all
CALLS = 16  # of an engine in a row, whose results are in memory at once


def run_gate(
    subject: Subject, reference: Reference, x: Array, start: Sequence[State] | None = None, *, graph: Graph,
    expected: Card | None = None, model_in_fp32: Reference | None = None, seed: int = 0,
    engines: Sequence[Subject] = (),
) -> Report:  # fmt: skip
    """Run the whole parity proof of an artifact on x [T, B, C, H, W] float32: B streams, one at a time.

    start     the states of each stream, {key: [1, ...]} float32; from reset if None
    graph     the model as read, before any pass (with rounded weights: after all passes), for rounding bounds and
              random spikes
    expected  the card that the model gives
    model_in_fp32  the model itself, if the reference has rounded weights and the subject shows spikes
    engines   sessions of engines that run the same artifact, which must pass as well
    """
    if x.ndim < 3 or not len(x) or not x.shape[1]:
        raise PlifError(
            f"inputs of shape {list(x.shape)} hold no step of no stream; expected [T, B, ...] with both at least 1"
        )
    if len(x) % subject.chunk:
        T = subject.chunk
        raise PlifError(f"{subject.label}: unrolled over T={T}, so parity needs a multiple of {T} steps, not {len(x)}")
    layers = [LayerReport(layer) for layer in reference.layers]
    report = Report(precision=subject.card["precision"], steps=len(x), streams=x.shape[1], layers=layers, seed=seed)
    report.inputs = [float(x.min()), float(x.max())]
    report.rounding = model_in_fp32 is not None
    report.proved_with = describe_reference(reference)
    states = [reference.initial() for _ in range(x.shape[1])] if start is None else list(start)
    if not _check_start(subject, reference, report):
        return report
    spike_counts = {layer: np.zeros(2, np.int64) for layer in reference.layers}  # [spikes, the number in saturation]
    compared, bounds = 0, Bounds(graph, subject.half)
    checks = [EngineCheck(engine, graph, bounds) for engine in engines if _check_start(engine, reference, report)]
    flips = None
    if model_in_fp32 is not None:
        flips = precision_part(report.precision).load("flips:FlipCounter")(model_in_fp32, graph)
    for b, state in enumerate(states):
        show_stage(f"proof: stream {b + 1} of {len(states)}")
        history = reference.run(x[:, b : b + 1], state)
        forced_layers = layers if subject.shows_spikes else None
        cases = list(split_calls(history, subject.chunk))
        for case, *answers in zip(cases, *[check.run(cases) for check in checks], strict=True):
            compared += check_teacher_forced(subject, [case], bounds, report, forced_layers)
            for check, answer in zip(checks, answers, strict=True) if report.passed else ():
                check.compare(case, answer, report)
        for layer in layers:
            layer_history = history.layers[layer.name]
            spike_counts[layer.name] += layer_history.spikes, layer_history.max_spikes
            report.spikes += layer_history.spikes if layer_history.is_spiking else 0
            layer.rate += layer_history.rate / len(states)
        if flips is not None:
            history = flips.count_flips(subject, x[:, b : b + 1], state, bounds, report)
        _run_free(subject, history, report)
    require_compared(subject, compared, report)
    if flips is not None:
        report.rounded_fire = flips.any_fires(x)
    if subject.engine is not None:
        report.add_engine(subject.engine, subject.threads, subject.flushes, compared)
    if all(spikes in (0, most) for spikes, most in spike_counts.values()):
        report.fail(layers[0].name, 0, "no layer fired (or all fired always), so nothing was shown")
    _check_beyond_input(subject, x, states, graph, bounds, report, seed, [check.subject for check in checks])
    report.untested = bounds.untested
    if report.passed and expected is not None:
        _check_card(subject.card, expected, report)
    for layer in layers:
        report.add_layer(layer)
        if not subject.shows_spikes:  # one division over all streams; a mean over streams may differ in the last bit
            layer.rate = float(np.divide(*spike_counts[layer.name]))
    for check in checks:
        check.finish(report)
        if report.passed and check.subject is not subject.runtime:
            _check_beyond_input(check.subject, x, states, graph, check.bounds, report, seed, None)
    return report


class EngineCheck:
    """The gate's checks of one engine that runs an artifact, next to those of the artifact itself.

    bounds  those of the artifact, whose calls are the same; an engine that rounds otherwise gets its own
    """

    def __init__(self, subject: Subject, graph: Graph, bounds: Bounds) -> None:
        self.subject, self.compared = subject, 0
        self.bounds = bounds if bounds.half == subject.half else Bounds(graph, subject.half)
        self.layers = [LayerReport(layer) for layer in bounds.neurons]

    def run(self, cases: Sequence[Case]) -> Iterator[Answer | Exception]:
        """Run calls of the engine, some in a row: its threads spin after a call, and take time from all else."""
        for first in range(0, len(cases), CALLS):
            yield from [self._call(case) for case in cases[first : first + CALLS]]

    def _call(self, case: Case) -> Answer | Exception:
        try:
            return self.subject.run_forced(case)
        except (CannotRun, PlifError) as problem:
            return problem

    def compare(self, case: Case, answer: Answer | Exception, report: Report) -> None:
        """Compare a call that the engine ran with the reference model."""
        if isinstance(answer, Exception):
            report.fail("states", case.step, f"{self.subject.signature}{answer}")
        else:
            self.compared += check_teacher_forced(self.subject, [case], self.bounds, report, self.layers, answer=answer)

    def finish(self, report: Report) -> None:
        """Add the engine to the report, which fails if no call of it could be compared to its end."""
        report.add_engine(str(self.subject.engine), self.subject.threads, self.subject.flushes, self.compared)
        if report.passed:
            require_compared(self.subject, self.compared, report)


def check_engine(
    subject: Subject, reference: Reference, x: Array, start: Sequence[State], report: Report, *, graph: Graph,
    seed: int = 0,
) -> None:  # fmt: skip
    """Run the parity proof's checks on an engine that runs an ONNX file which has passed the proof itself.

    The checks are start, teacher-forced, random spikes, faint states and rows. The card and the free runs are in the
    file's report.

    x [T, B, C, H, W] float32, the states of each stream {key: [1, ...]} and the graph, as in `check`. Adds to the
    file's report, and fails it.
    """
    if _check_start(subject, reference, report):
        check = EngineCheck(subject, graph, Bounds(graph, subject.half))
        for b, state in enumerate(start):
            cases = list(split_calls(reference.run(x[:, b : b + 1], state), subject.chunk))
            for case, answer in zip(cases, check.run(cases), strict=True):
                check.compare(case, answer, report)
        for layer in check.layers:
            report.add_layer(layer)
        check.finish(report)
        _check_beyond_input(subject, x, start, graph, check.bounds, report, seed)


def _check_beyond_input(
    subject: Subject, x: Array, start: Sequence[State], graph: Graph, bounds: Bounds, report: Report, seed: int,
    engines: Sequence[Subject] | None = (),
) -> None:  # fmt: skip
    """Check an artifact beyond the given input: several rows in a batch, random spikes, and the form of its calls.

    engines  those that are checked with it from faint states; None: it is itself such an engine
    """
    if report.passed:
        _compare_rows(subject, x, start, bounds, report)
    probe = load_from_parts("observers", "question of the gate")
    if probe is None:
        report.not_proved = list(dict.fromkeys([*report.not_proved, UNTESTED_WEIGHTS]))
    elif report.passed:
        runners = [] if engines is None else dict.fromkeys([subject, subject.runtime, *engines])
        probe(subject, graph, bounds, report, x, seed, list(runners))
    check_form = load_from_parts("writers", subject.card["form"])
    if check_form is not None and report.passed:
        check_form(subject, x, start, bounds, report)


def _check_start(subject: Subject, reference: Reference, report: Report) -> bool:
    """Check that a fresh session of an artifact has the model's states after a reset."""
    report.engine = subject.engine or report.engine
    try:
        initial, states = reference.initial(), subject.initial()
    except CannotRun as problem:  # a program that ends before its first request
        report.fail(problem.layer, 0, f"{subject.signature}{problem}")
        return False
    for layer in [layer for layer in reference.layers if states and layer not in states]:
        report.fail(layer, 0, f"{subject.signature}has no state of this layer, which the model has")
    for layer, state in states.items():
        for variable, v in state.items():
            target = initial.get(state_key(layer, variable))
            if target is None or v.shape[1:] != target.shape[1:]:
                shape = "nothing" if target is None else list(target.shape[1:])
                report.fail(layer, 0, f"{subject.signature}has a state {list(v.shape[1:])}, the model {shape}")
            elif not np.allclose(v, target, rtol=1e-6, atol=1e-6):
                text = f"starts at {v.flat[0]:g}, the model at {target.flat[0]:g}"
                report.fail(layer, 0, subject.signature + text)
    return report.passed


def _run_free(subject: Subject, history: History, report: Report) -> None:
    """Run an artifact on its own spikes, and count the spikes that differ from the reference run."""
    votes, voters = np.zeros((2, *history.y.shape[2:])), int(subject.card["output"].get("voters", 1))
    states = None
    for case in split_calls(history, subject.chunk):
        try:
            answer = subject.run_single(case.x, case.start if states is None else states)
        except CannotRun as problem:  # a file with inconsistent state shapes cannot be stepped
            report.fail(problem.layer, case.step, f"{subject.signature}{problem}")
            return
        states = answer.after
        for layer in report.layers:
            for k, observed in answer.layers[layer.name].items():
                t, target = case.step, case.expected[layer.name][k]
                if observed.s is None:  # for an engine, count the membranes that differ after the call
                    mismatches = sum(
                        count_mismatches(v, target.after[variable]) for variable, v in observed.after.items()
                    )
                elif target.values == "membrane":
                    mismatches = 0
                else:
                    t, mismatches = t + k, int(np.sum(differing_spikes(observed.s.reshape(target.s.shape), target)))
                layer.free_running_mismatches += mismatches
                if mismatches:
                    report.record_divergence(layer.name, t)
        for i, y in enumerate((answer.y, case.y)):
            votes[i] += to_spike_counts(y[:, 0], voters).sum(axis=0)
        if count_mismatches(answer.y, case.y):
            report.record_divergence("output", case.step)
    if votes.ndim > 2:  # maps have no decision
        return
    report.decisions += 1
    report.decisions_changed += int(votes[0].argmax() != votes[1].argmax())


def _compare_rows(subject: Subject, x: Array, start: Sequence[State], bounds: Bounds, report: Report) -> None:
    """Check that several streams in one batch of an artifact give the same as each stream alone.

    Each step must agree within the largest bound of the earlier checks. The largest batch runs one call, the smallest
    several.
    """
    most_steps = subject.chunk if subject.unrolled else min(subject.rows_steps, len(x))
    sizes = (subject.batch,) if subject.batch else tuple(filter(subject.accepts_rows, ROWS_TOGETHER))
    large = bounds.weights > LARGE
    for count in sizes:
        steps = most_steps if count == sizes[-1] else subject.chunk
        # each stream is another part of the stimulus, shifted sideways, with shifted membranes
        frames = [np.roll(x.take(range(b, b + steps), 0, mode="wrap")[:, b % x.shape[1]], b, -1) for b in range(count)]
        states = [{key: np.roll(v, b, -1) for key, v in start[b % len(start)].items()} for b in range(count)]
        try:
            stacked = {key: np.concatenate([state[key] for state in states]) for key in states[0]}
            together = run_calls(subject, subject.run_call, np.stack(frames, axis=1), stacked)
            for b in [0, 1, 2, count - 1][:count] if large else range(count):
                alone = run_calls(subject, subject.run_single, frames[b][:, None], states[b])
                row = [values[b : b + 1] for values in together]
                for layer, name, mismatches in find_mismatches(subject, row, alone, steps, bounds):
                    text = f"a stream beside {count - 1} others gives other {name} than alone ({mismatches} differ)"
                    report.fail(layer, 0, subject.signature + text)
                    return
        except CannotRun as problem:
            report.fail(problem.layer, 0, f"{subject.signature}{problem}")
            return
        report.rows = max(report.rows, count)


def find_mismatches(
    subject: Subject, actual: list[Array], expected: list[Array], steps: int, bounds: Bounds
) -> Iterator[tuple[str, str, int]]:
    """Yield (layer, name, count) of the states and outputs that differ between two runs of an artifact."""
    names = [*((record["layer"], record["output"]) for record in subject.card["states"]), ("output", "y")]
    for (layer, name), values, target in zip(names, actual, expected, strict=True):
        if mismatches := count_mismatches(values, target, steps * bounds.largest.get(layer, 0.0)):
            yield layer, name, mismatches


def run_calls(subject: Subject, call: Callable[[Array, States], Answer], x: Array, start: State) -> list[Array]:
    """Run an artifact on x [T, rows, ...] call by call, from a start state {key: [rows, ...]}.

    Returns the states after the last call, in the order of the card, and all outputs, each [rows, ...].
    """
    states = subject.group_states(start[state_key(layer, variable)] for layer, variable in subject.states)
    outputs = []
    for t in range(0, len(x), subject.chunk):
        answer = call(x[t : t + subject.chunk], states)
        states = answer.after
        outputs.append(answer.y)
    return [*(states[layer][variable] for layer, variable in subject.states), np.concatenate(outputs).swapaxes(0, 1)]


def _check_card(card: Card, expected: Card, report: Report) -> None:
    """Compare every field of an artifact's metadata card that the model determines with the model."""
    shared = {key: value for key, value in card.items() if key in expected}
    for difference in compare_cards(shared, expected):
        if not difference.rounding:
            report.fail("card", 0, str(difference))
            return
