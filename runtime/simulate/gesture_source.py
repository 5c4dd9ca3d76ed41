"""`sim:dvs128-gesture?seed=7&seconds=30`: a simulated performer before a camera, as an open stream of events.

    seed      which performer and what is done when
    seconds   how long (3)
    gesture   only this one, by name or number 0 to 10; a drawn one each time when not given
    split     test (held-out performers, the default) or train

Gestures of 2 to 5 s with 1.5 to 4 s of standing still before each; the same spec gives the same events for ever. Events are
made while they are read, 20 ms at a time, so a paced stream has no long pauses. Times start at 0.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from runtime.base.errors import PlifError
from runtime.events.sources.base import Source
from runtime.events.sources.usable import pieces
from runtime.simulate.figure import SIZE_PX
from runtime.simulate.gestures import CLASSES
from runtime.simulate.performance import Bout, perform
from runtime.simulate.performer import draw_performer
from runtime.simulate.schedule import open_stream
from runtime.simulate.spec import SimSpec

EXAMPLE = "sim:dvs128-gesture?seed=7&seconds=30"
STREAM = 3  # the third use of performers' seeds, beside the splits train (0) and test (1) of a simulated set
SPLITS = ("test", "train")


class GestureSource(Source):
    """See `Source`. `truth` and `recognisable_us` say what is done when; they are known before reading."""

    format = "sim"
    endless = True

    def __init__(self, spec: str, sensor: tuple[int, int] | None = None) -> None:
        asked = SimSpec(spec, ("seed", "seconds", "gesture", "split"), EXAMPLE)
        super().__init__(spec)
        self.sensor = asked.sized((SIZE_PX, SIZE_PX), sensor)
        self._end_us = asked.end_us()
        split = asked.values.get("split", SPLITS[0])
        if split not in SPLITS:
            raise PlifError(f"{spec}: split='{split}', expected test or train")
        key, held_out = (asked.whole("seed", 2**63 - 1), STREAM), split == "test"
        self._performer = draw_performer(key, held_out)
        self._key = key
        self._bouts: list[Bout] = list(open_stream(key, held_out, self._end_us, self._gesture(asked)))

    def _gesture(self, asked: SimSpec) -> int | None:
        name = asked.values.get("gesture")
        if name is None:
            return None
        if name in CLASSES:
            return CLASSES.index(name)
        if not (name.isascii() and name.isdigit() and int(name) < len(CLASSES)):
            raise PlifError(
                f"{self.name}: gesture='{name}', expected 0 to {len(CLASSES) - 1} or one of {', '.join(CLASSES)}"
            )
        return int(name)

    @property
    def truth(self) -> list[tuple[int, int, str]]:
        """(t_on_us, t_off_us, class) of every gesture: from the first movement of the arms until they hang again."""
        return [(bout.t_on_us, min(bout.t_off_us, self._end_us), bout.label) for bout in self._bouts]

    @property
    def recognisable_us(self) -> list[int]:
        """For each entry of truth: when the arms have arrived and the gesture itself is being done."""
        return [bout.t_ready_us for bout in self._bouts]

    def packets(self, max_events: int = 65536) -> Iterator[npt.NDArray[np.void]]:
        """Events in order, at most max_events at a time; 20 ms are in memory."""
        self.begin(max_events)
        for events in perform(self._performer, self._bouts, 0, self._end_us, self._key):
            yield from pieces(events, max_events)
