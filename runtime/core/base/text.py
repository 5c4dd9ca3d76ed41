"""Untrusted text, made safe to print.

Class names, layer names, notations and file names come from third-party files. Every error (PlifError) is made
printable when it is raised, and every line for a person goes through `say`. So no text can move the cursor, colour
the screen, turn the direction of a line or start a new line. JSON needs none of this: it escapes by itself, and keeps
the text exact.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from typing import TextIO

MAX_CHARS = 2_000  # characters of an error, a name or a note
MAX_LINE_CHARS = 20_000  # of a line that lists things, such as a thousand classes

_FORMULA = re.compile(r"[=+\-@]")
_MARKUP = re.compile(r"[!#$&*:<>@\[\\\]^`{|}~]|(?<![^\W_])_|_(?![^\W_])|(?<=www)\.", re.IGNORECASE)  # within a line
_NUMBER = re.compile(r"[+-]?[0-9.]+(e[+-]?[0-9]+)?", re.IGNORECASE)


def printable(text: str, most: int = MAX_CHARS) -> str:
    """Return a text as one safe line: "?" replaces control characters, line breaks and direction marks.

    So it does each lone surrogate. A text of more than `most` characters loses its middle.
    """
    if len(text) > most:
        tail = most // 4
        left_out = len(text) - most
        text = f"{text[: most - tail]} ... {left_out} characters left out ... {text[-tail:]}"
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)


def display_width(text: str) -> int:
    """Return the number of terminal columns that a text takes; wide characters take two."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def fit_columns(text: str, columns: int) -> str:
    """Cut or pad a text to exactly this number of terminal columns."""
    if display_width(text) > columns:
        while text and display_width(text) > columns - 1:
            text = text[:-1]
        text += "~" if columns else ""
    return text + " " * (columns - display_width(text))


def format_count(n: float) -> str:
    """Format a count or a rate with a unit prefix, in few characters: "48.2 k"."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if n >= size:
            n /= 1e3 if unit == "k" else size
            return f"{n:.1f} {unit}" if n < 100 else f"{n:.0f} {unit}"
    return f"{n:.0f}"


def say(*lines: str, err: bool = False, file: TextIO | None = None) -> None:
    """Print lines for a person on stdout, on stderr (`err`) or on `file`, and flush after each.

    A character that the encoding of the output lacks is printed as "?".
    """
    out = file or (sys.stderr if err else sys.stdout)
    encoding = getattr(out, "encoding", None) or "utf-8"
    for line in lines:
        text = printable(line, MAX_LINE_CHARS).encode(encoding, "replace").decode(encoding)
        print(
            f"{text}\n", end="", file=out, flush=True
        )  # text and newline in one write: Ctrl-C may come between two writes


def escape_csv_cell(text: str) -> str:
    """Return a text for a CSV cell: printable, with an apostrophe first if a spreadsheet would run it.

    Spreadsheets take a cell that begins with = + - or @ for a formula, also one from an untrusted file. Numbers stay.
    """
    text = printable(text)
    return f"'{text}" if _FORMULA.match(text.lstrip()) and not _NUMBER.fullmatch(text.strip()) else text


def escape_markdown(text: str, most: int = MAX_CHARS) -> str:
    """Escape a text for a Markdown heading or table cell: no markup, no link, no HTML, one cell.

    Each character that could be markup becomes a character reference, which no renderer interprets further. A
    backslash before it means something else in each renderer.
    """
    return _MARKUP.sub(lambda match: f"&#{ord(match[0])};", printable(text, most))
