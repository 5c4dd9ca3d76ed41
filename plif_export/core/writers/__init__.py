"""Writers: graph -> file. Each format is one file or folder; the registry of ONNX forms is FORMS."""

from plif_export.core.writers.forms import FORMS

__all__ = ["FORMS"]
