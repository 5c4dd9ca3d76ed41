"""What plif knows of a .plif file as an artifact."""

from __future__ import annotations

from runtime.artifacts.plif_file.file import read_card_text
from runtime.core.model.artifacts import Kind

KINDS = (
    Kind(
        "plif",
        ".plif",
        read_card_text,
        contents="runtime.artifacts.plif_file.program:read_contents",
        with_card="runtime.artifacts.plif_file.facts:with_card",
        program="runtime.artifacts.plif_file.facts:read_program",
    ),
)
