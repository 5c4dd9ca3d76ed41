"""Identifiers, numbers and arrays as C text."""

from __future__ import annotations

import re

import numpy as np

WIDTH = 110  # characters of a line of numbers
INDENTED = "\n   "


def identifier(text: str) -> str:
    """A name of a graph or a file as a C identifier: letters, digits and _, with no digit in front."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_") or "net"
    return f"n{name}" if name[0].isdigit() else name


class Names:
    """Identifiers of one file, each given once."""

    def __init__(self) -> None:
        self.taken: set[str] = set()

    def new(self, wanted: str, ends: tuple[str, ...] = ("",)) -> str:
        """`wanted`, with a number behind it where a name of it and one of `ends` is taken."""
        name, number = wanted, 2
        while any(name + end in self.taken for end in ends):
            name, number = f"{wanted}_{number}", number + 1
        self.taken.update(name + end for end in ends)
        return name


def number(value: float) -> str:
    """A float32 as a C constant that reads back as the same bits: 0.1f"""
    text = str(np.float32(value))
    return f"{text if re.search('[.en]', text) else text + '.0'}f"


def rounded(product: str) -> str:
    """A product that something may be added to, which no compiler makes one rounding of (file.py)."""
    return f"ROUNDED({product})"


def array(values: np.ndarray) -> str:
    """float32 or whole numbers [n] -> lines of a C initialiser."""
    flat = values.ravel()
    texts = [number(v) for v in flat] if flat.dtype == np.float32 else [str(v) for v in flat.tolist()]
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


def string(text: str) -> str:
    """Text as a C string literal, in ASCII."""
    escaped = "".join(
        c if c.isascii() and c.isprintable() and c not in '"\\?' else "".join(f"\\{b:03o}" for b in c.encode())
        for c in text
    )
    return f'"{escaped}"'


def comment(text: str) -> str:
    """Text that cannot end the comment that it stands in, nor begin one."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return re.sub(r"\?(?=\?)", "? ", shown.replace("*/", "* /").replace("/*", "/ *"))


def remark(text: str) -> str:
    """A whole comment; lines of it that begin with three blanks stay lines. Names of layers come from whoever made the model."""
    return f"/* {INDENTED.join(map(comment, text.split(INDENTED)))} */"
