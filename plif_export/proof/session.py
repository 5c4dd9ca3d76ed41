"""The gate on what runs: does the engine that opens an artifact do what was trained?

The gate of parity.py takes an ONNX file apart and runs its nodes in ONNX Runtime. What has kernels of its own (the event
engine) or a form of its own (OpenVINO, NIR) is asked as users run it, through a session. Before every call its membranes are
set to the reference's; after the call they must be the reference's again, within the same tolerance. A call is a step, or the
T steps of an unrolled artifact.

A neuron whose h was within eps of the threshold may have decided otherwise; then what deeper layers did in this call says
nothing and is left out, and it is counted as excused. In an unrolled call a flip can hide in later steps of its own layer as
well, so there any neuron on the edge, in this layer or before, excuses what follows in this call; a call in which nothing
could be compared is not counted, and a gate that counted none has failed.

With rounded weights the reference is the interpreter on the same weights. Engines with float16 kernels also round the sum of
a layer to float16, a relative 2^-11 that the file itself does not have when ONNX Runtime runs it on a CPU, so eps is wider
for them (`sums_in_float32` of an engine says that it is none).

An artifact that only its engine can run (`alone`) is asked further, as the file would be (probe.py): on random spikes and
random membranes, close beside the threshold, streams side by side, and its card.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from plif_export.proof import interpret, probe
from plif_export.proof.gate import EPS, MEMBRANE
from plif_export.proof.reference import GraphReference, Reference, Trace
from plif_export.proof.report import LayerReport, Report
from runtime.model.card import Card
from runtime.model.graph import Graph, state_key

EPS_HALF = 2.0**-10  # twice float16's rounding of a current
PARTS = 3  # the neurons of a layer are drawn into as many, and each part fires in one of the dense rounds


class Running(Protocol):
    """What is asked: a runtime.Model, or what behaves like one. `engine.name` is what a failure is signed with."""

    @property
    def card(self) -> Card: ...
    @property
    def unrolled(self) -> bool: ...
    @property
    def static(self) -> bool: ...
    @property
    def T(self) -> int: ...
    @property
    def engine(self) -> Any: ...
    def session(self, streams: int = 1) -> Any: ...


def check(
    model: Running, reference: Reference, x: np.ndarray, start: list[dict[str, np.ndarray]], report: Report
) -> None:
    """Every call of every stream x [T, B, ...] through the engine; adds to report and fails it."""
    chunk = model.T if model.unrolled else 1
    keys = _keys(model.card)
    session = model.session(streams=model.card["batch"] or 1)
    rows = session.streams
    report.engine = model.engine.name
    before, eps = report.engine_steps, _eps(model)
    if not _starts(session, reference, keys, report):
        return
    for b, state in enumerate(start):
        trace = reference.run(x[:, b : b + 1], state)
        values = {key: _variable(trace, key) for key in keys}
        for t in range(0, len(x), chunk):
            session.restore([np.repeat(values[key][t], rows, axis=0) for key in keys])
            y = _call(model, session, x[t : t + chunk, b : b + 1], rows)[:, :1]  # [chunk, 1, classes]
            found = dict(zip(keys, session.snapshot(), strict=True))
            conclusive = _layers_agree(found, values, trace, reference, (t, t + chunk), report, eps)
            report.engine_steps += chunk if conclusive or chunk == 1 else 0
            if not conclusive:
                continue
            expected = trace.y[t : t + chunk]
            off = int(np.sum(~(np.abs(y - expected) <= MEMBRANE / EPS * eps * np.maximum(1, np.abs(expected)))))
            if off:
                report.fail("output", t, f"engine {report.engine}: {off} of {y.size} outputs differ")
    if report.engine_steps == before and report.passed:
        report.fail(reference.layers[0], 0, f"engine {report.engine}: every call was on an edge, so nothing was shown")


def alone(
    model: Running,
    reference: Reference,
    x: np.ndarray,
    start: list[dict[str, np.ndarray]],
    graph: Graph,
    expected: Card,
    seed: int = 0,
) -> Report:
    """The whole gate for an artifact that only its engine can run: check, and then what the file would be asked.

    graph     the model as read, before any pass;  expected: the card that the model gives
    """
    report = Report(steps=len(x), streams=x.shape[1], layers=[LayerReport(layer) for layer in reference.layers])
    _rates(reference, x, start, report)
    if report.passed:
        check(model, reference, x, start, report)
    if report.passed:
        _free_running(model, reference, x, start, report)
        _dense(model, graph, report, np.random.default_rng(seed))
    if report.passed:
        _rows(model, x, start, report)
    if report.passed:
        probe.card(model.card, expected, report)
    return report


def _starts(session: Any, reference: Reference, keys: list[str], report: Report) -> bool:
    """A fresh session has the membranes that the model has after a reset."""
    initial = reference.initial()
    for key, v in zip(keys, session.snapshot(), strict=True):
        layer = key.rpartition(".")[2]
        if key not in initial or v.shape[1:] != initial[key].shape[1:]:
            wanted = list(initial[key].shape[1:]) if key in initial else "nothing"
            report.fail(layer, 0, f"engine {report.engine}: has a state {list(v.shape[1:])}, the model {wanted}")
        elif not np.allclose(v, initial[key], rtol=0, atol=EPS):
            report.fail(
                layer, 0, f"engine {report.engine}: starts at {v.flat[0]:g}, the model at {initial[key].flat[0]:g}"
            )
    return report.passed


def _eps(model: Running) -> float:
    half = model.card["precision"] == "fp16" and not getattr(model.engine, "sums_in_float32", False)
    return EPS_HALF if half else EPS


def _keys(card: Card) -> list[str]:
    return [state_key(s["layer"], s["name"].partition(".")[0]) for s in card["states"]]


def _variable(trace: Trace, key: str) -> list[np.ndarray]:
    name, _, layer = key.rpartition(".")
    return trace.layers[layer].variables()[name or "v"]


def _call(model: Running, session: Any, x: np.ndarray, rows: int) -> np.ndarray:
    """One call on x [chunk, streams, ...], every stream `rows` times: y [chunk, rows * streams, classes]."""
    x = np.repeat(x, rows, axis=1)
    if not model.unrolled:
        return session.step(x[0])[None]
    return session.run(x[0] if model.static else x)


def _layers_agree(
    found: dict[str, np.ndarray],
    values: dict[str, list[np.ndarray]],
    trace: Trace,
    reference: Reference,
    steps: tuple[int, int],
    report: Report,
    eps: float,
) -> bool:
    """Compares layer by layer, in order; False when an excused flip makes the rest of this call meaningless."""
    first, last = steps
    on_edge = False
    for layer in reference.layers:
        h = np.stack(trace.layers[layer].h[first:last])  # [chunk, 1, ...]
        near = np.abs(h - reference.thresholds[layer]) < eps * np.maximum(1, np.abs(h))
        on_edge |= bool(near.any())
        scale = np.maximum(1, np.abs(h[-1]))
        for key in [k for k in found if k.rpartition(".")[2] == layer]:
            expected = values[key][last]
            dv = np.abs(found[key][:1] - expected)
            off = ~(dv <= MEMBRANE / EPS * eps * scale)
            edge = near[-1] if last - first == 1 else np.full(off.shape, on_edge)
            wrong, excused = int(np.sum(off & ~edge)), int(np.sum(off & edge))
            report.max_abs_dv = max(report.max_abs_dv, float(dv[~off].max(initial=0)))
            report.max_scaled_dv = max(report.max_scaled_dv, float((dv / scale)[~off].max(initial=0)))
            if wrong:
                what = f"engine {report.engine}: {wrong} of {expected.size} membranes differ after the call"
                report.membranes_off += wrong
                report.fail(layer, first, what if last - first > 1 else what.replace("call", "step"))
                return False
            if excused:
                report.excused += excused
                report.spike_mismatches += excused
                return False
    return True


def _rates(reference: Reference, x: np.ndarray, start: list[dict[str, np.ndarray]], report: Report) -> None:
    """How often each layer of the reference fires; a layer that never does, or always, is untested."""
    fired = {layer: [0, 0] for layer in reference.layers}
    for b, state in enumerate(start):
        trace = reference.run(x[:, b : b + 1], state)
        for layer, counts in fired.items():
            counts[0] += sum(int(s.sum()) for s in trace.layers[layer].s)
            counts[1] += sum(s.size for s in trace.layers[layer].s)
    for seen in report.layers:
        spikes, neurons = fired[seen.name]
        seen.rate = spikes / neurons
        report.spikes += spikes
        if spikes in (0, neurons):
            report.untested.append(seen.name)
    if len(report.untested) == len(report.layers):
        report.fail(report.layers[0].name, 0, "no layer fired (or all fired always), so nothing was shown")


def _free_running(
    model: Running, reference: Reference, x: np.ndarray, start: list[dict[str, np.ndarray]], report: Report
) -> None:
    """The artifact on its own membranes, from the same start. An engine shows membranes, not spikes, so what is counted
    is membranes that are off after a call."""
    chunk, keys = model.T if model.unrolled else 1, _keys(model.card)
    session = model.session(streams=model.card["batch"] or 1)
    layers = {layer.name: layer for layer in report.layers}
    for b, state in enumerate(start):
        trace = reference.run(x[:, b : b + 1], state)
        session.restore([np.repeat(state[key], session.streams, axis=0) for key in keys])
        votes = np.zeros(trace.y.shape[2])
        for t in range(0, len(x), chunk):
            y = _call(model, session, x[t : t + chunk, b : b + 1], session.streams)
            votes += y[:, 0].sum(axis=0, dtype=np.float64)
            for key, v in zip(keys, session.snapshot(), strict=True):
                expected = _variable(trace, key)[t + chunk]
                off = int(np.sum(~(np.abs(v[:1] - expected) <= MEMBRANE * np.maximum(1, np.abs(expected)))))
                name = key.rpartition(".")[2]
                layers[name].free_running_mismatches += off
                report.free_running_mismatches += off
                if off and report.first_divergence is None:
                    report.first_divergence = {"layer": name, "step": t}
        expected_votes = trace.y[:, 0].sum(axis=0, dtype=np.float64)
        report.decisions += 1
        report.decisions_changed += int(np.round(votes, 4).argmax() != np.round(expected_votes, 4).argmax())


def _dense(model: Running, graph: Graph, report: Report, rng: np.random.Generator) -> None:
    """Every weight and threshold: calls whose first step has chosen spikes in every layer, which the membranes are chosen
    for. One round for each part of the neurons, so that every weight is used, and one with h a few eps beside the threshold."""
    reference = GraphReference(graph)
    chunk = model.T if model.unrolled else 1
    part = {node.layer: rng.integers(0, PARTS, (1, *node.shape)) for node in graph.neurons}
    part_of_x = rng.integers(0, PARTS, graph.input_shape)
    steps = report.engine_steps
    for turn in [*range(PARTS), None]:
        x = (rng.poisson(probe.COUNTS, (chunk, 1, *graph.input_shape)) + (part_of_x == turn)).astype(np.float32)
        if model.static and model.unrolled:
            x = np.broadcast_to(x[:1], x.shape)
        start = _forcing(
            graph, x[0], {layer: which == turn for layer, which in part.items()}, turn is None, _eps(model), rng
        )
        check(model, reference, x, [start], report)
        report.probed += chunk * sum(int(np.prod(n.shape)) for n in graph.neurons)
        if not report.passed:
            assert report.failed_at is not None
            report.failed_at["what"] = f"on random spikes, {report.failed_at['what']}"
            return
    report.engine_steps = steps


def _forcing(
    graph: Graph, x: np.ndarray, fires: dict[str, np.ndarray], near: bool, eps: float, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """A state from which the step x [1, ...] makes these neurons fire; `near` puts all of them beside the threshold."""
    state: dict[str, np.ndarray] = {}
    fired: dict[str, np.ndarray] = {}
    for node in graph.neurons:
        current = interpret.current(graph, node.layer, x, fired)
        before = probe.random_state(node, rng)
        top = float(node.attrs["v_threshold"])
        above, below = rng.uniform(0.05, 0.5, current.shape), rng.uniform(-1.0, -0.05, current.shape)
        distance = np.where(fires[node.layer], above, below) * max(1.0, abs(top))
        before = probe.with_h(node, current, before, top + distance)
        if near:
            before = probe.beside_threshold(node, current, before, eps, rng)
        fired[node.layer] = interpret.neuron(node, current, before, dict(node.params)).s
        state.update({state_key(node.layer, name): value for name, value in before.items()})
    return state


def _rows(model: Running, x: np.ndarray, start: list[dict[str, np.ndarray]], report: Report) -> None:
    """Different streams side by side against each of them alone."""
    fixed = model.card["batch"]
    count = fixed or max(2, min(3, x.shape[1]))
    chunk, keys = model.T if model.unrolled else 1, _keys(model.card)
    frames = [
        x[:chunk, b % x.shape[1]] if b < x.shape[1] else np.flip(x[-chunk:, b % x.shape[1]], -1) for b in range(count)
    ]
    states = [[start[b % len(start)][key] for key in keys] for b in range(count)]
    single = model.session(streams=fixed or 1)
    together = model.session(streams=count)
    together.restore([np.concatenate([states[b][i] for b in range(count)]) for i in range(len(keys))])
    y = _call(model, together, np.stack(frames, axis=1), 1)
    after = together.snapshot()
    names = [s["layer"] for s in model.card["states"]]
    for b in range(count):
        single.restore([np.repeat(v, single.streams, axis=0) for v in states[b]])
        y_alone = _call(model, single, frames[b][:, None], single.streams)[:, :1]
        pairs = [*zip(names, (v[b : b + 1] for v in after), (v[:1] for v in single.snapshot()), strict=True)]
        for name, mine, expected in [*pairs, ("output", y[:, b : b + 1], y_alone)]:
            off = int(np.sum(~(np.abs(mine - expected) <= MEMBRANE * np.maximum(1, np.abs(expected)))))
            if off:
                report.fail(
                    name, 0, f"engine {report.engine}: a stream beside others is not what it is alone ({off} differ)"
                )
                return
    report.rows = count
