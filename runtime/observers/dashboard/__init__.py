"""A window on a running stream in the browser: `plif stream ... --dashboard [HOST:]PORT`, in Python Dashboard (dashboard.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.core.base.options import OptionRecord, option

if TYPE_CHECKING:
    from runtime.core.stream.observe import Observer


class DashboardOptions(OptionRecord):
    """Who shows it."""

    dashboard: str | None = option(
        "A page in the browser that shows and steers it.", default=None, metavar="[HOST:]PORT"
    )


def hear(as_json: bool, dashboard: str) -> list[Observer]:
    """The observers of a stream that is to be seen in a browser."""
    from runtime.observers.dashboard.dashboard import Announced

    return [Announced(dashboard)]
