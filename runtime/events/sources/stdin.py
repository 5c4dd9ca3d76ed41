"""CSV events on standard input, as they arrive: `camera-tool | plif stream model.onnx -`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from runtime.errors import PlifError
from runtime.events.formats.base import Log
from runtime.events.formats.csv import CsvParser
from runtime.events.sources.usable import pieces, usable

READ_BYTES = 1 << 16


class StdinSource:
    """See `Source`. A packet holds whatever lines were there when standard input was read, so nothing waits."""

    format = "csv"
    upright = "identity"
    live = True

    def __init__(self, name: str, sensor: tuple[int, int] | None = None, stream: BinaryIO | None = None) -> None:
        if sensor is None:
            raise PlifError(
                f"{name}: events on standard input do not say how large the sensor is; say it: --sensor 346x260"
            )
        self.name, self.sensor = name, sensor
        self.invalid = 0
        self.notes: list[str] = []
        self._stream = stream
        self._begun = False

    def packets(self, max_events: int = 65536) -> Iterator[np.ndarray]:
        if max_events < 1:
            raise PlifError(f"{self.name}: packets of {max_events} events; expected at least 1")
        if self._begun:
            raise PlifError(f"{self.name}: standard input cannot be read twice: record it to a file first")
        self._begun = True
        stream = self._stream if self._stream is not None else sys.stdin.buffer
        read = getattr(stream, "read1", stream.read)  # read1 returns what is there instead of waiting for more
        log = Log(notes=self.notes)
        parser = CsvParser(self.name, log)
        more = True
        while more:
            data = read(READ_BYTES)
            more = bool(data)
            events = usable(parser.feed(data) if more else parser.finish(), self.sensor, log)
            self.invalid = log.invalid
            yield from pieces(events, max_events)
        log.close(self.name)

    def count(self) -> int:
        raise PlifError(f"{self.name}: a live source has no number of events: record it to a file first")
