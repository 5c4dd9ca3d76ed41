"""`--state FILE`: continue a stream in another process from its saved state (state_file.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.core.base.options import OptionRecord, option

if TYPE_CHECKING:
    from runtime.core.engines.model import OpenModel
    from runtime.core.stream.observe import Observer


class StateOptions(OptionRecord):
    """The command-line option that names the file in which a stream's state is kept between runs."""

    state: str | None = option(
        "A file that keeps the state: where it is, the stream goes on from it; at the end it is written.", default=None
    )


def hear(model: OpenModel, state: str) -> list[Observer]:
    """Return the observer that loads a stream's state from a file at its start, and saves it at its end."""
    from runtime.observers.kept_state.state_file import StateFile

    return [StateFile(state)]
