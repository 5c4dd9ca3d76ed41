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
from runtime.core.events.sources.usable import keep_usable, split_packets
from runtime.formats.csv_text import CsvParser
from runtime.formats.csv_text.layout import parse_layout

READ_BYTES = 1 << 16


class StdinSource(Source):
    """A source that reads events as lines of CSV from standard input.

    A packet holds the lines that were available when standard input was read; it does not wait for more.
    """

    format = "csv"
    sensor_from = "asked"
    waits = True  # the writer of a full pipe waits

    def __init__(
        self, name: str, sensor: tuple[int, int] | None = None, stream: BinaryIO | None = None, csv: str | None = None
    ) -> None:
        super().__init__(name)
        if sensor is None:
            raise PlifError(
                f"{name}: events on standard input do not contain the sensor size; add it, for example --sensor 346x260"
            )
        self.sensor = sensor
        self._layout = None if csv is None else parse_layout(csv)
        self._stream = stream
        self._wake = os.pipe()

    def close(self) -> None:
        with suppress(OSError):
            os.write(self._wake[1], b"x")

    def packets(self, max_events: int = 65536) -> Iterator[np.ndarray]:
        """Yield events [N] of EVENT_DTYPE as they arrive on standard input."""
        self.begin(max_events)
        # raw: a thread in a buffered read holds the buffer's lock, and Python could not exit
        stream = self._stream if self._stream is not None else getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)
        read = getattr(stream, "read1", stream.read)  # read1 returns the available bytes and does not wait for more
        parser = CsvParser(self.name, self.losses, self._layout)
        has_data = True
        while has_data:
            data = read(READ_BYTES) if self._wait(stream) else b""
            has_data = bool(data)
            events = keep_usable(parser.feed(data) if has_data else parser.finish(), self.sensor, self.losses)
            if parser.layout is not None and parser.layout.guess and not self.guesses:
                self.guesses.append(parser.layout.guess)
            yield from split_packets(events, max_events)
        self.losses.close(self.name)

    def _wait(self, stream: BinaryIO) -> bool:
        """Wait until standard input has data or ends; return False when close() was called."""
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
