"""The artifact kinds of TensorRT and TensorRT-RTX engine files."""

from __future__ import annotations

from runtime.artifacts.tensorrt_plan.file import is_rtx, read_card_text
from runtime.core.model.artifacts import Kind

KINDS = (
    Kind("tensorrt-rtx", ".rtx.engine", read_card_text, matches=is_rtx),
    Kind("tensorrt", ".engine", read_card_text),
)
