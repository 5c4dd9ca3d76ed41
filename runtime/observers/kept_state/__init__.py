"""`--state FILE`: continue a stream in another process from its saved state (state_file.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.core.base.options import OptionRecord, option

if TYPE_CHECKING:
    from runtime.core.engines.model import OpenModel
    from runtime.core.stream.observe import Observer


class StateOptions(OptionRecord):
    """The option that names the state file of a stream."""

    state: str | None = option(
        "A file that keeps the state: where it is, the stream goes on from it; at the end it is written.", default=None
    )


def hear(model: OpenModel, state: str) -> list[Observer]:
    """Return the observer that loads and saves the state of a run."""
    from runtime.observers.kept_state.state_file import StateFile

    return [StateFile(state)]
