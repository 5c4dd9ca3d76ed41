"""What every simulated source offers, and the text that selects it: `sim:NAME?key=value&...`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from runtime.base.errors import PlifError
from runtime.base.grammar import Reader, number_or_word, read_query, whole
from runtime.events.sources.base import Source
from runtime.events.sources.usable import pieces

SECONDS_LIMIT = 86_400
SEED_LIMIT = 2**63 - 1


def _seconds(text: str) -> float:
    found = number_or_word(text)
    if not isinstance(found, float) or not 0 < found <= SECONDS_LIMIT:
        raise ValueError(f"a number above 0, up to {SECONDS_LIMIT}")
    return found


USUAL: Mapping[str, Reader] = {
    "seed": whole(0, SEED_LIMIT),
    "seconds": _seconds,
}  # what every simulated source may be told


class SimulatedSource(Source):
    """A simulated camera as a source of events: a recording, made while it is read.

    `options` reads those that a spec may have, and `values` has those that it has. PlifError names any other part.
    """

    format = "sim"
    endless = True
    options: ClassVar[Mapping[str, Reader]]
    example: ClassVar[str]
    sensor: tuple[int, int]

    def __init__(self, spec: str, sensor: tuple[int, int] | None = None) -> None:
        super().__init__(spec)
        self.values = read_query(spec, spec.partition("?")[2], self.options, self.example)
        if sensor is not None and tuple(sensor) != self.sensor:
            width, height = self.sensor
            raise PlifError(f"{spec}: this simulated sensor is {width}x{height}, not {sensor[0]}x{sensor[1]}")
        self._end_us, self._seed = round(self.values.get("seconds", 3.0) * 1e6), self.values.get("seed", 0)

    def _pieces(self) -> Iterator[npt.NDArray[np.void]]:
        """The events [N] in order, a short time after the other: only one piece is in memory."""
        raise NotImplementedError

    def packets(self, max_events: int = 65536) -> Iterator[npt.NDArray[np.void]]:
        """Events [N] in order, N <= max_events."""
        self.begin(max_events)
        for events in self._pieces():
            yield from pieces(events, max_events)
