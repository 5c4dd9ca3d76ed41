"""Text of others, made safe to print: class and layer names, notations and file names come from whoever wrote the file.

Every error (PlifError) is made printable when it is raised, and every line for a person goes through `say`, so that none
of them can move the cursor, colour the screen, turn the direction of a line or begin another one. JSON needs none of this:
it escapes by itself, and keeps the text exact.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from typing import TextIO

MOST = 2_000  # characters of an error, a name or a note
MOST_OF_A_LINE = 20_000  # of a line that lists things, such as a thousand classes

_FORMULA = re.compile(r"[=+\-@]")
_MARKUP = re.compile(r"[!#$&*:<>@\[\\\]^`{|}~]|(?<![^\W_])_|_(?![^\W_])|(?<=www)\.", re.IGNORECASE)  # within a line
_NUMBER = re.compile(r"[+-]?[0-9.]+(e[+-]?[0-9]+)?", re.IGNORECASE)


def printable(text: str, most: int = MOST) -> str:
    """One line: "?" for each control character, line break, mark of direction or lone half of a pair; what is longer than
    `most` characters loses its middle."""
    if len(text) > most:
        tail = most // 4
        left_out = len(text) - most
        text = f"{text[: most - tail]} ... {left_out} characters left out ... {text[-tail:]}"
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)


def width(text: str) -> int:
    """Columns that a terminal takes for it."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def column(text: str, columns: int) -> str:
    """Cut or filled up to exactly that many columns."""
    if width(text) > columns:
        while text and width(text) > columns - 1:
            text = text[:-1]
        text += "~" if columns else ""
    return text + " " * (columns - width(text))


def short(n: float) -> str:
    """A count or a rate in few characters: "48.2 k"."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if n >= size:
            n /= 1e3 if unit == "k" else size
            return f"{n:.1f} {unit}" if n < 100 else f"{n:.0f} {unit}"
    return f"{n:.0f}"


def say(*lines: str, err: bool = False, file: TextIO | None = None) -> None:
    """Prints lines for a person, on stdout, stderr or `file`, each at once. A character that the output cannot hold is "?"."""
    out = file or (sys.stderr if err else sys.stdout)
    encoding = getattr(out, "encoding", None) or "utf-8"
    for line in lines:
        text = printable(line, MOST_OF_A_LINE).encode(encoding, "replace").decode(encoding)
        print(f"{text}\n", end="", file=out, flush=True)  # with its end in one piece: Ctrl-C may come behind any piece


def cell(text: str) -> str:
    """A text for a cell of a CSV file: printable, and with an apostrophe before it where a spreadsheet would run it.

    Spreadsheets take a cell that begins with = + - or @ for a formula, also one from a file that somebody sent. Numbers stay.
    """
    text = printable(text)
    return f"'{text}" if _FORMULA.match(text.lstrip()) and not _NUMBER.fullmatch(text.strip()) else text


def markdown(text: str, most: int = MOST) -> str:
    """A text for a heading or a cell of a table in Markdown, which is rendered as it is: no markup, no link, no HTML, one cell.

    What could be markup is a character reference, which no renderer takes for more than the character: a backslash before it
    means something else in each of them.
    """
    return _MARKUP.sub(lambda found: f"&#{ord(found[0])};", printable(text, most))
