"""What plif knows of a .plif file as an artifact."""

from __future__ import annotations

from runtime.artifacts.plif.file import read_card_text
from runtime.model.artifacts import Kind

KINDS = (
    Kind(
        "plif",
        ".plif",
        read_card_text,
        contents="runtime.artifacts.plif.program:read_contents",
        with_card="runtime.artifacts.plif.facts:with_card",
        program="runtime.artifacts.plif.facts:read_program",
    ),
)
