"""The artifact kind of .plif files."""

from __future__ import annotations

from runtime.artifacts.plif_file.file import read_card_text
from runtime.core.model.artifacts import Kind

KINDS = (
    Kind(
        "plif",
        ".plif",
        read_card_text,
        contents="runtime.artifacts.plif_file.program:read_contents",
        with_card="runtime.artifacts.plif_file.facts:replace_card",
        program="runtime.artifacts.plif_file.facts:read_program",
    ),
)
