"""Export: a trained network -> SNN graph -> ONNX or a target's own file, with a proof that both do the same.

    export(model, path)         read, run the passes, write, prove; the file appears only when the proof holds
    verify(path, model)         the proof alone, on a file that exists
    check(module, example)      what of a live module can be exported, layer by layer; check_file for files
    register_neuron(class, equation, ...), register_layer(class, reader)     teach them a class of your own

The names below are imported when first used: the command line lists this package's commands without loading torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import runtime  # noqa: F401  # first: it switches off what libraries would report (runtime/core/base/telemetry.py)
from runtime.core.parts import given_by_parts

if TYPE_CHECKING:
    from plif_export.core.pipeline import Exported, ParityFailed, export
    from plif_export.core.proof.report import Report
    from plif_export.core.verification import verify

_HOMES = {
    "pipeline": ("export", "Exported", "ParityFailed"),
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
    "ParityFailed",
    "Report",
    "export",
    "verify",
]


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"plif_export.core.{home}"), name)
    for kind in ("readers", "commands"):
        if (found := given_by_parts(kind, name)) is not None:
            return found
    raise AttributeError(f"module 'plif_export' has no attribute '{name}'")
