"""The gate on an engine: does what runs the artifact do what was trained?

The gate of parity.py takes the file apart and runs its nodes in ONNX Runtime. An engine that has kernels of its own (event)
is asked through the runtime instead, as users run it. Before every step its membranes are set to the reference's; after the
step they must be the reference's again, within the same tolerance. A neuron whose h was within eps of the threshold may have
decided otherwise; then what deeper layers did in this step says nothing and is left out, and it is counted as excused.

With rounded weights the reference is the interpreter on the same weights. Engines with float16 kernels also round the sum of
a layer to float16, a relative 2^-11 that the file itself does not have when ONNX Runtime runs it on a CPU, so eps is wider.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from plif_export.parity import EPS, MEMBRANE, Report
from plif_export.reference import Reference
from runtime.errors import PlifError
from runtime.graph import state_key

EPS_HALF = 2.0**-10  # twice float16's rounding of a current

if TYPE_CHECKING:
    from runtime.session import Model


def check(
    model: Model, reference: Reference, x: np.ndarray, start: list[dict[str, np.ndarray]], report: Report
) -> None:
    """Every step of every stream x [T, B, ...] through the engine; adds to report and fails it."""
    if model.unrolled:
        raise PlifError(f"{model.path}: --engine proves single steps; give it the step form of this model")
    states = model.card["states"]
    keys = [state_key(s["layer"], s["name"].partition(".")[0]) for s in states]
    session = model.session(streams=model.card["batch"] or 1)
    rows = session.streams
    report.engine = model.engine.name
    eps = EPS_HALF if model.card["precision"] == "fp16" else EPS
    for b, state in enumerate(start):
        trace = reference.run(x[:, b : b + 1], state)
        values = {key: _variable(trace, key) for key in keys}
        for t in range(len(x)):
            session.restore([np.repeat(values[key][t], rows, axis=0) for key in keys])
            y = session.step(np.repeat(x[t, b : b + 1], rows, axis=0))[:1]
            found = dict(zip(keys, session.snapshot(), strict=True))
            report.engine_steps += 1
            if not _layers_agree(found, values, trace, reference, t, report, eps):
                continue
            off = int(np.sum(~(np.abs(y - trace.y[t]) <= MEMBRANE / EPS * eps * np.maximum(1, np.abs(trace.y[t])))))
            if off:
                report.fail("output", t, f"engine {report.engine}: {off} of {y.size} outputs differ")


def _variable(trace: object, key: str) -> list[np.ndarray]:
    name, _, layer = key.rpartition(".")
    return trace.layers[layer].variables()[name or "v"]  # type: ignore[attr-defined]


def _layers_agree(
    found: dict, values: dict, trace: object, reference: Reference, t: int, report: Report, eps: float
) -> bool:
    """Compares layer by layer, in order; False when an excused flip makes the rest of this step meaningless."""
    for layer in reference.layers:
        h = trace.layers[layer].h[t]  # type: ignore[attr-defined]
        scale = np.maximum(1, np.abs(h))
        edge = np.abs(h - reference.thresholds[layer]) < eps * scale
        for key in [k for k in found if k.rpartition(".")[2] == layer]:
            expected = values[key][t + 1]
            off = ~(np.abs(found[key][:1] - expected) <= MEMBRANE / EPS * eps * scale)
            wrong, excused = int(np.sum(off & ~edge)), int(np.sum(off & edge))
            if wrong:
                report.fail(layer, t, f"engine {report.engine}: {wrong} of {h.size} membranes differ after the step")
                return False
            if excused:
                report.excused += excused
                report.spike_mismatches += excused
                return False
    return True
