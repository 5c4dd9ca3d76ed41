"""Translate: a trained network -> SNN graph -> ONNX, proved.

export(model, path)     read, run the passes, write, prove; the file appears only when the proof holds
verify(path, model)     the proof alone, on a file that exists
"""

from __future__ import annotations

from plif_export.parity import Report
from plif_export.pipeline import Exported, ParityFailed, export, verify

__all__ = ["Exported", "ParityFailed", "Report", "export", "verify"]
