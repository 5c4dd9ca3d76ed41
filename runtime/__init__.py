"""Run: events -> frames -> engine step -> decision. No torch; NumPy and one engine are enough.

load(path) -> Model            an exported artifact, opened
Model.session(streams)         the state of some streams: step, run, reset, snapshot, restore
Model.stream(source)           decisions about a recording or a live feed
"""

from __future__ import annotations

from runtime.errors import CheckFailed, PlifError
from runtime.session import Model, Session, load
from runtime.version import __version__

__all__ = ["CheckFailed", "Model", "PlifError", "Session", "__version__", "load"]
