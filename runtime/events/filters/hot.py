"""Hot pixels: pixels that fire all the time without a cause in the scene.

Learnt from the stream: n is the number of events of a pixel in the stream's first 2 s, m the median of the numbers of its 8
neighbours.

    hot   n >= 20 a second  and  n > 10 (m + 1)

An edge that moves makes neighbours fire alike; the median tolerates three hot pixels among the eight. While the filter learns,
every event passes, so that the first answer does not wait two seconds. Or named: a text file with one `x,y` a line.
"""

from __future__ import annotations

import re

import numpy as np

from runtime.base.errors import PlifError
from runtime.base.files import open_regular
from runtime.events.filters.base import Filter, FilterSpec, Selection, index_pixels, select
from runtime.events.framing import parse_time_us

LEARN_US = 2_000_000
RATE_PER_S = 20
TIMES = 10
NAMED = 8  # pixels that the note names, at most
FILE_LIMIT = 1 << 24


class Hot(Filter):
    """hot, hot:TIME or hot:FILE. Events [N] -> those that are not of a hot pixel."""

    KEEPS = ("mask", "_learns", "_begin_us", "counts")

    def __init__(self, request: FilterSpec) -> None:
        super().__init__(request)
        self.mask = np.zeros(request.count_pixels(), bool)  # [H * W], True is hot
        self._learns, self._learn_us = False, 0  # until the mask is known
        self._begin_us: int | None = None
        self._counts = np.zeros(0, np.int64)  # events of each pixel while it learns
        argument = request.argument
        if argument == "":
            raise PlifError(f"{request.where}: expected hot, hot:2s or hot:FILE, a list of pixels")
        if argument is None or re.fullmatch(r"[\d.]+\s*(us|ms|s)", argument):
            self._learns, self._learn_us = True, LEARN_US
            if argument is not None:
                self._learn_us = parse_time_us(request.where, "the time to learn in", argument)
            self._counts = np.zeros(len(self.mask), np.int64)
        else:
            self.mask[_read_list(request, argument)] = True

    def __call__(self, events: np.ndarray) -> Selection:
        if not self._learns:
            return select(events, self._cold(events))
        if self._begin_us is None:
            self._begin_us = int(events["t"][0])
        over = np.abs(events["t"] - self._begin_us) >= self._learn_us
        end = int(over.argmax()) if over.any() else len(events)
        np.add.at(self._counts, index_pixels(events[:end], self.sensor[0]), 1)
        if end == len(events):
            return events, None
        self._learn()
        kept = np.ones(len(events), bool)
        kept[end:] = self._cold(events[end:])
        return select(events, kept)

    def _cold(self, events: np.ndarray) -> np.ndarray:
        return ~self.mask[index_pixels(events, self.sensor[0])]

    @property
    def counts(self) -> np.ndarray:
        """int64 [H * W], events of each pixel while the filter learns; then zeros."""
        return self._counts if self._learns else np.zeros(len(self.mask), np.int64)

    @counts.setter
    def counts(self, values: np.ndarray) -> None:
        self._counts = values if self._learns else values[:0]

    def _learn(self) -> None:
        width, height = self.sensor
        n = self._counts.reshape(height, width)
        # at the border a neighbour that is not there is replaced by the one opposite
        around = np.pad(n, 1, mode="reflect" if min(n.shape) > 1 else "constant")
        beside = [(dy, dx) for dy in range(3) for dx in range(3) if (dy, dx) != (1, 1)]
        y, x = np.nonzero(n >= RATE_PER_S * self._learn_us / 1e6)  # [K] of the pixels that are often on
        neighbours = np.stack([around[y + dy, x + dx] for dy, dx in beside])  # [8, K]
        median = np.partition(neighbours, 4, axis=0)[4]
        self.mask[y * width + x] = n[y, x] > TIMES * (median + 1)
        self._learns, self._counts = False, self._counts[:0]
        found = np.flatnonzero(self.mask)
        if len(found):
            named = ", ".join(f"({i % width}, {i // width})" for i in found[:NAMED])
            more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
            self.notes.append(f"hot pixels masked: {named}{more}")


def _read_list(request: FilterSpec, path: str) -> np.ndarray:
    """The pixels of a file, as y * width + x, int64 [K]."""
    width, height = request.sensor
    try:
        with open_regular(path, "a list of pixels, one x,y a line") as file:
            content = file.read(FILE_LIMIT + 1)
        if len(content) > FILE_LIMIT:
            raise PlifError(f"{path}: is larger than {FILE_LIMIT} bytes; expected a list of pixels, one x,y a line")
        lines = content.decode("utf-8").splitlines()
    except PlifError as error:
        raise PlifError(f"{request.where}: {error}") from None
    except (OSError, ValueError) as error:  # ValueError: not UTF-8
        reason = getattr(error, "strerror", None) or error
        raise PlifError(f"{request.where}: {path}: cannot be read as a list of pixels ({reason})") from None
    found = []
    for number, line in enumerate(lines, 1):
        line = line.partition("#")[0].strip()
        if line:
            match = re.fullmatch(r"(\d{1,5})\s*,\s*(\d{1,5})", line)
            if not match or int(match[1]) >= width or int(match[2]) >= height:
                raise PlifError(f"{path}: line {number}: '{line[:40]}' is no pixel x,y of the {width}x{height} sensor")
            found.append(int(match[2]) * width + int(match[1]))
    return np.array(found, np.int64)
