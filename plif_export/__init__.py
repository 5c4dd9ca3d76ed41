"""Translate: a trained network -> SNN graph -> ONNX, proved.

    export(model, path)     read, run the passes, write, prove; the file appears only when the proof holds
    verify(path, model)     the proof alone, on a file that exists

The names below are imported when first used: the command line lists this package's commands without loading torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plif_export.parity import Report
    from plif_export.pipeline import Exported, ParityFailed, export, verify

_HOME = {
    "export": "pipeline",
    "verify": "pipeline",
    "Exported": "pipeline",
    "ParityFailed": "pipeline",
    "Report": "parity",
}

__all__ = ["Exported", "ParityFailed", "Report", "export", "verify"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"plif_export.{_HOME[name]}"), name)
    raise AttributeError(f"module 'plif_export' has no attribute '{name}'")
