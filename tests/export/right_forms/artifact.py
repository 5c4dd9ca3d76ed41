"""Exports a form and runs the file: python -m tests.export.right_forms.artifact NAME FOLDER."""

from __future__ import annotations

import json
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import plif
from tests.export.right_forms.collection import FORMS
from tests.export.right_forms.form import ROWS, STEPS, Form

LENGTH = 8  # steps of the example of a module that loops


@dataclass(frozen=True)
class Call:
    """One way to call plif.export, and which output its file then has (all if None)."""

    says: str
    example: Any
    output: int | None = None


def ways(form: Form) -> list[Call]:
    """List the ways to export a form, the most natural one first."""
    size = (LENGTH, 1) if form.loop else (1,)
    example = {name: torch.zeros(*size, *shape) for name, shape in form.inputs.items()}
    if form.hand == "dict":
        return [Call("({..},)", (example,)), Call("{..}", example)]
    if form.hand == "tensors":
        return [Call("(x, y)", tuple(example.values())), Call("{..}", example)]
    return [Call("x", *example.values())]


def export_form(form: Form, call: Call, file: Path) -> list[str]:
    module = form.module()
    if form.before is not None:
        form.before(module)
    options = {} if call.output is None else {"output": call.output}
    return list(plif.export(module, file, call.example, **options).notes)


def run_file(form: Form, file: Path, output: int | None) -> dict[str, np.ndarray]:
    """Run an exported file freely over all frames: each output as [STEPS, rows, ...]."""
    names = list(form.outputs) if output is None else [list(form.outputs)[output]]
    arrays = {}
    for rows in ROWS:
        session, frames = plif.load(file).session(streams=rows), form.frames(rows)
        steps: list[dict[str, np.ndarray]] = []
        for t in range(STEPS):
            step = {name: values[t] for name, values in frames.items()}
            y: Any = session.step(step if len(step) > 1 else next(iter(step.values())))
            parts = [y] if isinstance(y, np.ndarray) else y
            named = parts if isinstance(parts, dict) else dict(zip(names, parts, strict=True))
            steps.append({name: np.array(part) for name, part in named.items()})
        for name in names:
            arrays[f"{rows}/{name}"] = np.stack([step[name] for step in steps])
    return arrays


def one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def try_calls(form: Form, calls: list[Call], folder: Path, outcome: dict[str, Any]) -> list[Call]:
    """Export by the first call that is not refused; lines of refusals go into the outcome."""
    for number, call in enumerate(calls):
        file = folder / f"{form.name}-{number}-{call.output}.onnx"
        try:
            notes = export_form(form, call, file)
        except (plif.PlifError, plif.CheckFailed) as error:
            kind = "gate: " if isinstance(error, plif.CheckFailed) else ""
            outcome["refusals"][call.says] = kind + " ".join(str(error).split())
            continue
        outcome["notes"] += notes
        outcome["arrays"].update(run_file(form, file, call.output))
        return [call]
    return []


def main(name: str, folder: Path) -> None:
    form, began = FORMS[name], time.perf_counter()
    outcome: dict[str, Any] = {"refusals": {}, "notes": [], "arrays": {}, "crash": ""}
    try:
        exported = try_calls(form, ways(form), folder, outcome)
        if not exported and len(form.outputs) > 1:  # as docs/other-libraries.md says
            example = ways(form)[0].example
            for number in range(len(form.outputs)):
                call = Call(f"output={number}", example, number)
                exported += try_calls(form, [call], folder, outcome)
        outcome["exported"] = [call.says for call in exported]
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        at = f"{Path(place.filename).name}:{place.lineno}"
        outcome["crash"] = f"{one_line(error)} ({at})"
    np.savez(folder / "artifact.npz", **outcome.pop("arrays"))
    outcome["seconds"] = round(time.perf_counter() - began, 1)
    (folder / "outcome.json").write_text(json.dumps(outcome))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
