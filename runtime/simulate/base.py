"""What every simulated source offers, and the text that selects it: `sim:NAME?key=value&...`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar
from urllib.parse import parse_qsl

import numpy as np
import numpy.typing as npt

from runtime.base.errors import PlifError
from runtime.events.sources.base import Source
from runtime.events.sources.usable import pieces

SECONDS_LIMIT = 86_400
SEED_LIMIT = 2**63 - 1


class SimulatedSource(Source):
    """A simulated camera as a source of events: a recording, made while it is read.

    `values` has the options of the spec: only those that are known, each once. PlifError names any other part.
    """

    format = "sim"
    endless = True
    options: ClassVar[tuple[str, ...]]
    example: ClassVar[str]
    sensor: tuple[int, int]

    def __init__(self, spec: str, sensor: tuple[int, int] | None = None) -> None:
        super().__init__(spec)
        query = spec.partition("?")[2]
        self.values = dict(parse_qsl(query, keep_blank_values=True))
        unknown = sorted(set(self.values) - set(self.options))
        if unknown or (query and len(self.values) != query.count("&") + 1):
            raise PlifError(
                f"{spec}: '{unknown[0] if unknown else query}' is not understood, expected"
                f" {', '.join(f'{name}=' for name in self.options[:-1])} and {self.options[-1]}=, as in {self.example}"
            )
        if sensor is not None and tuple(sensor) != self.sensor:
            width, height = self.sensor
            raise PlifError(f"{spec}: this simulated sensor is {width}x{height}, not {sensor[0]}x{sensor[1]}")
        self._end_us = self._parse_end_us()

    def _parse_end_us(self) -> int:
        """The length, from `seconds`; 3 s without it."""
        text = self.values.get("seconds", "3")
        try:
            seconds = float(text)
        except ValueError:
            seconds = -1.0
        if not 0 < seconds <= SECONDS_LIMIT:
            raise PlifError(f"{self.name}: seconds='{text}', expected a number above 0, up to {SECONDS_LIMIT}")
        return round(seconds * 1e6)

    def _parse_whole(self, name: str, most: int) -> int:
        """A whole number from 0 to `most`; 0 where the spec does not have it."""
        text = self.values.get(name, "0")
        if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= most):
            raise PlifError(f"{self.name}: {name}='{text}', expected a whole number from 0 to {most}")
        return int(text)

    def _pieces(self) -> Iterator[npt.NDArray[np.void]]:
        """The events [N] in order, a short time after the other: only one piece is in memory."""
        raise NotImplementedError

    def packets(self, max_events: int = 65536) -> Iterator[npt.NDArray[np.void]]:
        """Events [N] in order, N <= max_events."""
        self.begin(max_events)
        for events in self._pieces():
            yield from pieces(events, max_events)
