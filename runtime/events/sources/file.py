"""A recording on disk: read as often as one likes, in constant memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from runtime.base.errors import PlifError
from runtime.events.array import smallest_sensor
from runtime.events.formats import open_recording
from runtime.events.formats.base import Losses
from runtime.events.sources.base import Source
from runtime.events.sources.usable import pieces, usable


class FileSource(Source):
    """See `Source`. `sensor` (width, height) overrides what the file says or what its coordinates suggest."""

    def __init__(self, name: str, sensor: tuple[int, int] | None = None) -> None:
        super().__init__(name)
        self._recording = open_recording(Path(name))
        self.format = self._recording.format
        self.upright = self._recording.upright
        self.sensor = sensor or self._recording.sensor or self._guess_sensor()

    def _guess_sensor(self) -> tuple[int, int]:
        """One pass over the file: the smallest known sensor that holds all coordinates."""
        width = height = 1
        for events in self._decode(Losses()):
            if len(events):
                width, height = max(width, int(events["x"].max()) + 1), max(height, int(events["y"].max()) + 1)
        return smallest_sensor(width, height, self._recording.sensors, exact_beyond=self._recording.exact_beyond)

    def _decode(self, losses: Losses) -> Iterator[np.ndarray]:
        try:
            yield from self._recording.decode(losses)
        except OSError as error:
            raise PlifError(f"{self.name}: cannot be read: {error.strerror or error}") from None

    def packets(self, max_events: int = 65536) -> Iterator[np.ndarray]:
        """Events [N] of EVENT_DTYPE from the beginning; see Source."""
        self.begin(max_events)
        self.losses = losses = Losses()
        total = 0
        for events in self._decode(losses):
            events = usable(events, self.sensor, losses)
            total += len(events)
            yield from pieces(events, max_events)
        losses.close(self.name)
        self._count = total

    def count(self) -> int:
        if self._count is None:
            losses = Losses()
            self._count = sum(len(usable(events, self.sensor, losses)) for events in self._decode(losses))
        return self._count
