"""Identifiers, numbers and arrays as C text."""

from __future__ import annotations

import re

import numpy as np

WIDTH = 110  # characters of a line of numbers
INDENTED = "\n   "


def to_identifier(text: str) -> str:
    """Convert a name to a C identifier: letters, digits and _, with no digit in front."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_") or "net"
    return f"n{name}" if name[0].isdigit() else name


class UniqueNames:
    """The set of identifiers in use in a generated C file, each used once."""

    def __init__(self) -> None:
        self.used: set[str] = set()

    def new(self, base_name: str, ends: tuple[str, ...] = ("",)) -> str:
        """Return a new C identifier, `base_name` or, if a name that it needs is in use, with a number added."""
        name, number = base_name, 2
        while any(name + end in self.used for end in ends):
            name, number = f"{base_name}_{number}", number + 1
        self.used.update(name + end for end in ends)
        return name


def format_number(value: float) -> str:
    """Format a float32 as a C constant that reads back as the same bits: 0.1f."""
    text = str(np.float32(value))
    return f"{text if re.search('[.en]', text) else text + '.0'}f"


def no_fma(product: str) -> str:
    """Wrap the C text of a product so that no compiler fuses it with an addition into one rounding (FMA).

    file.py has the macro.
    """
    return f"ROUNDED({product})"


def format_array(values: np.ndarray) -> str:
    """Format float32 or whole numbers [n] as lines of a C initialiser."""
    flat = values.ravel()
    texts = [format_number(v) for v in flat] if flat.dtype == np.float32 else [str(v) for v in flat.tolist()]
    lines: list[str] = []
    line: list[str] = []
    length = 0
    for text in texts:
        if length + len(text) + 1 > WIDTH:
            lines.append(",".join(line))
            line, length = [], 0
        line.append(text)
        length += len(text) + 1
    return ",\n".join([*lines, ",".join(line)])


def format_string(text: str) -> str:
    """Format a text as a C string literal, in ASCII."""
    escaped = "".join(
        c if c.isascii() and c.isprintable() and c not in '"\\?' else "".join(f"\\{b:03o}" for b in c.encode())
        for c in text
    )
    return f'"{escaped}"'


def escape_comment(text: str) -> str:
    """Return a text changed so that it neither ends the C comment around it nor begins one."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return re.sub(r"\?(?=\?)", "? ", shown.replace("*/", "* /").replace("/*", "/ *"))


def format_comment(text: str) -> str:
    """Format a text as a whole C comment.

    Lines that begin with three blanks stay lines. Names of layers are untrusted: the author of the model chose them.
    """
    return f"/* {INDENTED.join(map(escape_comment, text.split(INDENTED)))} */"
