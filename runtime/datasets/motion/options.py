"""Options of recordings made from motion capture."""

from __future__ import annotations

from pathlib import Path

from runtime.core.base.options import option
from runtime.datasets.performers.options import LookOptions


class MotionOptions(LookOptions):
    """The command-line options for simulating camera recordings of motion capture files.

    Options that are not given are drawn for each recording.
    """

    bvh: Path | None = option("motion: a folder of motion capture, one folder a class in it.", default=None)
    views: int = option("motion: recordings of each motion.", default=4, least=1, most=1000)
    yaw: float = option(
        "motion: seen from so many degrees to either side of the front.", default=180.0, least=0, most=180
    )
    distance: float | None = option("motion: metres from the camera.", default=None, least=0.3, most=30)
    seconds: float | None = option(
        "motion: each so long; as long as the motion when not given.", default=None, least=0.1, most=3600
    )
    loops: int = option("motion: how often each is done.", default=1, least=1, most=1000)
