"""`--record DIR`: recorder.py writes a stream into a folder, whose files recording.py describes; replay.py streams it again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from runtime.core.base.options import OptionRecord, option

if TYPE_CHECKING:
    from runtime.core.stream.observe import Observer


class RecordOptions(OptionRecord):
    """Who records."""

    record: Path | None = option(
        "A new folder for events, decisions and metrics; naming it as SOURCE replays it.", default=None, metavar="DIR"
    )


def hear(as_json: bool, record: Path) -> list[Observer]:
    """The observers of a stream that is to be recorded."""
    from runtime.observers.record.recorder import Recorder

    return [Recorder(record)]
