"""What a recording is: `plif info RECORDING`, and whether it fits a network, `--for MODEL` (describe.py)."""

from __future__ import annotations

from pathlib import Path

from runtime.core.base.declared import ViewOptions
from runtime.core.base.options import OptionRecord, option

Told = tuple[dict[str, object], list[tuple[str, str]], list[str]]


class ComparedOptions(OptionRecord):
    """With what a recording is compared."""

    model: Path | None = option(
        "Whether the recording fits this model or artifact.", "--for", default=None, metavar="MODEL"
    )


def hear(file: str | None, view: ViewOptions, model: Path | None) -> list[Told]:
    """The document of a recording, and for a person its rows and lines below them."""
    if file is None:
        return []
    from runtime.observers.recording_info.describe import describe, rows_of

    found = describe(file, model, **vars(view))
    return [(found.to_dict(), rows_of(found), [*found.picture, *(f"note: {note}" for note in found.notes)])]
