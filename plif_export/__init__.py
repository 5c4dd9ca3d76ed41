"""Export: a trained network -> SNN graph -> ONNX or a target's own file, with a proof that both do the same.

    export(model, path)         read, run the passes, write, prove; the file appears only when the proof holds
    verify(path, model)         the proof alone, on a file that exists
    check(module, example)      what of a live module can be exported, layer by layer; check_file for files
    register_neuron(class, equation, ...), register_layer(class, reader)     teach them a class of your own

The names below are imported when first used: the command line lists this package's commands without loading torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import runtime  # noqa: F401  # first: it switches off what libraries would report (runtime/base/telemetry.py)

if TYPE_CHECKING:
    from plif_export.checks import CheckReport, check, check_file
    from plif_export.pipeline import Exported, ParityFailed, export
    from plif_export.proof.report import Report
    from plif_export.readers.libraries.layers import register_layer
    from plif_export.readers.libraries.neurons import register_neuron
    from plif_export.verification import verify

_HOMES = {
    "pipeline": ("export", "Exported", "ParityFailed"),
    "verification": ("verify",),
    "proof.report": ("Report",),
    "checks": ("check", "check_file", "CheckReport"),
    "readers.libraries.layers": ("register_layer",),
    "readers.libraries.neurons": ("register_neuron",),
}

__all__ = [
    "CheckReport",
    "Exported",
    "ParityFailed",
    "Report",
    "check",
    "check_file",
    "export",
    "register_layer",
    "register_neuron",
    "verify",
]


def __getattr__(name: str) -> object:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"plif_export.{home}"), name)
    raise AttributeError(f"module 'plif_export' has no attribute '{name}'")
