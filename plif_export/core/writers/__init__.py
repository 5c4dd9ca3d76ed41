"""Writers: graph -> ONNX. FORMS is the registry of the forms; each form is one file or folder."""

from plif_export.core.writers.forms import FORMS

__all__ = ["FORMS"]
