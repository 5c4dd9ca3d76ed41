"""Random spikes: the question about weights and thresholds, which no recording answers.

A stimulus leaves many inputs of a layer silent, and a weight on a silent input may be anything. So the neurons are drawn into
three parts, and each layer runs once with the spikes of each part, so that every weight is used; and once from membranes that
put h a few bounds beside the threshold, so that a threshold that is off by more than rounding shows itself, and exactly on it
where arithmetic is exact, so that >= is not >. Some membranes lie on the threshold themselves, since there are neurons that
compare before they charge. The judge is the interpreter: on the graph as it was read, before any pass, or, with rounded weights,
on the graph after all of them.

A sliced file takes any spikes in any step, from random membranes. An engine takes none: its membranes are chosen so that the
neurons of the part fire in the first step of a call, as far as a membrane can make them; and since its membranes then decide
which spikes there are, those beside the threshold have a round of their own. A neuron that fires forgets its current, so there
each part of a layer also meets the next part of the layer before it: whatever fires, what reads it is once silent.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from plif_export.proof.arithmetic import interpret
from plif_export.proof.arithmetic.bounds import Bounds, Step
from plif_export.proof.arithmetic.interpret import Array, Inputs, LayerStep, State
from plif_export.proof.forced import require_shown, teacher_forced
from plif_export.proof.reference import GraphReference
from plif_export.proof.report import Report
from plif_export.proof.subjects.subject import Case, Subject, cases
from runtime.model.graph import Graph, Node, state_key

COUNTS = 0.3  # mean of the random input
PARTS = 3  # the neurons of a layer are drawn into as many
# (the part of the input that is not silent, how many parts further each layer fires, whether membranes are beside the threshold)
ROUNDS_OF_A_FILE = ((0, 0, False), (1, 0, True), (2, 0, False))
ROUNDS_OF_AN_ENGINE = (*((part, shift, False) for shift in (0, 1) for part in range(PARTS)), (PARTS, 0, True))
BESIDE = (1.5, 4)  # bounds beside the threshold, both sides
EXACTLY = 0.5  # of the neurons that can be exactly on the threshold are
AT_THRESHOLD = 1 / 16  # of the membranes lie on the threshold before the step


def random_spikes(subject: Subject, graph: Graph, bounds: Bounds, report: Report, rng: np.random.Generator) -> None:
    """Every weight and threshold of every layer of graph, on inputs that use them all. Adds to report, and fails it."""
    drawn = subject.chunk if subject.shows_spikes else 1  # steps of a call whose spikes can be chosen
    part = {n.layer: rng.integers(0, PARTS, (drawn, 1, *n.shape)).astype(np.int8) for n in graph.neurons}
    part_of_x = rng.integers(0, PARTS, graph.input_shape)
    reference = GraphReference(graph)
    for turn, shift, near in ROUNDS_OF_A_FILE if subject.shows_spikes else ROUNDS_OF_AN_ENGINE:
        counts = rng.poisson(COUNTS, (subject.chunk, 1, *graph.input_shape)) + (part_of_x == turn)
        x = (np.broadcast_to(counts[:1], counts.shape) if subject.static else counts).astype(np.float32)
        fires = {
            layer: which == (turn if near else (turn + shift * depth) % PARTS)
            for depth, (layer, which) in enumerate(part.items(), 1)
        }
        case = _drawn(subject, bounds, x, fires, near, rng)
        if not subject.shows_spikes:  # what happens from these membranes on, in all steps of the call
            start = {state_key(layer, k): v for layer, (state,) in case.before.items() for k, v in state.items()}
            (case,) = cases(reference.run(x, start), subject.chunk)
        shown = teacher_forced(subject, [case], bounds, report, where="on random spikes, ")
        require_shown(subject, shown, report)
        report.probed += sum(step.h.size for steps in case.expected.values() for step in steps.values())


def _drawn(
    subject: Subject, bounds: Bounds, x: Array, fires: dict[str, Array], near: bool, rng: np.random.Generator
) -> Case:
    """The first steps of a call on x [steps, 1, ...] in which the neurons `fires` {layer: [steps, 1, ...] bool} fire.

    near  all membranes are put beside the threshold, whatever then fires
    """
    chosen_steps = sorted({0, len(next(iter(fires.values()))) - 1})  # the first and the last step stand for all
    spikes = {layer: list(chosen.astype(np.float32)) for layer, chosen in fires.items()}
    before = {layer: [_random_state(node, rng) for _ in fires[layer]] for layer, node in bounds.neurons.items()}
    if near:
        before = {layer: [_partly_whole(state, rng) for state in states] for layer, states in before.items()}
    expected: dict[str, dict[int, LayerStep]] = {layer: {} for layer in before}
    case = Case(x, spikes, before, expected, y=np.empty((0, 1, 0), np.float32))
    known = {k: {layer: fired[k] for layer, fired in spikes.items()} for k in chosen_steps}
    steps = {k: bounds.step(x[k], known[k], partial(case.held, k)) for k in chosen_steps}
    for layer, node in bounds.neurons.items():
        for k in chosen_steps:
            current = steps[k].current(node)
            if not subject.shows_spikes:
                before[layer][k] = _firing(node, current, before[layer][k], fires[layer][k], rng)
            if near:
                before[layer][k] = _beside_threshold(node, steps[k], before[layer][k], rng)
            step = interpret.neuron(node, current, before[layer][k])
            expected[layer][k] = step
            if not subject.shows_spikes:
                spikes[layer][k] = known[k][layer] = step.s
    if any(node.op == "State" for node in bounds.nodes.values()):  # a layer may read states that were moved after it
        for k in chosen_steps:
            settled = bounds.step(x[k], known[k], partial(case.held, k))
            for layer, node in bounds.neurons.items():
                expected[layer][k] = interpret.neuron(node, settled.current(node), before[layer][k])
    return case


def _partly_whole(state: State, rng: np.random.Generator) -> State:
    """A state in which half of all but the membranes are whole: what is drawn at random is rarely a multiple of anything."""
    whole = rng.random(state["v"].shape) < EXACTLY
    return {name: v if name == "v" else np.where(whole, np.rint(v), v) for name, v in state.items()}


def _random_state(node: Node, rng: np.random.Generator) -> State:
    """Each state variable of a layer anywhere from somewhat below its start to the threshold, [1, ...] float32; to as far above
    its start where the layer compares with something else than a number, or the threshold is below it."""
    top = float(node.attrs["v_threshold"])
    state = {}
    for name, start in node.initial.items():
        span = abs(top - start) or 1.0
        high = top if start < top else start + span
        state[name] = rng.uniform(start - 0.5 * span, high, (1, *node.shape)).astype(np.float32)
    return state


def random_start(graph: Graph, rng: np.random.Generator) -> State:
    """The start of one stream, {key: [1, ...]} float32: a random state of every layer."""
    states = [(n.layer, _random_state(n, rng)) for n in graph.neurons]
    return {state_key(layer, name): values for layer, state in states for name, values in state.items()}


def _firing(node: Node, x: Inputs, state: State, fires: Array, rng: np.random.Generator) -> State:
    """The state with v moved so that the current x makes h cross the threshold in the neurons `fires`, and in no others."""
    top = float(node.attrs["v_threshold"])
    above, below = rng.uniform(0.05, 0.5, fires.shape), rng.uniform(-1.0, -0.05, fires.shape)
    return with_h(node, x, state, top + np.where(fires, above, below) * max(1.0, abs(top)))


def _beside_threshold(node: Node, step: Step, state: State, rng: np.random.Generator) -> State:
    """The state with v moved so that the current of this step puts h a few bounds above or below the threshold, or, where
    that is exact, on it."""
    top, x, shape = float(node.attrs["v_threshold"]), step.current(node), (1, *node.shape)
    on = with_h(node, x, state, np.full(shape, top))
    exactly = (step.neuron(node.layer, on).h == 0) & (rng.random(shape) < EXACTLY)
    exactly &= interpret.neuron(node, x, on).h == np.float32(top)
    distance = step.neuron(node.layer, on, exact=False).h * rng.uniform(*BESIDE, shape) * rng.choice((-1, 1), shape)
    beside = with_h(node, x, state, top + distance)
    v = np.where(exactly, on["v"], beside["v"])
    return {**state, "v": np.where(rng.random(shape) < AT_THRESHOLD, np.float32(top), v)}


def with_h(node: Node, x: Inputs, state: State, wanted: Array) -> State:
    """The state with v moved so that the current x makes h what is wanted, where h depends on v."""
    wide = {name: value.astype(np.float64) for name, value in state.items()}

    def h_at(v: Array) -> Array:
        return interpret.neuron(node, x, {**wide, "v": v}, np.float64).h

    h = h_at(wide["v"])
    slope = h - h_at(wide["v"] - 1)  # downwards, where no kind of neuron resets
    with np.errstate(divide="ignore", invalid="ignore"):
        v = wide["v"] + (wanted - h) / slope
    usable = np.isfinite(v) & (np.abs(slope) > 1e-3)
    return {**state, "v": np.where(usable, v, wide["v"]).astype(np.float32)}
