"""NAME=VALUE,NAME=VALUE: the grammar of options that hold several settings."""

from __future__ import annotations

from typing import Any

from runtime.base.errors import PlifError

WORDS = {"none": None, "null": None, "true": True, "false": False}


def parse_pairs(text: str, refusal: str) -> list[tuple[str, str]]:
    """ "a=1, b=x" -> [("a", "1"), ("b", "x")]. PlifError(refusal) for anything else."""
    pairs = [tuple(piece.strip() for piece in part.partition("=")) for part in text.split(",")]
    if not all(name and equals and value for name, equals, value in pairs):
        raise PlifError(refusal)
    return [(name, value) for name, _, value in pairs]


def number_or_word(text: str) -> Any:
    """ "none" -> None, "true" -> True, "1e-3" -> 0.001; else the text."""
    try:
        return WORDS[text.lower()] if text.lower() in WORDS else float(text)
    except ValueError:
        return text
