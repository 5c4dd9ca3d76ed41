"""A recording on disk as a source, which can be read any number of times in constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.events.formats import open_recording
from runtime.core.events.formats.base import Losses
from runtime.core.events.size import candidate_sizes, guess_sensor
from runtime.core.events.sources.base import Source
from runtime.core.events.sources.usable import keep_usable, outside_reason, split_packets
from runtime.native.interface import Evt3Reader

NEARLY = 99  # times as many unusable events as usable ones: nearly none is usable


class FileSource(Source):
    """A recording file as a source of events.

    `user_sensor` (width, height) and `trained` are for a file that does not say its sensor, in the order of
    runtime/core/events/size.py; `sensor` overrides the file's. `options`: an option of its format (open_recording).
    """

    def __init__(
        self,
        name: str,
        sensor: tuple[int, int] | None = None,
        trained: tuple[int, int] | None = None,
        user_sensor: tuple[int, int] | None = None,
        **options: str,
    ) -> None:
        super().__init__(name)
        self._recording = open_recording(Path(name), **options)
        self.guesses.extend(self._recording.guesses)
        self.format = self._recording.format
        self.upright = self._recording.upright
        file_sensor = self._recording.sensor
        self.sensor_from = (
            "asked" if sensor or (user_sensor and not file_sensor) else "recording" if file_sensor else "guess"
        )
        self.sensor = sensor or file_sensor or user_sensor or self._guess_sensor(trained)
        if self.sensor_from == "recording" and user_sensor not in (None, file_sensor):
            self.guesses.append(
                "{}: says itself that its sensor is {}x{}, which is taken; {}x{} is for recordings that do not say".format(
                    name, *self.sensor, *(user_sensor or ())
                )
            )

    def _guess_sensor(self, trained: tuple[int, int] | None) -> tuple[int, int]:
        """Guess a recording's sensor size in one pass over the file, and note the guess."""
        usual = candidate_sizes(trained, self._recording.sensors)
        size, outside = guess_sensor(self.name, self._decode(Losses()), usual)
        holds = "all but " + str(outside) if outside else "all"
        if size == trained:
            self.sensor_from = "model"
            self.guesses.append(
                f"{self.name}: does not say its sensor: {size[0]}x{size[1]}, as of the network's training, which holds {holds} "
                "of its events; if it is another, say it: --sensor WIDTHxHEIGHT"
            )
            return size
        basis = "the smallest usual one that holds" if size in usual else "which is just what holds"
        self.guesses.append(
            f"{self.name}: does not say its sensor: {size[0]}x{size[1]} is a guess, {basis} {holds} of its events; "
            f"if it is another, say it: --sensor WIDTHxHEIGHT"
        )
        return size

    def _decode(self, losses: Losses) -> Iterator[np.ndarray]:
        try:
            yield from self._recording.decode(losses)
        except OSError as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: OSError) -> PlifError:
        return PlifError(f"{self.name}: cannot be read: {error.strerror or error}")

    def packets(self, max_events: int = 65536) -> Iterator[np.ndarray]:
        """Yield the usable events of a file in packets [N] of EVENT_DTYPE, N at most `max_events`, from its beginning."""
        self.begin(max_events)
        self.losses = losses = Losses()
        total = 0
        for events in self._decode(losses):
            events = keep_usable(events, self.sensor, losses)
            total += len(events)
            yield from split_packets(events, max_events)
        self._finish(total, losses)

    def words(self) -> Iterator[tuple[np.ndarray, Evt3Reader]] | None:
        """Return the undecoded words [N] of the file for a framer, or None for a format without them."""
        return None if self._recording.words is None else self._words(self._recording.words)

    def _words(
        self, words_of: Callable[[Losses], Iterator[tuple[np.ndarray, Evt3Reader]]]
    ) -> Iterator[tuple[np.ndarray, Evt3Reader]]:
        self.losses = losses = Losses()
        total = 0
        try:
            for words, reader in words_of(losses):
                yield words, reader
                losses.add(reader.outside, outside_reason(self.sensor))
                total += reader.events
                reader.outside = reader.events = 0
        except OSError as error:
            raise self._unreadable(error) from None
        self._finish(total, losses)

    def count(self) -> int:
        if self._count is None:
            losses = Losses()
            return self._finish(
                sum(len(keep_usable(events, self.sensor, losses)) for events in self._decode(losses)), losses
            )
        return self._count

    def _finish(self, total: int, losses: Losses) -> int:
        """Finish a pass over a whole file: note its losses, refuse it if (nearly) no event was usable, store `total`."""
        losses.close(self.name)
        self._refuse_useless(total, losses)
        self._count = total
        return total

    def _refuse_useless(self, used: int, losses: Losses) -> None:
        """Refuse a file in which (nearly) no event can be used: its format is another one than assumed."""
        if losses.invalid > NEARLY * used:
            width, height = self.sensor
            outside = any("outside the" in note for note in losses.notes)
            advice = f"is the sensor {width}x{height}?" if outside else self._recording.advice
            raise PlifError(
                f"{self.name}: {losses.invalid} of {used + losses.invalid} events cannot be used, read as {self.format} "
                f"({'; '.join(losses.notes[:2])}): {advice}"
            )
