"""Doubts an engine that `--engine auto` chose: what was measured is forgotten where steps have become slower, and a note says so.

The stream keeps its engine, because another one adds in another order.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from runtime.core.engines.model import EngineChoice, OpenModel
from runtime.core.observers import hearing
from runtime.core.stream.observe import Observer

if TYPE_CHECKING:
    from runtime.core.stream.run import Run

SLOWER, CALLS = 3.0, 500


class Doubt(Observer):
    """Forgets when CALLS more of its steps than not took over SLOWER times as long as was measured of `choice`."""

    def __init__(self, choice: EngineChoice) -> None:
        self._choice, self._limit_ms, self._slow = choice, math.inf, 0

    def on_start(self, run: Run) -> None:
        """The measurement had as many rows as the card says, one in most; here all may have a frame at once."""
        self._say = run.source.say
        self._expected_ms = run.session.streams * max(self._choice.measured_ms[self._choice.engine].values())
        self._limit_ms = SLOWER * self._expected_ms

    def on_step(self, took_ms: float) -> None:
        self._slow = self._slow + 1 if took_ms > self._limit_ms else max(self._slow - 1, 0)
        if self._slow >= CALLS:
            self._limit_ms = math.inf  # it is said once
            for part in hearing("choice", "engines"):
                part.load("forget")(self._choice.key)
            self._say(
                f"most steps take over {SLOWER:g} times the {self._expected_ms:.3g} ms for which engine "
                f"{self._choice.engine} was chosen: the next start measures again"
            )


def hear(model: OpenModel) -> list[Observer]:
    """The observer of a run whose engine was measured."""
    choice = model.engine_choice
    return [] if choice is None or choice.engine not in choice.measured_ms else [Doubt(choice)]
