"""Text from a file, made safe to print."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text with "?" for each control character: a class name from a file must not move the cursor."""
    return "".join(char if char.isprintable() else "?" for char in text)
