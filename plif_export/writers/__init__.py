"""Writers: graph -> file. Each form or format is one file; the registry of forms is FORMS."""

from __future__ import annotations

from collections.abc import Callable

import onnx

from plif_export.writers.onnx_step import write_step
from plif_export.writers.onnx_unrolled import write_unrolled
from runtime.model.graph import Graph

# form -> writer(graph, T, batch, dialect). To add a form, write a file beside these and enter it here.
FORMS: dict[str, Callable[[Graph, int, int | None, str], onnx.ModelProto]] = {
    "step": write_step,
    "unrolled": write_unrolled,
}

__all__ = ["FORMS", "write_step", "write_unrolled"]
