"""The gate: does what was exported do what was trained? In spikes, layer by layer, step by step.

Teacher-forced. Each layer of the artifact gets the reference's spikes and the reference's membrane, so that one flip cannot
excuse the next. A spike that differs is *excused* when the reference itself was on the edge,
|h - v_threshold| < eps = 1e-5 max(1, |h|): no two float32 programs agree there. An artifact passes when

    no spike differs unexcused, and
    h and the next membrane agree within 10 eps wherever the spike does (a state that is frozen, swapped or reset wrongly
    leaves this step's spikes right and only the next step's wrong, so it has to be looked at itself), and
    the output agrees on every step.

Free-running. The whole file runs from the same start state on its own spikes, and what then differs is reported beside the
gate: per layer, the first divergence, decisions that changed.

Rounded weights (fp16, int8) make other spikes, so there the gate's reference is the interpreter on the same rounded weights,
with the same eps, and what is reported beside it is the difference from the model itself (rounding.py).

A layer that is silent or saturated throughout is `untested` and named: nothing was shown about it on this input.

Then come the questions of probe.py: weights and thresholds on random spikes, rows of a batch, the card.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx

from plif_export.proof import probe, rounding
from plif_export.proof.reference import Reference, Trace
from plif_export.proof.report import LayerReport, Report
from plif_export.proof.slices import Slice, SliceFailed, cut, with_outputs
from runtime.base.errors import PlifError
from runtime.model.card import Card
from runtime.model.graph import Graph, spikes, state_key

EPS = 1e-5  # float32: what rounding in another order of summation moves h by
MEMBRANE = 10 * EPS  # sums of thousands of terms cancel; a wrong tau, state or weight is off by far more


def check(
    model: onnx.ModelProto,
    card: Card,
    reference: Reference,
    x: np.ndarray,
    start: Iterable[dict[str, np.ndarray]] | None = None,
    where: str = "artifact",
    *,
    graph: Graph | None = None,
    expected: Card | None = None,
    model_in_fp32: Reference | None = None,
    seed: int = 0,
) -> Report:
    """Compares an ONNX artifact with the reference on x [T, B, C, H, W] (B streams, one at a time).

    start     a state {layer: v [1, ...]} for each stream; from reset when None
    graph     the model as read, before any pass (with rounded weights: after all): then every weight and threshold is
              tried on random spikes, too
    model_in_fp32  the model itself, where the reference has rounded weights: the difference is reported
    expected  the card that the model gives
    """
    T = len(x)
    if x.ndim < 3 or T < 1 or x.shape[1] < 1:
        raise PlifError(
            f"inputs of shape {list(x.shape)} hold no step of no stream; expected [T, B, ...] with both at least 1"
        )
    chunk = card["T"] if card["form"] == "unrolled" else 1
    if T % chunk:
        raise PlifError(f"{where}: unrolled over T={chunk}, so parity needs a multiple of {chunk} steps, not {T}")
    present = {state_key(s["layer"], s["name"].partition(".")[0]) for s in card["states"]}
    for name in reference.initial():
        if name not in present:
            raise PlifError(f"{where}: has no layer '{name}', which the model has; it was exported from another model")
    _check_shapes(card, reference, x, where)
    parts = Parts(model, card, reference.layers, where)
    layers = [LayerReport(layer) for layer in reference.layers]
    report = Report(precision=card["precision"], steps=T, streams=x.shape[1], layers=layers)
    states = list(start) if start is not None else [reference.initial() for _ in range(x.shape[1])]
    silent, saturated = set(reference.layers), set(reference.layers)
    for b, state in enumerate(states):
        trace = reference.run(x[:, b : b + 1], state)
        for layer in report.layers:
            fired = trace.layers[layer.name].s
            layer.rate += trace.layers[layer.name].rate / len(states)
            report.spikes += sum(int(s.sum()) for s in fired)
            if any(s.any() for s in fired):
                silent.discard(layer.name)
            if not all(s.all() for s in fired):
                saturated.discard(layer.name)
        _teacher_forced(parts, trace, reference, report)
        if model_in_fp32 is not None:
            trace = model_in_fp32.run(x[:, b : b + 1], state)
            rounding.one_step(parts, trace, report)
        _free_running(parts, trace, state, report)
    report.untested = [layer for layer in reference.layers if layer in silent | saturated]
    if len(report.untested) == len(reference.layers):
        report.fail(reference.layers[0], 0, "no layer fired (or all fired always), so nothing was shown")
    if report.passed and graph is not None:
        probe.weights(parts, graph, EPS, report, np.random.default_rng(seed))
    if report.passed:
        probe.rows(parts, x, states, MEMBRANE, report)
    if report.passed and expected is not None:
        probe.card(card, expected, report)
    for layer in report.layers:
        report.spike_mismatches += layer.mismatches
        report.excused += layer.excused
        report.membranes_off += layer.membranes_off
        report.max_abs_dv = max(report.max_abs_dv, layer.max_abs_dv)
        report.max_scaled_dv = max(report.max_scaled_dv, layer.max_scaled_dv)
        report.free_running_mismatches += layer.free_running_mismatches
        report.rounding_mismatches += layer.rounding_mismatches
    return report


def _check_shapes(card: Card, reference: Reference, x: np.ndarray, where: str) -> None:
    """An artifact of another model is told by its shapes, before anything is run."""
    if list(x.shape[2:]) != card["input"]["shape"]:
        raise PlifError(
            f"{where}: takes {card['input']['shape']}, the model {list(x.shape[2:])}; it is of another model"
        )
    for key, v in reference.initial().items():
        for state in card["states"]:
            if state_key(state["layer"], state["name"].partition(".")[0]) == key and state["shape"] != list(
                v.shape[1:]
            ):
                raise PlifError(
                    f"{where}: state {state['name']} is {state['shape']}, the model's {list(v.shape[1:])}; it is of another model"
                )


class Parts:
    """The artifact, cut: a slice for each layer, one for the output, and the whole with its spikes as outputs."""

    def __init__(self, model: onnx.ModelProto, card: Card, layers: list[str], where: str) -> None:
        self.card, self.layers = card, layers
        self.chunk = card["T"] if card["form"] == "unrolled" else 1
        self.unrolled = card["form"] == "unrolled"
        self.static = card["input"]["kind"] == "static" and self.unrolled
        self.input = card["graph"]["input"]
        self.voters = int(card["output"].get("voters", 1))
        self.states: dict[str, dict[str, tuple[str, str]]] = {layer: {} for layer in layers}
        for state in card["states"]:  # a state is named <variable>.<layer>
            self.states.setdefault(state["layer"], {})[state["name"].partition(".")[0]] = (
                state["input"],
                state["output"],
            )
        boundary = {self.input, *(spikes(layer) for layer in layers)}
        boundary |= {
            self.state(layer, name, k) for layer in layers for name in self.states[layer] for k in range(self.chunk)
        }
        self.slices: dict[str, Slice] = {}
        for layer in layers:
            steps = range(self.chunk)
            after = [self.state(layer, name, k + 1) for name in self.states[layer] for k in steps]
            outputs = [spikes(layer), *(self.h(layer, k) for k in steps), *after]
            # its own spikes are not given: a soft reset subtracts what the file's comparison said, not the reference's
            self.slices[layer] = cut(model, outputs, boundary - {spikes(layer)}, f"{where}: layer {layer}")
        self.output = cut(model, ["y"], boundary, f"{where}: output")
        self.whole = with_outputs(model, [spikes(layer) for layer in layers], where)

    def run(self, layer: str, known: dict[str, np.ndarray], report: Report) -> dict[str, np.ndarray] | None:
        """A layer's slice on what reaches it; None, and a failed report, when it cannot be run or gives other shapes."""
        try:
            found = self.slices[layer].run(known)
        except SliceFailed as failure:
            report.fail(layer, 0, str(failure))
            return None
        shape = known[spikes(layer)].shape
        if found[spikes(layer)].shape != shape:
            report.fail(layer, 0, f"its spikes are {list(found[spikes(layer)].shape)}; expected {list(shape)}")
            return None
        return found

    def known(self, trace: Trace, t0: int) -> dict[str, np.ndarray]:
        """What the reference knows of the chunk of steps that begins at t0, by the names of the file's tensors."""
        steps = range(t0, t0 + self.chunk)
        known = {self.input: self.x(trace, t0)}
        for name, seen in trace.layers.items():
            known[spikes(name)] = np.concatenate([seen.s[t] for t in steps]).astype(np.float32)
            for variable, values in seen.variables().items():
                known.update({self.state(name, variable, t - t0): values[t] for t in steps})
        return known

    def h(self, layer: str, k: int) -> str:
        return f"{layer}.h.t{k}" if self.unrolled else f"{layer}.h"

    def state(self, layer: str, variable: str, k: int) -> str:
        """A state variable before step k of a chunk; after the last step it is the state that goes out."""
        if k == 0:
            return self.states[layer][variable][0]
        return self.states[layer][variable][1] if k == self.chunk else f"{layer}.{variable}.t{k}"

    def x(self, trace: Trace, t: int) -> np.ndarray:
        if self.static:
            return trace.x[t]
        return trace.x[t : t + self.chunk] if self.unrolled else trace.x[t]


def _teacher_forced(parts: Parts, trace: Trace, reference: Reference, report: Report) -> None:
    for t0 in range(0, len(trace.x), parts.chunk):
        steps = range(t0, t0 + parts.chunk)
        known = parts.known(trace, t0)
        for layer in report.layers:
            seen = trace.layers[layer.name]
            found = parts.run(layer.name, known, report)
            if found is None:
                layer.membranes_off += parts.chunk * seen.h[0].size
                continue
            fired = found[spikes(layer.name)].reshape(parts.chunk, *seen.s[0].shape)
            for t in steps:
                h = found[parts.h(layer.name, t - t0)]
                for variable, values in seen.variables().items():
                    after = found[parts.state(layer.name, variable, t - t0 + 1)]
                    compare(
                        layer,
                        report,
                        t,
                        reference.thresholds[layer.name],
                        (seen.h[t], seen.s[t], values[t + 1]),
                        (h, fired[t - t0], after),
                        first=variable == "v",
                    )
        y = parts.output.run(known)["y"].reshape(parts.chunk, *trace.y.shape[1:])
        for t in steps:
            off = int(np.sum(~(np.abs(y[t - t0] - trace.y[t]) <= MEMBRANE * np.maximum(1, np.abs(trace.y[t])))))
            report.outputs_off += off
            if off:
                report.fail("output", t, f"{off} of {trace.y[t].size} outputs differ")


def compare(
    layer: LayerReport,
    report: Report,
    t: int,
    v_threshold: float,
    expected: tuple[np.ndarray, np.ndarray, np.ndarray],
    found: tuple[np.ndarray, np.ndarray, np.ndarray],
    first: bool = True,
    where: str = "",
) -> None:
    """One layer, one step: (h, s, next v) of the reference and of the artifact; a further state variable in v's place
    when not `first`, whose spikes were counted with the membrane."""
    (h, s, v), (h_found, s_found, v_found) = expected, found
    if h_found.shape != h.shape or v_found.shape != v.shape:
        report.fail(layer.name, t, f"its membrane has shape {list(v_found.shape)}, the model's {list(v.shape)}")
        layer.membranes_off += h.size
        return
    eps = EPS * np.maximum(1, np.abs(h))
    differ = s != (s_found > 0.5)
    not_binary = int(np.sum((s_found != 0) & (s_found != 1)))
    excused = differ & (np.abs(h - v_threshold) < eps)
    flips, pardoned = int(differ.sum()), int(excused.sum())
    if first:
        layer.mismatches += flips
        layer.excused += pardoned
    dv = np.where(differ, 0, np.maximum(np.abs(h_found - h), np.abs(v_found - v)))
    dv = np.where(np.isfinite(dv), dv, np.inf)  # a NaN is off, not equal
    off = int(np.sum(dv > MEMBRANE / EPS * eps))
    layer.membranes_off += off
    largest = np.finfo(np.float32).max  # JSON has no infinity
    layer.max_abs_dv = max(layer.max_abs_dv, float(min(dv.max(initial=0), largest)))
    layer.max_scaled_dv = max(layer.max_scaled_dv, float(min((dv / (eps / EPS)).max(initial=0), largest)))
    if flips > pardoned:
        report.fail(layer.name, t, f"{where}{flips - pardoned} of {s.size} spikes differ, away from the threshold")
    elif off:
        report.fail(layer.name, t, f"{where}{off} of {v.size} membranes differ, by up to {dv.max():.2g}")
    elif not_binary:
        report.fail(layer.name, t, f"{where}{not_binary} of {s.size} spikes are neither 0 nor 1")


def _free_running(parts: Parts, trace: Trace, start: dict[str, np.ndarray], report: Report) -> None:
    """The whole artifact on its own spikes, from the same start state. A fixed batch sees the stream in every row."""
    rows = parts.card["batch"] or 1
    state = {
        s["input"]: np.repeat(start[state_key(s["layer"], s["name"].partition(".")[0])], rows, axis=0)
        for s in parts.card["states"]
    }
    outputs = ["y", *(s["output"] for s in parts.card["states"]), *(spikes(layer) for layer in parts.layers)]
    votes, expected = np.zeros(trace.y.shape[2]), np.zeros(trace.y.shape[2])

    def first_row(values: np.ndarray) -> np.ndarray:  # [chunk * rows, ...] or [chunk, rows, ...] -> [chunk, 1, ...]
        flat = values.reshape(parts.chunk * rows, -1)
        return flat.reshape(parts.chunk, rows, -1)[:, :1]

    for t0 in range(0, len(trace.x), parts.chunk):
        x = parts.x(trace, t0)
        feed = {parts.input: np.repeat(x, rows, axis=x.ndim - 1 - len(parts.card["input"]["shape"])), **state}
        try:
            found = dict(zip(outputs, parts.whole.run(outputs, feed), strict=True))
        except Exception as error:  # a file whose states do not fit each other cannot be stepped at all
            report.fail("states", t0, f"the whole file cannot be run ({' '.join(str(error).split())[:120]})")
            return
        state = {s["input"]: found[s["output"]] for s in parts.card["states"]}
        y = first_row(found["y"])
        fired = {layer: first_row(found[spikes(layer)]) > 0.5 for layer in parts.layers}
        for k in range(parts.chunk):
            t = t0 + k
            for layer in report.layers:
                flips = int(np.sum(fired[layer.name][k].ravel() != trace.layers[layer.name].s[t].ravel()))
                layer.free_running_mismatches += flips
                if flips and (report.first_divergence is None or t < report.first_divergence["step"]):
                    report.first_divergence = {"layer": layer.name, "step": t}
            votes += _count(y[k, 0], parts.voters)
            expected += _count(trace.y[t, 0], parts.voters)
    report.decisions += 1
    report.decisions_changed += int(votes.argmax() != expected.argmax())


def _count(y: np.ndarray, voters: int) -> np.ndarray:
    """Whole spikes of one step where there is a vote, so that sums are exact."""
    return np.rint(y.astype(np.float64) * voters) if voters > 1 else y.astype(np.float64)
