"""The dashboard of a running stream in the browser: `plif stream ... --dashboard [HOST:]PORT`.

The Python class is Dashboard (dashboard.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.core.base.options import OptionRecord, option

if TYPE_CHECKING:
    from runtime.core.stream.observe import Observer


class DashboardOptions(OptionRecord):
    """The command-line option that opens a web dashboard of a stream."""

    dashboard: str | None = option(
        "A page in the browser that shows and steers it.", default=None, metavar="[HOST:]PORT"
    )


def hear(as_json: bool, dashboard: str) -> list[Observer]:
    """Return the observer that shows a stream as a dashboard in the web browser."""
    from runtime.observers.dashboard.dashboard import StreamDashboard

    return [StreamDashboard(dashboard)]
