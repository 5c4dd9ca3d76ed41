"""The rules of one stream as the runtime asks them, for tests: whole votes in, answers out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from runtime.core.stream.decide import Rules
from runtime.native.interface import IDLE


class Asked:
    """Rules about classes a, b, .. (where `other`, the last is "other"), asked frame by frame, each from the end of the last.

    share  the answer's, after `add`;  idle: whether the answer was that nothing happens
    """

    def __init__(
        self, decide: str = "sum", classes: int = 3, voters: int = 1, reset: str = "never", other: bool = False
    ) -> None:
        names = [chr(ord("a") + i) for i in range(classes - other)] + ["other"] * other
        self.rules = Rules(names, voters, 4, decide, reset)
        self.voters, self.at_us = voters, 0
        self.share, self.idle = 0.0, False

    def add(self, c: Sequence[float], dt_us: int = 1000, events: int = 100) -> int | None:
        """Whole votes c [classes] of a step of dt_us with so many events -> the answer, or None."""
        self.rules.before_step(self.at_us, self.at_us + dt_us, events)
        self.at_us += dt_us
        y = np.array([c] * self.rules.rows, np.float32) / np.float32(self.voters)
        found = self.rules.after_step(y)
        self.share, self.idle = found.score, found.index == IDLE
        return found.index if found.index >= 0 else None

    def due(self, events: int, dt_us: int, gap: bool = False) -> list[bool]:
        """Which rows begin afresh with a frame of no length, dt_us after the last one."""
        self.at_us += dt_us
        self.rules.before_step(self.at_us, self.at_us, events, int(gap))
        return (self.rules.decay == 0).tolist()
