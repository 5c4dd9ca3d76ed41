"""`plif info RECORDING`: describe a recording, and compare it with a network (`--for MODEL`, describe.py)."""

from __future__ import annotations

from pathlib import Path

from runtime.core.base.declared import ViewOptions
from runtime.core.base.options import OptionRecord, option

InfoTable = tuple[dict[str, object], list[tuple[str, str]], list[str]]


class ComparisonOptions(OptionRecord):
    """The command-line option that names a model to compare a recording with."""

    model: Path | None = option(
        "Whether the recording fits this model or artifact.", "--for", default=None, metavar="MODEL"
    )


def hear(file: str | None, view: ViewOptions, model: Path | None) -> list[InfoTable]:
    """Return the JSON document that describes a recording, its table rows, and lines below them, for `plif info`."""
    if file is None:
        return []
    from runtime.observers.recording_info.describe import describe_recording, info_rows

    info = describe_recording(file, model, **vars(view))
    return [(info.to_dict(), info_rows(info), [*info.picture, *(f"note: {note}" for note in info.notes)])]
