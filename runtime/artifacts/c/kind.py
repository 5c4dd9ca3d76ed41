"""The artifact kind of generated C."""

from __future__ import annotations

from runtime.artifacts.c.source import read_card_text
from runtime.core.model.artifacts import Kind

KINDS = (
    Kind(
        "c",
        ".c",
        read_card_text,
        instead="it is source code: compile it into your program (docs/c.md)",
        contents="runtime.artifacts.c.source:read_contents",
        no_exit="is generated C, which counts no votes and so ends nothing early: that is for the program that calls it",
    ),
)
