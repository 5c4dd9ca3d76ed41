"""Options of a simulated DVS128 Gesture."""

from __future__ import annotations

from pathlib import Path

from runtime.core.base.options import option
from runtime.datasets.performers.options import VIEWS, LookOptions
from runtime.datasets.simulated_camera.maker import SimulationOptions


class GestureOptions(SimulationOptions, LookOptions):
    """The command-line options for making a simulated DVS128 Gesture data set."""

    part: str = option(
        "gesture-sim: windows, varied, faint, sessions, everyday, things, moves, people, hands, raised or swings.",
        default="windows",
    )
    laws: int = option(
        "gesture-sim: gestures of the set, 1, or in the ranges of people's own, 2.", default=1, least=1, most=2
    )
    view: str | None = option(
        f"gesture-sim: {', '.join(VIEWS)} or mixed; as in the set when not given.",
        default=None,
        choices=(*VIEWS, "mixed"),
    )
    motions: Path | None = option(
        "gesture-sim --part people: a file of motion capture, one or many motions.", default=None
    )
