"""Options of simulated people: views and looks."""

from __future__ import annotations

from runtime.core.base.options import option
from runtime.datasets.simulated_camera.maker import MakingOptions

VIEWS = ("whole", "far", "cut", "near")  # of a simulated performer
LOOKS = ("usual", "faint", "lamps", "texture", "plain")  # of a simulated performer and camera


class LookOptions(MakingOptions):
    """The command-line options for making a data set of simulated performers (persons)."""

    look: str | None = option(
        f"Of simulated people: {', '.join(LOOKS)}; mixed when not given.", default=None, choices=LOOKS
    )
