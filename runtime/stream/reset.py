"""Reset policies: when membranes and evidence start afresh. Nothing is reset unless the policy or the user says so.

    never, recording   at the start of a recording only
    every:T[/K]        after every T steps. With K, the network runs in K rows of the batch, each reset T/K steps after the one
                       before, and the answer is that of the row which has seen most, so it never comes just after a reset
    silence:MS         when no event came for that many milliseconds (or a gap in time as long), as soon as one comes again
    decay:TAU          over a gap in time, which no frame covers, membranes and evidence fade by exp(-gap / TAU)

Frames that `--decide ...,idle=RATE` calls idle count as silent. A frame without events is a step like any other: the network
forgets in it at its own pace.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import ClassVar

from runtime.base.errors import PlifError
from runtime.events.framing import parse_time_us

KEEP, AFRESH = 1.0, 0.0
ROWS_LIMIT = 64


@dataclass
class ResetPolicy:
    """The policy of one stream, or of one of its rows."""

    kind: str = "recording"
    every: int = 0
    rows: int = 1
    silence_us: int = 0
    tau_us: int = 0
    _steps: int = 0
    _silent_us: int = 0
    KEEPS: ClassVar = ("_steps", "_silent_us")

    @classmethod
    def parse(cls, text: str) -> ResetPolicy:
        if text in ("never", "recording"):
            return cls(text)
        name, _, argument = text.partition(":")
        every = re.fullmatch(r"([1-9]\d{0,8})(?:/([1-9]\d?))?", argument)
        if name == "every" and every:
            T, K = int(every[1]), int(every[2] or 1)
            most = min(T, ROWS_LIMIT)
            if most < K:
                raise PlifError(f"--reset {text}: {K} rows; expected 1 to {most}, no more than there are steps")
            return cls("every", every=T, rows=K)
        if name == "silence" and re.fullmatch(r"[1-9]\d{0,8}(ms)?", argument):
            return cls("silence", silence_us=1000 * int(argument.removesuffix("ms")))
        if name == "decay":
            return cls("decay", tau_us=parse_time_us(f"--reset {text}", "the time constant", argument))
        raise PlifError(
            f"--reset {text}: expected never, recording, every:T[/K] (steps), silence:MS (milliseconds) or decay:TAU"
        )

    def of_row(self, number: int) -> ResetPolicy:
        """The policy of row `number` (from 0): its first reset comes after (number + 1) T / K steps, then every T."""
        ahead = self.every - self.every * (number + 1) // self.rows
        return replace(self, _steps=ahead, _silent_us=0)

    def before(self, events: int, dt_us: int, discontinuity: bool, gap_us: int) -> float:
        """What to multiply the state by before a step: KEEP, AFRESH, or something between.

        dt_us is the time since the last frame's end, gap_us what of it this frame does not cover; time may step back, too.
        """
        silent = self._silent_us + (abs(dt_us) if events == 0 or discontinuity else 0)
        due = self.kind == "every" and self._steps >= self.every
        due = due or (self.kind == "silence" and silent >= self.silence_us and (events > 0 or discontinuity))
        self._silent_us = silent if events == 0 else 0
        self._steps = 1 if due else self._steps + 1
        if due:
            return AFRESH
        if self.kind == "decay" and discontinuity:
            return math.exp(-abs(gap_us) / self.tau_us)
        return KEEP
