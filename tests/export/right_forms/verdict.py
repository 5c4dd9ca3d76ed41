"""What became of a form: the artifact's outputs beside those of plain PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from tests.export.right_forms.form import ROWS, Form

TOLERANCE = 1e-3  # of the largest value of a continuous output

Result = Literal["in", "refused", "differs", "crash", "timeout"]
Arrays = Mapping[str, np.ndarray]


@dataclass
class Verdict:
    """The result of one form, with the line that explains it."""

    form: str
    sentence: str
    result: Result
    line: str = ""
    seconds: float = 0.0
    rate: float | None = None  # spikes per neuron and step in plain PyTorch
    details: dict[str, Any] = field(default_factory=dict)

    def printed(self) -> str:
        line = f"  {self.line}" if self.line else ""
        return f"{self.form:20} {self.result:8} {self.seconds:6.1f} s{line}"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def difference(form: Form, reference: Arrays, artifact: Arrays) -> str:
    """Say where an artifact differs from plain PyTorch; nothing if it does not."""
    for name, kind in form.outputs.items():
        for rows in ROWS:
            here = f"{name}, {rows} rows"
            expected, found = reference[f"{rows}/{name}"], artifact.get(f"{rows}/{name}")
            if found is None:
                return f"{here}: no such output"
            if found.shape != expected.shape:
                return f"{here}: shape {found.shape} instead of {expected.shape}"
            if kind == "spikes":
                apart = found != expected
            else:
                error = np.abs(found - expected)
                apart = ~(error <= TOLERANCE * np.abs(expected).max())
            if apart.any():
                step = int(np.argwhere(apart)[0][0])
                return f"{here}: {apart.sum()} of {apart.size} differ, the first at step {step}"
    return ""


def firing_rate(form: Form, reference: Arrays) -> float | None:
    """Count the spikes of a form in plain PyTorch, per neuron and step."""
    names = [name for name, kind in form.outputs.items() if kind == "spikes"]
    spikes = [reference[f"{rows}/{name}"].ravel() for rows in ROWS for name in names]
    return round(float(np.concatenate(spikes).mean()), 3) if spikes else None


def judge(form: Form, reference: Arrays, artifact: Arrays, outcome: dict[str, Any]) -> Verdict:
    """Turn what the two processes left into a verdict."""
    verdict = Verdict(form.name, form.sentence, "in", seconds=outcome["seconds"])
    verdict.rate, verdict.details = firing_rate(form, reference), outcome
    refusals: dict[str, str] = outcome["refusals"]
    if outcome["crash"]:
        verdict.result, verdict.line = "crash", outcome["crash"]
    elif not outcome["exported"]:
        verdict.result, verdict.line = "refused", next(iter(refusals.values()))
    elif any(call.startswith("output=") for call in refusals):
        refused = [f"{call}: {line}" for call, line in refusals.items()]
        verdict.result, verdict.line = "refused", "; ".join(refused)
    elif line := difference(form, reference, artifact):
        verdict.result, verdict.line = "differs", line
    elif refusals:
        way = ", ".join(outcome["exported"])
        verdict.line = f"by {way}; otherwise: {next(iter(refusals.values()))}"
    return verdict
