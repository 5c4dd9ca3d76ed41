"""`--state FILE`: a stream goes on in another process where it stopped (state_file.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.core.base.options import OptionRecord, option

if TYPE_CHECKING:
    from runtime.core.engines.model import OpenModel
    from runtime.core.stream.observe import Observer


class StateOptions(OptionRecord):
    """Where the state is."""

    state: str | None = option(
        "A file that keeps the state: where it is, the stream goes on from it; at the end it is written.", default=None
    )


def hear(model: OpenModel, state: str) -> list[Observer]:
    """The observers of a run whose state is kept."""
    from runtime.observers.kept_state.state_file import StateFile

    return [StateFile(state)]
