"""Random spikes: checks of the weights and thresholds that no recording tests.

A stimulus leaves many inputs of a layer silent, and a weight on a silent input may be anything. And if many inputs
fire at once, a small error of one weight is lost in the rounding of their sum. So each layer of a file gets rows of
spikes in which about ACTIVE inputs of a neuron fire, every input in some row. Its membranes are then at rest, so that
only the sum counts.

Three checks are about neurons. First, nobody fires and membranes are far below the threshold. Second, a part fires,
and membranes put h a few bounds above or below the threshold, or exactly on it where arithmetic is exact, so that >=
is not >; some membranes are on the threshold themselves, since some neurons compare before they charge. Third,
everybody fires, from far above. In the second check every layer with a reachable threshold fires, whatever the
stimulus did.

The judge is the interpreter: on the graph as it was read, before any pass, or, with rounded weights, on the graph
after all.

An engine takes no spikes: its membranes are chosen so that these neurons fire in the first step of a call, as far as
a membrane can make them. A neuron that fires forgets its current, so there every other layer is silent while those
before it fire in PARTS parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import prod

import numpy as np

from plif_export.core.proof.arithmetic import interpret
from plif_export.core.proof.arithmetic.bounds import Bounds, StepBounds
from plif_export.core.proof.arithmetic.interpret import Array, Inputs, LayerStep, State, solve_v_for_h
from plif_export.core.proof.forced import check_teacher_forced, require_compared
from plif_export.core.proof.reference import GraphReference, draw_state
from plif_export.core.proof.report import Report
from plif_export.core.proof.subjects.subject import Case, Subject, split_calls
from plif_export.observers.random_states.from_reset import check_from_reset
from runtime.core.model.graph import Graph, Node, state_key

COUNTS = 0.3  # mean of the random input
ACTIVE = 8  # inputs of a neuron that fire at once
SEEN = 4  # how often each weight is then used
MOST_PRODUCTS = 2**28  # of all rows of a layer; above it more inputs fire at once
PARTS = 8  # groups of neurons that fire in turn, if all layers are tested at once
FAR = 1000.0  # thresholds, from membranes far away
NEAR_BOUNDS = (1.5, 4)  # bounds above and below the threshold
EXACTLY = 0.5  # share of the neurons that can be exactly on the threshold
AT_THRESHOLD = 1 / 16  # share of the membranes that are on the threshold before the step
AT_REST, NEAR_THRESHOLD, FAR_AWAY = range(3)  # where membranes are before the step

FAINT = 2.0 ** np.array(
    [-140, -126, -100]
)  # a subnormal number, the smallest normal one, and one that decays to it in some steps

OUTPUT = ""  # in place of a layer's name

Fires = dict[str, Array]  # {layer: [steps, rows, ...] bool}


def check_random_states(
    subject: Subject, graph: Graph, bounds: Bounds, report: Report, x: Array, seed: int, runners: Sequence[Subject]
) -> None:
    """Test an artifact from random spikes, from reset, and from nearly zero states; fail the proof's report on errors.

    x [T, B, ...]: the stimulus of the gate;  runners: to be tested from nearly zero states
    """
    rng = np.random.default_rng(seed)
    check_random_spikes(subject, graph, bounds, report, rng)
    if report.passed:
        check_from_reset(subject, graph, bounds, report, rng)
    if report.passed:
        check_faint_states(runners, graph, bounds, report, x)


def check_random_spikes(
    subject: Subject, graph: Graph, bounds: Bounds, report: Report, rng: np.random.Generator
) -> None:
    """Test every weight and threshold of every layer of an artifact, on random spikes that use them all.

    Adds to the report, and fails it.
    """
    compared = 0
    for case in _draw_cases(subject, graph, bounds, rng):
        compared += check_teacher_forced(subject, [case], bounds, report, prefix="on random spikes, ")
        report.probed += sum(step.h.size for steps in case.expected.values() for step in steps.values())
        if not report.passed:
            return
    require_compared(subject, compared, report)


def check_faint_states(runners: Sequence[Subject], graph: Graph, bounds: Bounds, report: Report, x: Array) -> None:
    """Test calls of an artifact from states near or below the smallest normal float, without input and on x.

    Each runner starts from FAINT, of both signs, and 0: each in every neuron, or in every seventh if a call takes one
    row. Adds to the report, and fails it.

    runners  the artifact and the engines that run it, with equal calls
    """
    values = np.array([0, *FAINT, *-FAINT], np.float32)
    limits = {runner: bounds if runner.half == bounds.half else Bounds(graph, runner.half) for runner in runners}
    groups: dict[tuple[int, ...], list[Subject]] = {}
    for runner in runners:
        together = runner.forces_rows and runner.chunk == 1 and runner.accepts_rows(len(values))
        for first in [tuple(range(len(values)))] if together else [(0,), (3,)]:
            groups.setdefault(first, []).append(runner)
    for first, group in groups.items():
        offsets, chunk = np.array(first)[:, None], group[0].chunk
        start = {
            state_key(n.layer, name): values[(offsets + np.arange(prod(n.shape))) % len(values)].reshape(-1, *n.shape)
            for n in graph.neurons
            for name in n.initial
        }
        for frames in (np.zeros_like(x[:chunk, :1]), x[:chunk, :1]):
            (case,) = split_calls(GraphReference(graph).run(frames.repeat(len(first), 1), start), chunk)
            for runner in group:
                check_teacher_forced(runner, [case], limits[runner], report, prefix="from faint states, ")
                if not report.passed:
                    return


def _draw_cases(subject: Subject, graph: Graph, bounds: Bounds, rng: np.random.Generator) -> Iterator[Case]:
    for share, membranes in ((0, FAR_AWAY), (1 / 3, NEAR_THRESHOLD), (1, FAR_AWAY)):
        x = (rng.poisson(COUNTS, (subject.chunk, 1, *graph.input_shape)) + (share == 1)) * (share > 0)
        yield draw_all_layers(subject, graph, bounds, x, share, membranes, rng)
    reaches = {n.layer: find_reach(graph, n.inputs) for n in graph.neurons}
    reaches[OUTPUT] = find_reach(graph, [graph.output])
    if subject.tests_layers:
        for layer, reach in reaches.items():
            if reach.parts and reach.are_spikes:
                yield _draw_layer_case(subject, graph, bounds, layer, reach, rng)
        if all(reach.are_spikes for reach in reaches.values()):
            return
    steps, layers = _free_steps(subject), [n.layer for n in graph.neurons]
    parts = max(3, PARTS // subject.chunk)
    rounds = [(part, odd) for odd in ((None,) if subject.shows_spikes else (0, 1)) for part in range(parts)]
    together = subject.forces_rows and subject.chunk == 1 and subject.accepts_rows(len(rounds))
    drawn = {}
    for name, shape in {graph.input: graph.input_shape, **{n.name: n.shape for n in graph.neurons}}.items():
        block = max((reach.block for reach in reaches.values() if name in reach.sources), default=1)
        drawn[name] = _draw_groups(shape, parts, block, rng)
    for rows in [rounds] if together else [[pair] for pair in rounds]:
        x, *fired = (
            np.stack([(groups == part) & (odd in (None, depth % 2)) for part, odd in rows])[None]
            for depth, groups in enumerate(drawn.values())
        )
        fires = {layer: pair.repeat(steps, 0) for layer, pair in zip(layers, fired, strict=True)}
        yield _build_case(subject, graph, bounds, x.repeat(subject.chunk, 0), fires, AT_REST, rng)


def draw_all_layers(
    subject: Subject, graph: Graph, bounds: Bounds, x: Array, share: float, membranes: int, rng: np.random.Generator
) -> Case:
    """Make a call of a network under test on x [steps, 1, ...], with random states, in which a share of all neurons fires."""
    fires = {n.layer: rng.random((_free_steps(subject), 1, *n.shape)) < share for n in graph.neurons}
    return _build_case(subject, graph, bounds, x, fires, membranes, rng)


def _free_steps(subject: Subject) -> int:
    """Return in how many steps of an artifact's call a test can choose the spikes."""
    return subject.chunk if subject.shows_spikes else 1


def _draw_layer_case(
    subject: Subject, graph: Graph, bounds: Bounds, layer: str, reach: InputReach, rng: np.random.Generator
) -> Case:
    """Make a random test call for one layer, or the output, on rows of few spikes."""
    steps = subject.chunk
    n = reach.rows if subject.static else -(-reach.rows // steps)

    def drawn(name: str) -> Array:
        return draw_spike_rows(graph.shapes[name], reach, steps * n, rng).reshape(steps, n, *graph.shapes[name])

    read = {name: drawn(name) for name in sorted(reach.sources)}
    x = read.pop(graph.input, np.zeros((steps, n, *graph.input_shape), bool))
    fires = {bounds.nodes[name].layer: fired for name, fired in read.items()}
    if layer != OUTPUT:
        fires.setdefault(layer, np.zeros((steps, n, *bounds.neurons[layer].shape), bool))
    return _build_case(subject, graph, bounds, x, fires, AT_REST, rng, only=layer)


@dataclass
class InputReach:
    """The spikes that a layer's input depends on, and the numbers by which a test draws these at random.

    sources  the nodes with spikes that the layer reads, and the input
    parts    the number of groups that fire in turn, so that ACTIVE spikes meet in a sum; 0 without weights
    rows     the number of groups that test every weight
    block    pixels of one block fire together: a pool joins them
    """

    sources: set[str] = field(default_factory=set)
    parts: int = 0
    rows: int = 0
    block: int = 1
    are_spikes: bool = True  # False: a state or analog value, which belongs to the step of its layer


def find_reach(graph: Graph, names: Sequence[str]) -> InputReach:
    reach, pending, read = InputReach(), list(names), 0
    while pending:
        name = pending.pop()
        node = graph[name] if name != graph.input else None
        if node is None or node.op in ("Neuron", "State"):
            reach.sources.add(name)
            reach.are_spikes &= node is None or (node.op == "Neuron" and node.values == "spikes")
            continue
        pending += node.inputs
        for weight in node.params.values():
            if np.ndim(weight) > 1 and node.inputs:  # a Constant reads nothing
                fan, places = weight[0].size, max(1, prod(node.shape) // len(weight))
                most = max(3, MOST_PRODUCTS // (fan * prod(node.shape)))
                parts = min(-(-fan // ACTIVE), max(1, most * places // SEEN) if places > 1 else most)
                reach.parts = max(reach.parts, parts)
                reach.rows = max(reach.rows, min(parts, -(-SEEN * parts // places)))
                read = max(read, prod(graph.shapes[node.inputs[0]]))
    of = max((graph.shapes[name] for name in reach.sources), key=prod, default=())
    if read and len(of) > 1:
        reach.block = max(1, round((prod(of) / read) ** (1 / (len(of) - 1))))
    return reach


def draw_spike_rows(shape: Sequence[int], reach: InputReach, rows: int, rng: np.random.Generator) -> Array:
    """Choose at random which neurons fire in each row of a test, bool [rows, *shape]: one group in each."""
    turn = np.arange(rows) * (reach.parts // reach.rows) % reach.parts  # adjacent groups have the same channels
    fired: Array = _draw_groups(shape, reach.parts, reach.block, rng) == turn.reshape(-1, *[1] * len(shape))
    return fired


def _draw_groups(shape: Sequence[int], parts: int, block: int, rng: np.random.Generator) -> Array:
    """Assign each neuron to a random group, int [*shape], with groups of equal size in each channel."""
    coarse = [-(-size // block) for size in shape[1:]]
    first = rng.permutation(shape[0])[:, None]
    drawn = (rng.permuted(np.tile(np.arange(prod(coarse)), (shape[0], 1)), axis=1) + first) % parts
    groups: Array = drawn.reshape(shape[0], *coarse)
    for axis, size in enumerate(shape[1:], 1):
        groups = groups.repeat(block, axis).take(range(size), axis)
    return groups


def _build_case(
    subject: Subject, graph: Graph, bounds: Bounds, x: Array, fires: Fires, membranes: int, rng: np.random.Generator,
    only: str | None = None,
) -> Case:  # fmt: skip
    """Build a test call on x [steps, rows, ...] in which the given neurons fire in the first steps.

    only: one layer (or the output) instead of all
    """
    x = np.asarray(np.broadcast_to(x[:1], x.shape) if subject.static else x, np.float32)
    steps, rows = next(iter(fires.values())).shape[:2] if fires else x.shape[:2]
    # for all layers, only the first and the last step are drawn
    all_differ = only == OUTPUT or (only is not None and not subject.static)
    chosen = range(steps) if all_differ else sorted({0, steps - 1})
    spikes = {layer: list(mask.astype(np.float32)) for layer, mask in fires.items()}
    nodes = {layer: node for layer, node in bounds.neurons.items() if only in (None, layer)}
    before = {
        layer: [_rest_state(node, rows) if membranes == AT_REST else draw_state(node, rng, rows) for _ in range(steps)]
        for layer, node in nodes.items()
    }
    if membranes == NEAR_THRESHOLD:
        before = {layer: [_round_half(state, rng) for state in states] for layer, states in before.items()}
    expected: dict[str, dict[int, LayerStep]] = {layer: {} for layer in before}
    case = Case(x, spikes, before, expected, y=np.empty((0, 1, 0), np.float32))
    step_spikes = {k: {layer: fired[k] for layer, fired in spikes.items()} for k in chosen}
    step_bounds = {k: bounds.step(x[k], step_spikes[k], partial(case.state_at, k)) for k in chosen}
    for layer, node in nodes.items():
        for k in chosen:
            current, state = step_bounds[k].input_current(node), before[layer][k]
            if membranes == FAR_AWAY or not subject.shows_spikes:
                state = _make_fire(node, current, state, fires[layer][k], membranes == FAR_AWAY, rng)
            if membranes == NEAR_THRESHOLD:
                state = _move_near_threshold(node, step_bounds[k], state, rng)
            before[layer][k] = state
            step = expected[layer][k] = interpret.step_neuron(node, current, state)
            if not subject.shows_spikes:
                spikes[layer][k] = step_spikes[k][layer] = step.s
    if only == OUTPUT:
        return Case(x, spikes, before, expected, np.stack([step_bounds[k].value(graph.output) for k in chosen]))
    if any(node.op == "State" for node in graph):  # a layer may read states that were changed after it
        for k in chosen:
            final_step = bounds.step(x[k], step_spikes[k], partial(case.state_at, k))
            for layer, node in nodes.items():
                expected[layer][k] = interpret.step_neuron(node, final_step.input_current(node), before[layer][k])
    if subject.shows_spikes:
        return case
    # run the reference from these membranes, for all steps of the call
    start = {state_key(layer, name): v for layer, (state,) in before.items() for name, v in state.items()}
    (case,) = split_calls(GraphReference(graph).run(x, start), subject.chunk)
    return case


def _rest_state(node: Node, rows: int) -> State:
    return {name: np.full((rows, *node.shape), start, np.float32) for name, start in node.initial.items()}


def _round_half(state: State, rng: np.random.Generator) -> State:
    """Round a random half of a layer's state variables, except the membranes, to whole numbers.

    Random numbers are rarely multiples of anything.
    """
    rounded = rng.random(state["v"].shape) < EXACTLY
    return {name: v if name == "v" else np.where(rounded, np.rint(v), v) for name, v in state.items()}


def _make_fire(node: Node, x: Inputs, state: State, fires: Array, far: bool, rng: np.random.Generator) -> State:
    """Move the membranes v so that the current x makes exactly the neurons `fires` cross the threshold.

    Neurons that already do so keep v. far: all move, half of them up to FAR thresholds away, where everything stays
    finite
    """
    top = float(node.attrs["v_threshold"])
    above, below = rng.uniform(0.05, 0.5, fires.shape), rng.uniform(-1.0, -0.05, fires.shape)
    away = np.where(rng.random(fires.shape) < 0.5, FAR ** rng.random(fires.shape), 1) if far else 1
    moved = solve_v_for_h(node, x, state, top + np.where(fires, above, below) * away * max(1.0, abs(top)))
    fired_step = interpret.step_neuron(node, x, moved if far else state)
    with np.errstate(invalid="ignore"):
        bounded = np.all(
            [np.abs(v) < 1e3 * FAR * max(1.0, abs(top)) for v in (fired_step.h, *fired_step.after.values())], axis=0
        )
    keep = ~bounded if far else (fired_step.s > 0.5) == fires
    return {**state, "v": np.where(keep, state["v"], moved["v"])}


def _move_near_threshold(node: Node, step: StepBounds, state: State, rng: np.random.Generator) -> State:
    """Move the membranes v so that h lands just above or below the threshold, by a few rounding bounds.

    Where arithmetic is exact, h may be exactly on it.
    """
    top, x, shape = float(node.attrs["v_threshold"]), step.input_current(node), state["v"].shape
    on = solve_v_for_h(node, x, state, np.full(shape, top))
    exactly = (step.neuron_bound(node.layer, on).h == 0) & (rng.random(shape) < EXACTLY)
    exactly &= interpret.step_neuron(node, x, on).h == np.float32(top)
    distance = (
        step.neuron_bound(node.layer, on, exact=False).h * rng.uniform(*NEAR_BOUNDS, shape) * rng.choice((-1, 1), shape)
    )
    beside = solve_v_for_h(node, x, state, top + distance)
    v = np.where(exactly, on["v"], beside["v"])
    return {**state, "v": np.where(rng.random(shape) < AT_THRESHOLD, np.float32(top), v)}
