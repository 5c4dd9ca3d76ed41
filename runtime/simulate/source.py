"""`sim:NAME?key=value&...`: a simulated camera as a source of events, for demonstrations and tests without one.

    sim:digits?seed=7&seconds=3&digit=3      drawn digits, one after the other, three saccades each, pauses between

The same spec gives the same events for ever. Times start at 0. It is a recording, not live: it can be read again.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qsl

import numpy as np
import numpy.typing as npt

from runtime.errors import PlifError
from runtime.events.array import EVENT_DTYPE
from runtime.simulate.digits import draw_digit
from runtime.simulate.saccades import DURATION_US, SENSOR_PX, record_digit

PAUSE_US = 90_000
PERIOD_US = DURATION_US + PAUSE_US
SECONDS_LIMIT = 86_400


class SimSource:
    """See runtime.events.Source. `truth` says which digit is shown when."""

    format = "sim"
    live = False
    upright = "identity"

    def __init__(self, spec: str, sensor: tuple[int, int] | None = None) -> None:
        self.name = spec
        self.sensor = (SENSOR_PX, SENSOR_PX)
        self.invalid = 0
        self.notes: list[str] = []
        if sensor is not None and tuple(sensor) != self.sensor:
            raise PlifError(f"{spec}: this simulated sensor is {SENSOR_PX}x{SENSOR_PX}, not {sensor[0]}x{sensor[1]}")
        what, _, query = spec.removeprefix("sim:").removeprefix("//").partition("?")
        if what != "digits":
            raise PlifError(f"{spec}: '{what}' is not simulated, expected sim:digits?seed=7&seconds=3&digit=3")
        values = dict(parse_qsl(query, keep_blank_values=True))
        unknown = sorted(set(values) - {"seed", "seconds", "digit"})
        if unknown or (query and len(values) != query.count("&") + 1):
            raise PlifError(
                f"{spec}: '{unknown[0] if unknown else query}' is not understood, expected seed=, seconds= and digit="
            )
        self._seed = self._whole(values.get("seed", "0"), "seed", 2**63 - 1)
        self._digit = self._whole(values["digit"], "digit", 9) if "digit" in values else None
        self._end_us = round(self._seconds(values.get("seconds", "3")) * 1e6)
        self._total: int | None = None

    def _whole(self, text: str, name: str, most: int) -> int:
        if not (text.isascii() and text.isdigit() and int(text) <= most):
            raise PlifError(f"{self.name}: {name}='{text}', expected a whole number from 0 to {most}")
        return int(text)

    def _seconds(self, text: str) -> float:
        try:
            seconds = float(text)
        except ValueError:
            seconds = -1.0
        if not 0 < seconds <= SECONDS_LIMIT:
            raise PlifError(f"{self.name}: seconds='{text}', expected a number above 0, up to {SECONDS_LIMIT}")
        return seconds

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
        if max_events < 1:
            raise PlifError(f"{self.name}: packets of {max_events} events; expected at least 1")
        total = 0
        for start_us in range(0, self._end_us, PERIOD_US):
            digit, rng = self._show(start_us // PERIOD_US)
            events = record_digit(draw_digit(digit, rng), rng).astype(EVENT_DTYPE, copy=False)
            events["t"] += start_us
            events = events[events["t"] < self._end_us]
            total += len(events)
            for at in range(0, len(events), max_events):
                yield events[at : at + max_events]
        self._total = total

    def count(self) -> int:
        if self._total is None:
            self._total = sum(len(packet) for packet in self.packets())
        return self._total
