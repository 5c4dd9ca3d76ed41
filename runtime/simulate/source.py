"""`sim:NAME?key=value&...`: a simulated camera as a source of events, for demonstrations and tests without a real one.

    sim:digits?seed=7&seconds=3&digit=3      drawn digits, one after the other, three saccades each, pauses between
    sim:dvs128-gesture?seed=7&seconds=30     a performer who does gestures (runtime.simulate.gesture_source)

The same spec always gives the same events. Times start at 0. It is a recording, not live: it can be read again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from runtime.base.errors import PlifError
from runtime.base.grammar import whole
from runtime.events.array import EVENT_DTYPE
from runtime.simulate.base import USUAL, SimulatedSource
from runtime.simulate.digits import draw_digit
from runtime.simulate.gesture_source import GestureSource
from runtime.simulate.saccades import DURATION_US, SENSOR_PX, record_digit

PAUSE_US = 90_000
PERIOD_US = DURATION_US + PAUSE_US


class DigitSource(SimulatedSource):
    """Digits, one at a time. `truth` says which digit is shown when."""

    options: ClassVar = {**USUAL, "digit": whole(0, 9)}
    example = "sim:digits?seed=7&seconds=3&digit=3"
    sensor = (SENSOR_PX, SENSOR_PX)

    def __init__(self, spec: str, sensor: tuple[int, int] | None = None) -> None:
        super().__init__(spec, sensor)
        self._digit = self.values.get("digit")

    @property
    def truth(self) -> list[tuple[int, int, str]]:
        """(t_start_us, t_end_us, class) of every digit shown."""
        shown = []
        for start_us in range(0, self._end_us, PERIOD_US):
            digit, _ = self._draw(start_us // PERIOD_US)
            shown.append((start_us, min(start_us + DURATION_US, self._end_us), str(digit)))
        return shown

    def _draw(self, number: int) -> tuple[int, np.random.Generator]:
        rng = np.random.default_rng([self._seed, number])
        drawn = int(rng.integers(10))
        return (drawn if self._digit is None else self._digit), rng

    def _pieces(self) -> Iterator[npt.NDArray[np.void]]:
        for start_us in range(0, self._end_us, PERIOD_US):
            digit, rng = self._draw(start_us // PERIOD_US)
            events = record_digit(draw_digit(digit, rng), rng).astype(EVENT_DTYPE, copy=False)
            events["t"] += start_us
            yield events[events["t"] < self._end_us]


SIMULATED: dict[str, type[DigitSource] | type[GestureSource]] = {"digits": DigitSource, "dvs128-gesture": GestureSource}


def simulated(spec: str, sensor: tuple[int, int] | None = None) -> DigitSource | GestureSource:
    """The source of a spec sim:NAME?... PlifError for a name that has no simulation."""
    name = spec.removeprefix("sim:").removeprefix("//").partition("?")[0]
    if name not in SIMULATED:
        raise PlifError(f"{spec}: '{name}' is not simulated, expected {DigitSource.example} or {GestureSource.example}")
    return SIMULATED[name](spec, sensor)
