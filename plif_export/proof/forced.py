"""The first question of the gate: from the reference's states, does each layer do in one call what the reference does?

Of rounded weights also: how many spikes of the model do they change, from its own states, and how many could they have changed?
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, partial

import numpy as np

from plif_export.proof.arithmetic.bounds import Bounds, LayerBound
from plif_export.proof.arithmetic.interpret import Array, neuron
from plif_export.proof.compare import MEMBRANE, compare, distance, in_bounds, on_edge
from plif_export.proof.reference import History, Reference
from plif_export.proof.report import LayerReport, Report
from plif_export.proof.subjects.slices import CannotRun
from plif_export.proof.subjects.subject import Case, Subject, cases
from runtime.model.graph import Graph, state_key
from runtime.model.grids import GRIDS

FEW = 20  # flips say nothing about layers that hardly fire


def teacher_forced(
    subject: Subject, asked: Iterable[Case], bounds: Bounds, report: Report, layers: list[LayerReport] | None = None,
    where: str = "",
) -> int:  # fmt: skip
    """Asks all cases. Adds to `layers`, or, where there are none, to the totals of the report alone; fails the report.

    bounds  the graph whose rounding is excused;  where: what a failure begins with
    Returns the number of steps that were compared to the end. A call of several steps in which a neuron on the edge of the
    threshold left the rest without meaning is not counted.
    """
    totals = [LayerReport(layer) for layer in bounds.neurons] if layers is None else layers
    where = subject.signature + where
    if subject.chunk > 1 and not subject.shows_spikes:
        where += f"after a call of {subject.chunk} steps, "
    shown = 0
    for case in asked:
        conclusive = _agrees(subject, case, bounds, report, totals, where, on_stimulus=layers is not None)
        shown += subject.chunk if conclusive or subject.chunk == 1 else 0
    if layers is None:
        for layer in totals:
            # A file flips random spikes here, not those of the stimulus: they are not counted. The flips of an engine
            # are: after each of them the rest of the call was not compared.
            report.add(layer, counts=not subject.shows_spikes)
    return shown


def require_shown(subject: Subject, shown: int, report: Report) -> None:
    """Fails a gate in which no call of the subject could be compared."""
    if not shown:
        what = f"{subject.signature}every call was on an edge, so nothing was shown"
        report.fail(report.layers[0].name, 0, what)


def _agrees(
    subject: Subject, case: Case, bounds: Bounds, report: Report, layers: list[LayerReport], where: str,
    on_stimulus: bool,
) -> bool:  # fmt: skip
    """Compares layer by layer, in order; False where a difference made the rest of the call meaningless."""
    try:
        answer = subject.forced(case)
    except CannotRun as problem:
        report.fail(problem.layer, case.step, f"{where}{problem}")
        return False
    several = not subject.shows_spikes and subject.chunk > 1
    asked = sorted({*range(len(case.y)), *(k for expected in case.expected.values() for k in expected)})
    steps = {}
    for k in asked:
        fired = {name: spikes[k] for name, spikes in case.spikes.items()}
        steps[k] = bounds.step(case.x[k], fired, partial(case.held, k))
    edges = False
    for layer in (layer for layer in layers if layer.name in case.expected):
        expected, threshold = case.expected[layer.name], float(bounds.neurons[layer.name].attrs["v_threshold"])
        bound: dict[int, LayerBound] = {}
        for k, step in expected.items():
            bounds.saw(layer.name, step)
            bound[k] = steps[k].neuron(layer.name, case.before[layer.name][k])
            # the states before a step are the engine's own, and have what its steps before have rounded; it does not show its
            # spikes, and any step of the call may have a flip
            if several:
                bound[k] = bound[k] if k == 0 else bound[k] + bound[k - 1]
                edges |= bool(np.any(on_edge(expected[k], threshold, bound[k])))
        for k, seen in answer.layers[layer.name].items():
            if k not in expected:
                continue
            t, edge = (case.step, edges) if several else (case.step + k, None)
            same = compare(layer, report, t, threshold, expected[k], seen, bound[k], edge=edge, where=where)
            if not same and on_stimulus:
                report.diverged(layer.name, t)
            if not same and not subject.shows_spikes:  # deeper layers got other spikes than the reference's
                return False
    for k, (y, wanted) in enumerate(zip(answer.y, case.y, strict=True)):
        off = int(np.sum(in_bounds(distance(y, wanted), steps[k].output()) > MEMBRANE))
        report.outputs_off += off
        if off:
            report.fail("output", case.step + k, f"{where}{off} of {y.size} outputs differ")
    return True


# --- rounded weights, against the model in fp32 ----------------------------------------------------------------------


def rounded_layers(graph: Graph) -> set[str]:
    """The layers whose input comes of rounded weights."""

    @cache
    def is_rounded(name: str) -> bool:
        if name == graph.input or graph[name].op in ("Neuron", "State"):
            return False
        node = graph[name]
        own = any(np.asarray(value).dtype != np.float32 for value in node.params.values())
        return own or any(map(is_rounded, node.inputs))

    return {n.layer for n in graph.neurons if any(map(is_rounded, n.inputs))}


def any_fires(model: Reference, x: Array, layers: set[str]) -> bool:
    """Whether any of these layers of the model fires on x [T, B, ...] from reset, without membranes that were drawn."""
    for b in range(x.shape[1]):
        state = model.initial()
        for x_t in x[:, b : b + 1]:
            history = model.run(x_t[None], state)
            if any(history.layers[layer].spikes for layer in layers if history.layers[layer].spiking):
                return True
            after = {layer: seen.steps[-1].after for layer, seen in history.layers.items()}
            state = {state_key(layer, name): v for layer, own in after.items() for name, v in own.items()}
    return False


def count_flips(subject: Subject, history: History, bounds: Bounds, rounded: set[str], report: Report) -> None:
    """What rounding the weights changes, against the model in fp32: each layer's spikes that differ from the model's when it gets
    the model's spikes and membranes. (What the whole file does on its own spikes adds the consequences of those flips.)

    The gate judges a file by the interpreter on the weights that the same pass rounded, so a pass that rounds badly would be
    judged by its own mistake. Hence one bound here: rounding alone may not change a tenth of a layer's spikes, or what
    the grid of fewer bits says. The subject must show spikes.

    Counted beside them are the spikes that a layer with rounded weights would not have fired without input: what its membranes
    or its bias fire says nothing about rounding.
    """
    most = GRIDS.get(report.precision, GRIDS["int8"]).flips
    flips = dict.fromkeys(history.layers, 0)
    silence = {layer: np.zeros_like(seen.steps[0].s) for layer, seen in history.layers.items()}
    still = bounds.step(np.zeros_like(history.x[0]), silence, lambda layer, name, when: np.zeros_like(silence[layer]))
    for name in rounded:
        node, fired = bounds.neurons[name], history.layers[name]
        for t, step in enumerate(fired.steps if fired.spiking else []):
            alone = neuron(node, still.current(node), fired.before(t)).s
            report.rounded_spikes += int(np.sum((step.s != 0) & (alone != step.s)))
    for case in cases(history, subject.chunk):
        for name, steps in subject.forced(case).layers.items():
            for k, seen in steps.items():
                assert seen.s is not None, "the subject shows no spikes"
                if case.expected[name][k].values == "spikes":  # any value is rounded a little, and no spike of it
                    flips[name] += int(np.sum((seen.s > 0.5) != case.expected[name][k].s))
    for layer in report.layers:
        layer.rounding_mismatches += flips[layer.name]
        spikes = history.layers[layer.name].spikes
        if flips[layer.name] > FEW + most * spikes:
            what = (
                f"{report.precision} weights change {flips[layer.name]} of its {spikes} spikes, too many for rounding"
            )
            report.fail(layer.name, 0, f"{what}; use a higher precision")
