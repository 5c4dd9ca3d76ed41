"""`--record DIR`: record a stream into a folder (recorder.py, format in recording.py), and replay it (replay.py)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from runtime.core.base.options import OptionRecord, option

if TYPE_CHECKING:
    from runtime.core.stream.observe import Observer


class RecordOptions(OptionRecord):
    """The command-line option that records a stream (events and decisions) into a folder."""

    record: Path | None = option(
        "A new folder for events, decisions and metrics; naming it as SOURCE replays it.", default=None, metavar="DIR"
    )


def hear(as_json: bool, record: Path) -> list[Observer]:
    """Return the observer that records a stream (events and decisions) into a folder."""
    from runtime.observers.replayed_stream.recorder import Recorder

    return [Recorder(record)]
