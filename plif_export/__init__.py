"""Export of a trained network to ONNX or to the file of another target, with a proof that both spike the same.

    export(model, path)         read, run the passes, write, prove; the file appears only if the proof passes
    verify(path, model)         the proof alone, on an existing file
    check(module, example)      the layers of a live module that can be exported, one by one; check_file for files
    register_neuron(class, equation, ...), register_layer(class, reader)     add a custom class

The names below are imported at first use: the command line lists this package's commands without loading torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import runtime  # noqa: F401  # first: it switches off the telemetry of libraries (runtime/core/base/telemetry.py)
from runtime.core.parts import load_from_parts

if TYPE_CHECKING:
    from plif_export.core.pipeline import Exported, ParityError, export
    from plif_export.core.proof.report import Report
    from plif_export.core.verification import verify

_HOMES = {
    "pipeline": ("export", "Exported", "ParityError"),
    "verification": ("verify",),
    "proof.report": ("Report",),
}

# The commands of the core, as in runtime/__init__.py
COMMANDS = (
    (
        "export", "core.cli:export",
        "Writes an artifact beside the model, proves it against PyTorch, and says what to type next.",
    ),
    ("verify", "core.cli:verify", "Parity with the PyTorch model, spike by spike; exit code 1 when it fails."),
)  # fmt: skip
REQUIRES, EXTRA = ("torch", "onnx", "onnxruntime"), "cpu,export"

__all__ = [
    "Exported",
    "ParityError",
    "Report",
    "export",
    "verify",
]


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"plif_export.core.{home}"), name)
    for kind in ("readers", "commands"):
        if (attribute := load_from_parts(kind, name)) is not None:
            return attribute
    raise AttributeError(f"module 'plif_export' has no attribute '{name}'")
