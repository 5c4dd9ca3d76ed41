"""Columns of numbers to events: the usual names of t, x, y and p in third-party files and arrays, and range checks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.events.array import cast_times, make_events
from runtime.core.events.formats.base import Losses

FIELD_NAMES = {
    "t": ("t", "t_us", "ts", "time", "timestamp", "timestamps"),
    "x": ("x",),
    "y": ("y",),
    "p": ("p", "pol", "polarity", "on"),
}


def find_event_columns(names: Sequence[str]) -> dict[str, int] | None:
    """Find the columns t, x, y and p of events among column names; return their positions, {field: index}.

    Case and blanks do not matter. None when a field is missing or stands there twice.
    """
    positions: dict[str, int] = {}
    for index, name in enumerate(names):
        for field, aliases in FIELD_NAMES.items():
            if name.strip().strip('"').lower() in aliases:
                if field in positions:
                    return None
                positions[field] = index
    return positions if len(positions) == 4 else None


def check_integer_dtypes(source: Path | str, dtypes: dict[str, np.dtype]) -> None:
    """Refuse event columns whose dtype is neither integer nor boolean; the PlifError names the file `source`."""
    for name, dtype in dtypes.items():
        if dtype.kind not in "iub" or dtype.shape:
            raise PlifError(f"{source}: {name} has dtype {dtype}; expected integers (t in whole microseconds)")


def columns_to_events(t: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray, losses: Losses) -> np.ndarray:
    """Convert four integer columns t (us), x, y and p, each [N], to an event array [M].

    Any integer dtype is accepted. Pixels outside 16 bits are counted in `losses`.
    """
    inside = (x >= 0) & (x <= 65535) & (y >= 0) & (y <= 65535)
    losses.add(int(len(inside) - inside.sum()), "outside any sensor")
    return make_events(cast_times(t[inside]), x[inside], y[inside], p[inside] > 0)
