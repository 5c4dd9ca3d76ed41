"""What plif knows of engine files as artifacts."""

from __future__ import annotations

from runtime.artifacts.tensorrt_plan.file import is_rtx, read_card_text
from runtime.core.model.artifacts import Kind

KINDS = (
    Kind("tensorrt-rtx", ".rtx.engine", read_card_text, is_it=is_rtx),
    Kind("tensorrt", ".engine", read_card_text),
)
