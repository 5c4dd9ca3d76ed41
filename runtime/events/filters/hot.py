"""Hot pixels: those that fire on their own, all the time.

Learnt: n is the number of events of a pixel in the first `learn` of the stream, m the median of its 8 neighbours' numbers.

    hot   n >= 20 a second  and  n > 10 (m + 1)

An edge that moves makes neighbours fire alike, and the median forgives three hot ones among them. Until then everything
passes: an answer need not wait two seconds. Or given: a text file with one `x,y` a line.
"""

from __future__ import annotations

import re

import numpy as np

from runtime.base.errors import PlifError
from runtime.events.filters.base import Passed, Request, pixels, those
from runtime.events.framing import parse_time_us

LEARN_US = 2_000_000
RATE_PER_S = 20
TIMES = 10
NAMED = 8  # so many are named in the note
FILE_LIMIT = 1 << 24


class Hot:
    def __init__(self, request: Request) -> None:
        self.sensor = request.sensor
        self.notes: list[str] = []
        self.mask = np.zeros(request.pixels(), bool)
        self._learn_us: int | None = None  # None once the mask is known
        self._begin_us: int | None = None
        argument = request.argument
        if argument == "":
            raise PlifError(f"{request.where}: expected hot, hot:2s or hot:FILE, a list of pixels")
        if argument is None or re.fullmatch(r"[\d.]+\s*(us|ms|s)", argument):
            self._learn_us = (
                LEARN_US if argument is None else parse_time_us(request.where, "the time to learn in", argument)
            )
            self._counts = np.zeros(len(self.mask), np.int64)
        else:
            self.mask[_read_list(request, argument)] = True

    def __call__(self, events: np.ndarray) -> Passed:
        if self._learn_us is None:
            return those(events, self._cold(events))
        if self._begin_us is None:
            self._begin_us = int(events["t"][0])
        over = np.abs(events["t"] - self._begin_us) >= self._learn_us
        end = int(over.argmax()) if over.any() else len(events)
        np.add.at(self._counts, pixels(events[:end], self.sensor[0]), 1)
        if end == len(events):
            return events, None
        self._learn()
        kept = np.ones(len(events), bool)
        kept[end:] = self._cold(events[end:])
        return those(events, kept)

    def _cold(self, events: np.ndarray) -> np.ndarray:
        return ~self.mask[pixels(events, self.sensor[0])]

    def _learn(self) -> None:
        assert self._learn_us is not None
        width, height = self.sensor
        n = self._counts.reshape(height, width)
        around = np.pad(
            n, 1, mode="reflect" if min(n.shape) > 1 else "constant"
        )  # at a border: the neighbours that are there
        neighbours = np.stack(
            [
                around[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]
                for dy in (-1, 0, 1)
                for dx in (-1, 0, 1)
                if dx or dy
            ]
        )
        median = np.partition(neighbours, 4, axis=0)[4]
        hot = (n >= RATE_PER_S * self._learn_us / 1e6) & (n > TIMES * (median + 1))
        self.mask = hot.reshape(-1)
        self._learn_us = None
        del self._counts
        found = np.flatnonzero(self.mask)
        if len(found):
            named = ", ".join(f"({i % width}, {i // width})" for i in found[:NAMED])
            more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
            self.notes.append(f"hot pixels masked: {named}{more}")


def _read_list(request: Request, path: str) -> np.ndarray:
    width, height = request.sensor
    try:
        with open(path, "rb") as file:
            content = file.read(FILE_LIMIT + 1)
        if len(content) > FILE_LIMIT:
            raise PlifError(f"{request.where}: {path} is larger than {FILE_LIMIT} bytes; expected one x,y a line")
        lines = content.decode("utf-8").splitlines()
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or no path at all
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
