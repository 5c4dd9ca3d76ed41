"""CSV events on standard input, as they arrive: `camera-tool | plif stream model.onnx -`."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.events.sources.base import Source
from runtime.core.events.sources.usable import pieces, usable
from runtime.formats.csv_text import CsvParser
from runtime.formats.csv_text.layout import parse_layout

READ_BYTES = 1 << 16


class StdinSource(Source):
    """See `Source`. A packet holds the lines that were there when standard input was read; it does not wait for more."""

    format = "csv"
    sensor_from = "asked"
    waits = True  # whoever writes into a full pipe waits

    def __init__(
        self, name: str, sensor: tuple[int, int] | None = None, stream: BinaryIO | None = None, csv: str | None = None
    ) -> None:
        super().__init__(name)
        if sensor is None:
            raise PlifError(
                f"{name}: events on standard input do not say how large the sensor is; say it: --sensor 346x260"
            )
        self.sensor = sensor
        self._layout = None if csv is None else parse_layout(csv)
        self._stream = stream
        self._wake = os.pipe()

    def close(self) -> None:
        with suppress(OSError):
            os.write(self._wake[1], b"x")

    def packets(self, max_events: int = 65536) -> Iterator[np.ndarray]:
        """Events [N] of EVENT_DTYPE as they come; see Source."""
        self.begin(max_events)
        # raw: a thread that waits in a buffered read holds the lock of the buffer, and Python cannot exit then
        stream = self._stream if self._stream is not None else getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)
        read = getattr(stream, "read1", stream.read)  # read1 returns what is there instead of waiting for more
        parser = CsvParser(self.name, self.losses, self._layout)
        more = True
        while more:
            data = read(READ_BYTES) if self._wait(stream) else b""
            more = bool(data)
            events = usable(parser.feed(data) if more else parser.finish(), self.sensor, self.losses)
            if parser.layout is not None and parser.layout.guess and not self.guesses:
                self.guesses.append(parser.layout.guess)
            yield from pieces(events, max_events)
        self.losses.close(self.name)

    def _wait(self, stream: BinaryIO) -> bool:
        """Waits until there is something to read or the input ends; false when close() was called."""
        if self._stream is not None:
            return True
        ready, _, _ = select.select([stream.fileno(), self._wake[0]], [], [])
        return self._wake[0] not in ready

    def __del__(self) -> None:
        for end in getattr(self, "_wake", ()):
            with suppress(OSError):
                os.close(end)

    live = True


SOURCE = StdinSource
