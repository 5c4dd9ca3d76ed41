"""Sensor sizes as text, WIDTHxHEIGHT, as in `--sensor 346x260` and `udp://...?sensor=346x260`: one grammar and one limit."""

from __future__ import annotations

import re

import numpy as np

from runtime.base.errors import PlifError

LONGEST = 65536  # pixels a side: coordinates are uint16


def parse_size(where: str, text: str) -> tuple[int, int]:
    """'346x260' -> (346, 260). PlifError when the text is no size; the message begins with `where`, e.g. "--sensor big"."""
    found = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", text.lower())
    size = (int(found[1]), int(found[2])) if found else (0, 0)
    if not is_size(size):
        raise PlifError(f"{where}: expected WIDTHxHEIGHT, e.g. 346x260, with both from 1 to {LONGEST}")
    return size


def is_size(size: object) -> bool:
    """Whether this is a pair (width, height) that a sensor can have."""
    return (
        isinstance(size, tuple | list)
        and len(size) == 2
        and all(type(side) is not bool and isinstance(side, int | np.integer) and 1 <= side <= LONGEST for side in size)
    )
