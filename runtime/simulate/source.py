"""`sim:NAME?key=value&...`: a simulated camera as a source of events, for demonstrations and tests without one.

    sim:digits?seed=7&seconds=3&digit=3      drawn digits, one after the other, three saccades each, pauses between
    sim:dvs128-gesture?seed=7&seconds=30     a performer who does gestures (runtime.simulate.gesture_source)

The same spec gives the same events for ever. Times start at 0. It is a recording, not live: it can be read again.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from runtime.base.errors import PlifError
from runtime.events.array import EVENT_DTYPE
from runtime.events.sources.base import Source
from runtime.events.sources.usable import pieces
from runtime.simulate.digits import draw_digit
from runtime.simulate.gesture_source import GestureSource
from runtime.simulate.saccades import DURATION_US, SENSOR_PX, record_digit
from runtime.simulate.spec import SimSpec

PAUSE_US = 90_000
PERIOD_US = DURATION_US + PAUSE_US


class DigitSource(Source):
    """See `Source`. `truth` says which digit is shown when."""

    format = "sim"
    endless = True

    def __init__(self, spec: str, sensor: tuple[int, int] | None = None) -> None:
        asked = SimSpec(spec, ("seed", "seconds", "digit"), "sim:digits?seed=7&seconds=3&digit=3")
        super().__init__(spec)
        self.sensor = asked.sized((SENSOR_PX, SENSOR_PX), sensor)
        self._seed = asked.whole("seed", 2**63 - 1)
        self._digit = asked.whole("digit", 9) if "digit" in asked.values else None
        self._end_us = asked.end_us()

    @property
    def truth(self) -> list[tuple[int, int, str]]:
        """(t_start_us, t_end_us, class) of every digit shown."""
        shown = []
        for start_us in range(0, self._end_us, PERIOD_US):
            digit, _ = self._show(start_us // PERIOD_US)
            shown.append((start_us, min(start_us + DURATION_US, self._end_us), str(digit)))
        return shown

    def _show(self, number: int) -> tuple[int, np.random.Generator]:
        rng = np.random.default_rng([self._seed, number])
        drawn = int(rng.integers(10))
        return (drawn if self._digit is None else self._digit), rng

    def packets(self, max_events: int = 65536) -> Iterator[npt.NDArray[np.void]]:
        """Events in order, at most max_events at a time; one digit is in memory."""
        self.begin(max_events)
        for start_us in range(0, self._end_us, PERIOD_US):
            digit, rng = self._show(start_us // PERIOD_US)
            events = record_digit(draw_digit(digit, rng), rng).astype(EVENT_DTYPE, copy=False)
            events["t"] += start_us
            events = events[events["t"] < self._end_us]
            yield from pieces(events, max_events)


SIMULATED: dict[str, type[DigitSource] | type[GestureSource]] = {"digits": DigitSource, "dvs128-gesture": GestureSource}


def simulated(spec: str, sensor: tuple[int, int] | None = None) -> DigitSource | GestureSource:
    """The source of a spec sim:NAME?... PlifError for what is not simulated."""
    name = SimSpec.name_of(spec)
    if name not in SIMULATED:
        raise PlifError(
            f"{spec}: '{name}' is not simulated, expected sim:digits?seed=7&seconds=3&digit=3"
            " or sim:dvs128-gesture?seed=7&seconds=30"
        )
    return SIMULATED[name](spec, sensor)
