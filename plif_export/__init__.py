"""Translate: a trained network -> SNN graph -> ONNX, proved.

export(model, path)     read, run the passes, write, prove; the file appears only when the proof holds
verify(path, model)     the proof alone, on a file that exists
check(module, example)  what of a live module can be exported, layer by layer; nothing is written
register_neuron, register_layer    make a class of your own known to all of them
"""

from __future__ import annotations

from plif_export.check import CheckReport, check, check_file
from plif_export.parity import Report
from plif_export.pipeline import Exported, ParityFailed, export, verify
from plif_export.readers.layers import register_layer
from plif_export.readers.neuron_modules import register_neuron

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
