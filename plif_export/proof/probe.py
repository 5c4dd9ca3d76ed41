"""Three more questions that the gate asks of a file, which no recording answers.

weights      A stimulus leaves many inputs of a layer silent, and a weight on a silent input may be anything. So the neurons
             are drawn into three parts, and each layer runs once with the spikes of each part, so that every weight is used:
             twice from random membranes, and once from membranes that put h a few eps beside the threshold, so that a
             threshold that is off by more than rounding shows itself. The judge is the interpreter: on the graph as it was
             read, before any pass, or, with rounded weights, on the graph after all of them.
rows         Streams are rows of a batch, and no row may touch another: the whole file runs on different streams at once and
             must give each of them what it gets alone.
card         Whoever runs the file believes its card (classes, framing, initial membranes, voters, ...), so the card must be
             the one that the model gives.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from plif_export.proof import interpret
from runtime.model.card import Card
from runtime.model.graph import Graph, spikes, state_key

if TYPE_CHECKING:
    from plif_export.proof.gate import Parts
    from plif_export.proof.report import Report

COUNTS = 0.3  # mean of the random input
PARTS = (False, True, False)  # the neurons are drawn into as many; True: from membranes beside the threshold
BESIDE = (3, 20)  # eps beside the threshold, both sides
ROWS_STEPS = 4
NOT_COMPARED = ("parity", "versions", "source_sha256")  # what was proved, and when and from which file, may differ


def weights(parts: Parts, graph: Graph, eps: float, report: Report, rng: np.random.Generator) -> None:
    """Every weight and threshold of every layer, on inputs that use them all. Adds to report, and fails it."""
    from plif_export.proof.gate import compare
    from plif_export.proof.report import LayerReport

    steps = sorted({0, parts.chunk - 1})  # of an unrolled file the first and the last step stand for all
    nodes = {n.layer: n for n in graph.neurons}
    part = {
        layer: rng.integers(0, len(PARTS), (parts.chunk, 1, *nodes[layer].shape)).astype(np.int8)
        for layer in parts.layers
    }
    part_of_x = rng.integers(0, len(PARTS), graph.input_shape)
    for p, near in enumerate(PARTS):
        x = [
            (rng.poisson(COUNTS, (1, *graph.input_shape)) + (part_of_x == p)).astype(np.float32)
            for _ in range(parts.chunk)
        ]
        if parts.static:
            x = x[:1] * parts.chunk
        fired = {layer: (which == p).astype(np.float32) for layer, which in part.items()}
        for layer in parts.layers:
            node = nodes[layer]
            state = [random_state(node, rng) for _ in range(parts.chunk)]
            currents = {}
            for k in steps:
                forced = {name: values[k] for name, values in fired.items()}
                currents[k] = interpret.current(graph, layer, x[k], forced)
                if near:
                    state[k] = beside_threshold(node, currents[k], state[k], eps, rng)
            known: dict[str, np.ndarray] = {parts.input: x[0] if not parts.unrolled or parts.static else np.stack(x)}
            known |= {spikes(name): np.concatenate(list(values)) for name, values in fired.items()}
            for k in range(parts.chunk):
                known |= {parts.state(layer, name, k): value for name, value in state[k].items()}
            found = parts.run(layer, known, report)
            if found is None:
                return
            s_found = found[spikes(layer)].reshape(parts.chunk, 1, *node.shape)
            for k in steps:
                expected = interpret.neuron(node, currents[k], state[k], dict(node.params))
                seen = LayerReport(layer)
                after = found[parts.state(layer, "v", k + 1)]
                compare(
                    seen,
                    report,
                    k,
                    float(node.attrs["v_threshold"]),
                    (expected.h, expected.s > 0.5, expected.v),
                    (found[parts.h(layer, k)], s_found[k], after),
                    where="on random spikes, ",
                )
                report.probed += expected.h.size
                report.max_abs_dv = max(report.max_abs_dv, seen.max_abs_dv)
                report.max_scaled_dv = max(report.max_scaled_dv, seen.max_scaled_dv)


def random_state(node: Any, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Each state variable of a layer anywhere from below its start to the threshold, [1, ...]."""
    top = float(node.attrs["v_threshold"])
    return {
        name: rng.uniform(start - 0.5 * abs(top - start), top, (1, *node.shape)).astype(np.float32)
        for name, start in node.initial.items()
    }


def beside_threshold(
    node: Any, x: np.ndarray, state: dict[str, np.ndarray], eps: float, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """The state with v moved so that h lands a few eps above or below the threshold, where v has a say in h."""
    top = float(node.attrs["v_threshold"])
    distance = rng.uniform(*BESIDE, x.shape) * eps * max(1.0, abs(top)) * rng.choice((-1, 1), x.shape)
    return with_h(node, x, state, top + distance)


def with_h(node: Any, x: np.ndarray, state: dict[str, np.ndarray], wanted: np.ndarray) -> dict[str, np.ndarray]:
    """The state with v moved so that the current x makes h what is wanted, where v has a say in h and need not be large."""
    wide = {name: value.astype(np.float64) for name, value in state.items()}
    params = {name: value.astype(np.float64) for name, value in node.params.items()}

    def h_at(v: np.ndarray) -> np.ndarray:
        return interpret.neuron(node, x.astype(np.float64), {**wide, "v": v}, params, np.float64).h

    h = h_at(wide["v"])
    slope = h_at(wide["v"] + 1) - h
    with np.errstate(divide="ignore", invalid="ignore"):
        v = wide["v"] + (wanted - h) / slope
    usable = np.isfinite(v) & (np.abs(slope) > 1e-3) & (np.abs(v) < 8)  # a larger v rounds by more than it is moved
    return {**state, "v": np.where(usable, v, wide["v"]).astype(np.float32)}


def rows(parts: Parts, x: np.ndarray, start: list[dict[str, np.ndarray]], tolerance: float, report: Report) -> None:
    """The whole file on several different streams at once against each of them alone."""
    count = parts.card["batch"] or max(2, min(3, x.shape[1]))
    steps = parts.chunk if parts.unrolled else min(ROWS_STEPS, len(x))
    streams = [
        x[:steps, b % x.shape[1]] if b < x.shape[1] else np.flip(x[-steps:, b % x.shape[1]], -1) for b in range(count)
    ]
    inputs = [s["input"] for s in parts.card["states"]]
    keys = [state_key(s["layer"], s["name"].partition(".")[0]) for s in parts.card["states"]]
    alone: list[Any] = []
    for b in range(count):
        state = dict(zip(inputs, (start[b % len(start)][key] for key in keys), strict=True))
        alone.append(_whole(parts, streams[b][:, None], state, report, copies=parts.card["batch"]))
    together_state = {
        name: np.concatenate([start[b % len(start)][key] for b in range(count)])
        for name, key in zip(inputs, keys, strict=True)
    }
    together = _whole(parts, np.stack(streams, axis=1), together_state, report)
    if together is None or any(single is None for single in alone):
        return
    for name in [*(s["output"] for s in parts.card["states"]), "y"]:  # in order, so that the first layer is named
        values = together[name]
        for b in range(count):
            expected = alone[b][name]
            mine = values[:, b : b + 1] if name == "y" else values[b : b + 1]
            if mine.shape != expected.shape:
                report.fail(_layer_of(parts, name), 0, f"{name} is {list(values.shape)} for {count} streams")
                return
            off = int(np.sum(~(np.abs(mine - expected) <= tolerance * np.maximum(1, np.abs(expected)))))
            if off:
                report.fail(
                    _layer_of(parts, name), 0, f"a stream beside others gives other {name} than alone ({off} differ)"
                )
                return
    report.rows = count


def _whole(
    parts: Parts, x: np.ndarray, state: dict[str, np.ndarray], report: Report, copies: int | None = None
) -> dict[str, np.ndarray] | None:
    """Steps the whole file over x [T, rows, ...]: {"y": [T, rows, ...], state output: [rows, ...]}; None when it cannot."""
    given = copies or x.shape[1]
    if copies:  # a fixed batch cannot run one stream: it gets the stream in every row
        x = np.repeat(x, copies, axis=1)
        state = {name: np.repeat(v, copies, axis=0) for name, v in state.items()}
    names = ["y", *(s["output"] for s in parts.card["states"])]
    outputs = []
    for t in range(0, len(x), parts.chunk):
        frame = x[t] if parts.static or not parts.unrolled else x[t : t + parts.chunk]
        try:
            found = dict(zip(names, parts.whole.run(names, {parts.input: frame, **state}), strict=True))
        except Exception as error:
            report.fail(
                "states", t, f"the whole file cannot run {given} streams ({' '.join(str(error).split())[:120]})"
            )
            return None
        expected = [*([parts.chunk] if parts.unrolled else []), given, len(parts.card["classes"])]
        if list(found["y"].shape) != expected:
            report.fail("output", t, f"y is {list(found['y'].shape)} for {given} streams; expected {expected}")
            return None
        outputs.append(found["y"] if parts.unrolled else found["y"][None])
        state = {s["input"]: found[s["output"]] for s in parts.card["states"]}
    result = {"y": np.concatenate(outputs), **{s["output"]: state[s["input"]] for s in parts.card["states"]}}
    if copies:
        result = {name: values[:, :1] if name == "y" else values[:1] for name, values in result.items()}
    return result


def _layer_of(parts: Parts, output: str) -> str:
    return next((str(s["layer"]) for s in parts.card["states"] if s["output"] == output), "output")


def card(found: Card, expected: Card, report: Report) -> None:
    """Everything that the model decides about its card, key by key."""
    for key, value in expected.items():
        if key in NOT_COMPARED:
            continue
        plain = json.loads(json.dumps(value))
        if found.get(key) != plain:
            shown = [json.dumps(v)[:60] for v in (found.get(key), plain)]
            if key in ("graph", "states"):
                shown = [f"another {key}", "the model's"]
            report.fail("card", 0, f"its {key} is {shown[0]}; the model gives {shown[1]}")
            return
