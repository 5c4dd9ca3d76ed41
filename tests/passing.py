"""Chains of filters as tests ask them."""

from __future__ import annotations

import numpy as np

from runtime.observers import event_filters as filters


class Filters(filters.Filters):
    """A chain that gives the events that pass [M], and which of the N they are: bool [N], None for all."""

    def __call__(self, events: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:  # type: ignore[override]
        moved, fate = super().__call__(events)
        kept = fate == filters.PASSED
        return moved[kept], None if kept.all() else kept
