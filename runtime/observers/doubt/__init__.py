"""Detection of an engine that became slower than when `--engine auto` chose it.

The stored measurement is then deleted, and a note tells the user. The stream keeps its engine, because another engine
adds in another order.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from runtime.core.engines.model import EngineChoice, OpenModel
from runtime.core.observers import find_observers
from runtime.core.stream.observe import Observer

if TYPE_CHECKING:
    from runtime.core.stream.run import Run

SLOWER, CALLS = 3.0, 500


class SlowEngineDetector(Observer):
    """An observer that deletes the stored speed measurement of an engine if its steps become slow.

    It does so when the slow steps outnumber the others by CALLS. A slow step takes over SLOWER times as long as
    measured for `choice`.
    """

    def __init__(self, choice: EngineChoice) -> None:
        self._choice, self._limit_ms, self._slow = choice, math.inf, 0

    def on_start(self, run: Run) -> None:
        """Set the time limit of a step, from the speed measurement by which the stream's engine was chosen.

        The measurement ran as many rows as the card says, mostly one; here all rows may have a frame at once.
        """
        self._say = run.source.say
        self._expected_ms = run.session.streams * max(self._choice.measured_ms[self._choice.engine].values())
        self._limit_ms = SLOWER * self._expected_ms

    def on_step(self, took_ms: float) -> None:
        self._slow = self._slow + 1 if took_ms > self._limit_ms else max(self._slow - 1, 0)
        if self._slow >= CALLS:
            self._limit_ms = math.inf  # report it once
            for part in find_observers("choice", "engines"):
                part.load("forget")(self._choice.key)
            self._say(
                f"most steps take over {SLOWER:g} times the {self._expected_ms:.3g} ms for which engine "
                f"{self._choice.engine} was chosen: the next start measures again"
            )


def hear(model: OpenModel) -> list[Observer]:
    """Return an observer that detects a slow engine, if the stream's engine was chosen by a speed measurement."""
    choice = model.engine_choice
    return [] if choice is None or choice.engine not in choice.measured_ms else [SlowEngineDetector(choice)]
