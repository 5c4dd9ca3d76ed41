"""Columns of numbers -> events: the names that t, x, y and p have in files and arrays of others, and what is no event."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.events.array import as_times, make_events
from runtime.core.events.formats.base import Losses

FIELD_NAMES = {
    "t": ("t", "t_us", "ts", "time", "timestamp", "timestamps"),
    "x": ("x",),
    "y": ("y",),
    "p": ("p", "pol", "polarity", "on"),
}


def find_fields(names: Sequence[str]) -> dict[str, int] | None:
    """The positions of t, x, y and p among `names` (case and blanks aside); None when one is missing or stands there twice."""
    found: dict[str, int] = {}
    for index, name in enumerate(names):
        for field, aliases in FIELD_NAMES.items():
            if name.strip().strip('"').lower() in aliases:
                if field in found:
                    return None
                found[field] = index
    return found if len(found) == 4 else None


def check_kinds(where: Path | str, kinds: dict[str, np.dtype]) -> None:
    """PlifError unless all are whole numbers."""
    for name, kind in kinds.items():
        if kind.kind not in "iub" or kind.shape:
            raise PlifError(f"{where}: {name} has dtype {kind}; expected integers (t in whole microseconds)")


def to_events(t: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray, losses: Losses) -> np.ndarray:
    """Whole numbers of any dtype, each [N] -> events [M]; the others are counted."""
    inside = (x >= 0) & (x <= 65535) & (y >= 0) & (y <= 65535)
    losses.add(int(len(inside) - inside.sum()), "outside any sensor")
    return make_events(as_times(t[inside]), x[inside], y[inside], p[inside] > 0)
