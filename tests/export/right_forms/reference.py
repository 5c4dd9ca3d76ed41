"""Runs a form in plain PyTorch: python -m tests.export.right_forms.reference NAME FILE.npz."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from tests.export.right_forms.collection import FORMS
from tests.export.right_forms.form import ROWS, STEPS, Form


def named(form: Form, returned: object) -> dict[str, np.ndarray]:
    """Give what forward returned the names of the form's outputs."""
    if isinstance(returned, dict):
        parts = [returned[name] for name in form.outputs]
    else:
        parts = list(returned) if isinstance(returned, tuple) else [returned]
    return {name: part.numpy().copy() for name, part in zip(form.outputs, parts, strict=True)}


@torch.no_grad()
def run_form(form: Form, rows: int) -> dict[str, np.ndarray]:
    """Run a fresh module freely over all frames: each output as [STEPS, rows, ...]."""
    module = form.module()
    frames = {name: torch.from_numpy(values) for name, values in form.frames(rows).items()}
    if form.loop:
        return named(form, module(*form.arguments(frames)))
    steps = []
    for t in range(STEPS):
        step = {name: values[t] for name, values in frames.items()}
        steps.append(named(form, module(*form.arguments(step))))
    return {name: np.stack([step[name] for step in steps]) for name in form.outputs}


def main(name: str, file: Path) -> None:
    form = FORMS[name]
    arrays = {}
    for rows in ROWS:
        for output, values in run_form(form, rows).items():
            arrays[f"{rows}/{output}"] = values
    np.savez(file, **arrays)
    meddling = [module for module in sys.modules if module.split(".")[0].startswith("plif")]
    if meddling:
        raise SystemExit(f"plif was imported beside the reference: {meddling[0]}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
