"""Random spikes: the questions about weights and thresholds, which no recording answers.

A stimulus leaves many inputs of a layer silent, and a weight on a silent input may be anything. And where many inputs fire at
once, a small error of one weight is lost in the rounding of their sum. So each layer of a file gets rows of spikes in which about
ACTIVE inputs of a neuron fire, every input in some row. Its membranes are then at rest, so that the sum is all there is.

Three questions are about neurons: nobody fires and membranes are far below the threshold; a part fires, and membranes are put so
that h is a few bounds beside the threshold, or exactly on it where arithmetic is exact, so that >= is not >, and some on the
threshold themselves, since there are neurons that compare before they charge; everybody fires, from far above. In the
second every layer whose threshold can be reached fires, whatever the stimulus did.

The judge is the interpreter: on the graph as it was read, before any pass, or, with rounded weights, on the graph after all.

An engine takes no spikes: its membranes are chosen so that these neurons fire in the first step of a call, as far as a membrane
can make them. A neuron that fires forgets its current, so there every other layer is silent while those before it fire in
PARTS parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import prod

import numpy as np

from plif_export.core.proof.arithmetic import interpret
from plif_export.core.proof.arithmetic.bounds import Bounds, Step
from plif_export.core.proof.arithmetic.interpret import Array, Inputs, LayerStep, State, with_h
from plif_export.core.proof.forced import require_shown, teacher_forced
from plif_export.core.proof.reference import GraphReference, random_state
from plif_export.core.proof.report import Report
from plif_export.core.proof.subjects.subject import Case, Subject, cases
from runtime.core.model.graph import Graph, Node, state_key

COUNTS = 0.3  # mean of the random input
ACTIVE = 8  # inputs of a neuron that fire at once
SEEN = 4  # how often a weight is then used, where one place of several would do
MOST_PRODUCTS = 2**28  # of a layer's rows; beyond them more inputs fire at once
PARTS = 8  # in which the neurons of a layer fire where all layers are asked at once
FAR = 1000.0  # thresholds, from membranes far away
BESIDE = (1.5, 4)  # bounds beside the threshold, both sides
EXACTLY = 0.5  # of the neurons that can be exactly on the threshold are
AT_THRESHOLD = 1 / 16  # of the membranes lie on the threshold before the step
AT_REST, BESIDE_THRESHOLD, FAR_AWAY = range(3)  # where membranes are before the step

FAINT = 2.0 ** np.array(
    [-140, -126, -100]
)  # a subnormal number, the smallest that is none, and one that fades in some steps

OUTPUT = ""  # in place of a layer's name

Fires = dict[str, Array]  # {layer: [steps, rows, ...] bool}


def ask(subject: Subject, graph: Graph, bounds: Bounds, report: Report, x: Array, seed: int) -> None:
    """What the gate asks; x [T, B, ...] is its stimulus. Adds to report, and fails it."""
    random_spikes(subject, graph, bounds, report, np.random.default_rng(seed))
    if report.passed:
        faint_states(subject, graph, bounds, report, x)


def random_spikes(subject: Subject, graph: Graph, bounds: Bounds, report: Report, rng: np.random.Generator) -> None:
    """Every weight and threshold of every layer of graph, on inputs that use them all. Adds to report, and fails it."""
    shown = 0
    for case in _questions(subject, graph, bounds, rng):
        shown += teacher_forced(subject, [case], bounds, report, where="on random spikes, ")
        report.probed += sum(step.h.size for steps in case.expected.values() for step in steps.values())
        if not report.passed:
            return
    require_shown(subject, shown, report)


def faint_states(subject: Subject, graph: Graph, bounds: Bounds, report: Report, x: Array) -> None:
    """Calls without input and on the first of x [T, B, ...], by the subject and by the runtime, from FAINT, of both signs, and 0:
    each in every neuron, or in every seventh where a call takes one row. Adds to report, and fails it."""
    values = np.array([0, *FAINT, *-FAINT], np.float32)
    for asked in {subject: None, subject.runtime: None}:
        together = asked.forces_rows and asked.chunk == 1 and asked.fits(len(values))
        for first in [range(len(values))] if together else [[0], [3]]:
            turns = np.array(first)[:, None]
            start = {
                state_key(n.layer, name): values[(turns + np.arange(prod(n.shape))) % len(values)].reshape(-1, *n.shape)
                for n in graph.neurons
                for name in n.initial
            }
            for frames in (np.zeros_like(x[: asked.chunk, :1]), x[: asked.chunk, :1]):
                history = GraphReference(graph).run(frames.repeat(len(turns), 1), start)
                teacher_forced(asked, cases(history, asked.chunk), bounds, report, where="from faint states, ")
                if not report.passed:
                    return


def _questions(subject: Subject, graph: Graph, bounds: Bounds, rng: np.random.Generator) -> Iterator[Case]:
    for share, membranes in ((0, FAR_AWAY), (1 / 3, BESIDE_THRESHOLD), (1, FAR_AWAY)):
        x = (rng.poisson(COUNTS, (subject.chunk, 1, *graph.input_shape)) + (share == 1)) * (share > 0)
        yield of_all_layers(subject, graph, bounds, x, share, membranes, rng)
    reaches = {n.layer: what_reaches(graph, n.inputs) for n in graph.neurons}
    reaches[OUTPUT] = what_reaches(graph, [graph.output])
    if subject.asks_layers:
        for layer, reach in reaches.items():
            if reach.parts and reach.are_spikes:
                yield _of_a_layer(subject, graph, bounds, layer, reach, rng)
        if all(reach.are_spikes for reach in reaches.values()):
            return
    steps, layers = _steps(subject), [n.layer for n in graph.neurons]
    parts = max(3, PARTS // subject.chunk)
    rounds = [(part, odd) for odd in ((None,) if subject.shows_spikes else (0, 1)) for part in range(parts)]
    together = subject.forces_rows and subject.chunk == 1 and subject.fits(len(rounds))
    drawn = {}
    for name, shape in {graph.input: graph.input_shape, **{n.name: n.shape for n in graph.neurons}}.items():
        block = max((reach.block for reach in reaches.values() if name in reach.sources), default=1)
        drawn[name] = _parts(shape, parts, block, rng)
    for rows in [rounds] if together else [[one] for one in rounds]:
        x, *fired = (
            np.stack([(which == part) & (odd in (None, depth % 2)) for part, odd in rows])[None]
            for depth, which in enumerate(drawn.values())
        )
        fires = {layer: one.repeat(steps, 0) for layer, one in zip(layers, fired, strict=True)}
        yield _drawn(subject, graph, bounds, x.repeat(subject.chunk, 0), fires, AT_REST, rng)


def of_all_layers(
    subject: Subject, graph: Graph, bounds: Bounds, x: Array, share: float, membranes: int, rng: np.random.Generator
) -> Case:
    """A call on x [steps, 1, ...] in which this share of all neurons fires, from such membranes."""
    fires = {n.layer: rng.random((_steps(subject), 1, *n.shape)) < share for n in graph.neurons}
    return _drawn(subject, graph, bounds, x, fires, membranes, rng)


def _steps(subject: Subject) -> int:
    """Of a call: those whose spikes can be chosen."""
    return subject.chunk if subject.shows_spikes else 1


def _of_a_layer(
    subject: Subject, graph: Graph, bounds: Bounds, layer: str, reach: Reach, rng: np.random.Generator
) -> Case:
    """One layer, or what makes the output, on rows of few spikes."""
    steps = subject.chunk
    n = reach.rows if subject.static else -(-reach.rows // steps)

    def drawn(name: str) -> Array:
        return rows_of_spikes(graph.shapes[name], reach, steps * n, rng).reshape(steps, n, *graph.shapes[name])

    read = {name: drawn(name) for name in sorted(reach.sources)}
    x = read.pop(graph.input, np.zeros((steps, n, *graph.input_shape), bool))
    fires = {bounds.nodes[name].layer: fired for name, fired in read.items()}
    if layer != OUTPUT:
        fires.setdefault(layer, np.zeros((steps, n, *bounds.neurons[layer].shape), bool))
    return _drawn(subject, graph, bounds, x, fires, AT_REST, rng, asked=layer)


@dataclass
class Reach:
    """What is behind a layer's input: the nodes whose spikes it reads, and the input; in how many parts these fire so that ACTIVE
    of them meet in a sum, and how many of the parts show every weight (none where there are no weights). What lies in one block
    of so many pixels fires together: a pool joins it."""

    sources: set[str] = field(default_factory=set)
    parts: int = 0
    rows: int = 0
    block: int = 1
    are_spikes: bool = True  # a state, or a value of another kind, belongs to the step of its layer


def what_reaches(graph: Graph, names: Sequence[str]) -> Reach:
    found, todo, read = Reach(), list(names), 0
    while todo:
        name = todo.pop()
        node = graph[name] if name != graph.input else None
        if node is None or node.op in ("Neuron", "State"):
            found.sources.add(name)
            found.are_spikes &= node is None or (node.op == "Neuron" and node.values == "spikes")
            continue
        todo += node.inputs
        for weight in node.params.values():
            if np.ndim(weight) > 1:
                fan, places = weight[0].size, max(1, prod(node.shape) // len(weight))
                most = max(3, MOST_PRODUCTS // (fan * prod(node.shape)))
                wanted = min(-(-fan // ACTIVE), max(1, most * places // SEEN) if places > 1 else most)
                found.parts = max(found.parts, wanted)
                found.rows = max(found.rows, min(wanted, -(-SEEN * wanted // places)))
                read = max(read, prod(graph.shapes[node.inputs[0]]))
    of = max((graph.shapes[name] for name in found.sources), key=prod, default=())
    if read and len(of) > 1:
        found.block = max(1, round((prod(of) / read) ** (1 / (len(of) - 1))))
    return found


def rows_of_spikes(shape: Sequence[int], reach: Reach, rows: int, rng: np.random.Generator) -> Array:
    """bool [rows, *shape]: which neurons fire, a part of them in each row."""
    turn = np.arange(rows) * (reach.parts // reach.rows) % reach.parts  # parts beside each other have the same channels
    fired: Array = _parts(shape, reach.parts, reach.block, rng) == turn.reshape(-1, *[1] * len(shape))
    return fired


def _parts(shape: Sequence[int], parts: int, block: int, rng: np.random.Generator) -> Array:
    """int [*shape]: the part of each neuron, in each channel as many of one as of another."""
    coarse = [-(-size // block) for size in shape[1:]]
    first = rng.permutation(shape[0])[:, None]
    drawn = (rng.permuted(np.tile(np.arange(prod(coarse)), (shape[0], 1)), axis=1) + first) % parts
    found: Array = drawn.reshape(shape[0], *coarse)
    for axis, size in enumerate(shape[1:], 1):
        found = found.repeat(block, axis).take(range(size), axis)
    return found


def _drawn(
    subject: Subject, graph: Graph, bounds: Bounds, x: Array, fires: Fires, membranes: int, rng: np.random.Generator,
    asked: str | None = None,
) -> Case:  # fmt: skip
    """A call on x [steps, rows, ...] in whose first steps these neurons fire. asked: one layer (or the output) instead of all."""
    x = np.asarray(np.broadcast_to(x[:1], x.shape) if subject.static else x, np.float32)
    steps, rows = next(iter(fires.values())).shape[:2] if fires else x.shape[:2]
    # of all layers, the first and the last step stand for all
    all_differ = asked == OUTPUT or (asked is not None and not subject.static)
    chosen = range(steps) if all_differ else sorted({0, steps - 1})
    spikes = {layer: list(which.astype(np.float32)) for layer, which in fires.items()}
    nodes = {layer: node for layer, node in bounds.neurons.items() if asked in (None, layer)}
    before = {
        layer: [_at_rest(node, rows) if membranes == AT_REST else random_state(node, rng, rows) for _ in range(steps)]
        for layer, node in nodes.items()
    }
    if membranes == BESIDE_THRESHOLD:
        before = {layer: [_partly_whole(state, rng) for state in states] for layer, states in before.items()}
    expected: dict[str, dict[int, LayerStep]] = {layer: {} for layer in before}
    case = Case(x, spikes, before, expected, y=np.empty((0, 1, 0), np.float32))
    known = {k: {layer: fired[k] for layer, fired in spikes.items()} for k in chosen}
    made = {k: bounds.step(x[k], known[k], partial(case.held, k)) for k in chosen}
    for layer, node in nodes.items():
        for k in chosen:
            current, state = made[k].current(node), before[layer][k]
            if membranes == FAR_AWAY or not subject.shows_spikes:
                state = _firing(node, current, state, fires[layer][k], membranes == FAR_AWAY, rng)
            if membranes == BESIDE_THRESHOLD:
                state = _beside_threshold(node, made[k], state, rng)
            before[layer][k] = state
            step = expected[layer][k] = interpret.neuron(node, current, state)
            if not subject.shows_spikes:
                spikes[layer][k] = known[k][layer] = step.s
    if asked == OUTPUT:
        return Case(x, spikes, before, expected, np.stack([made[k].value(graph.output) for k in chosen]))
    if any(node.op == "State" for node in graph):  # a layer may read states that were moved after it
        for k in chosen:
            settled = bounds.step(x[k], known[k], partial(case.held, k))
            for layer, node in nodes.items():
                expected[layer][k] = interpret.neuron(node, settled.current(node), before[layer][k])
    if subject.shows_spikes:
        return case
    # what happens from these membranes on, in all steps of the call
    start = {state_key(layer, name): v for layer, (state,) in before.items() for name, v in state.items()}
    (case,) = cases(GraphReference(graph).run(x, start), subject.chunk)
    return case


def _at_rest(node: Node, rows: int) -> State:
    return {name: np.full((rows, *node.shape), start, np.float32) for name, start in node.initial.items()}


def _partly_whole(state: State, rng: np.random.Generator) -> State:
    """A state in which half of all but the membranes are whole: what is drawn at random is rarely a multiple of anything."""
    whole = rng.random(state["v"].shape) < EXACTLY
    return {name: v if name == "v" else np.where(whole, np.rint(v), v) for name, v in state.items()}


def _firing(node: Node, x: Inputs, state: State, fires: Array, far: bool, rng: np.random.Generator) -> State:
    """The state with v moved so that the current x makes h cross the threshold in the neurons `fires`, and in no others; those
    stay that do so already. far: all move, half of them up to FAR thresholds away, where everything stays a number."""
    top = float(node.attrs["v_threshold"])
    above, below = rng.uniform(0.05, 0.5, fires.shape), rng.uniform(-1.0, -0.05, fires.shape)
    away = np.where(rng.random(fires.shape) < 0.5, FAR ** rng.random(fires.shape), 1) if far else 1
    moved = with_h(node, x, state, top + np.where(fires, above, below) * away * max(1.0, abs(top)))
    at = interpret.neuron(node, x, moved if far else state)
    with np.errstate(invalid="ignore"):
        usual = np.all([np.abs(v) < 1e3 * FAR * max(1.0, abs(top)) for v in (at.h, *at.after.values())], axis=0)
    keep = ~usual if far else (at.s > 0.5) == fires
    return {**state, "v": np.where(keep, state["v"], moved["v"])}


def _beside_threshold(node: Node, step: Step, state: State, rng: np.random.Generator) -> State:
    """The state with v moved so that the current of this step puts h a few bounds above or below the threshold, or, where
    that is exact, on it."""
    top, x, shape = float(node.attrs["v_threshold"]), step.current(node), state["v"].shape
    on = with_h(node, x, state, np.full(shape, top))
    exactly = (step.neuron(node.layer, on).h == 0) & (rng.random(shape) < EXACTLY)
    exactly &= interpret.neuron(node, x, on).h == np.float32(top)
    distance = step.neuron(node.layer, on, exact=False).h * rng.uniform(*BESIDE, shape) * rng.choice((-1, 1), shape)
    beside = with_h(node, x, state, top + distance)
    v = np.where(exactly, on["v"], beside["v"])
    return {**state, "v": np.where(rng.random(shape) < AT_THRESHOLD, np.float32(top), v)}
