"""`sim:dvs128-gesture?seed=7&seconds=30`: a simulated performer in front of a camera, as an open stream of events.

    seed      who the performer is, and which gestures come when
    seconds   how long (3)
    gesture   always this one, by name or number 0 to 10; without it each one is drawn
    split     test (held-out performers, the default) or train
    scene     gestures (the default), everyday (somebody who means no gesture) or things (bars and boxes that move)
    look      usual (the default), faint (weak contrast, far away), lamps (flicker) or texture (scattered events)

Gestures of 2 to 5 s, with 1.5 to 4 s of standing still before each. The same spec always gives the same events. They are made
while they are read, 20 ms at a time, so that a paced stream does not halt for long. Times start at 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from runtime.base.grammar import whole, word
from runtime.simulate.base import USUAL, SimulatedSource
from runtime.simulate.figure import SIZE_PX
from runtime.simulate.gestures import CLASSES
from runtime.simulate.performance import Bout, perform, record_scene
from runtime.simulate.performer import draw_performer
from runtime.simulate.schedule import draw_bouts, draw_everyday
from runtime.simulate.things import ThingPainter, draw_things

STREAM = 3  # part of the seed: another performer than those of a simulated set, whose splits are 0 (train) and 1 (test)
CHOICES = {  # the first of each is the usual one
    "split": ("test", "train"),
    "scene": ("gestures", "everyday", "things"),
    "look": ("usual", "faint", "lamps", "texture"),
}


def _gesture(text: str) -> int:
    """A class, by its name or number."""
    try:
        return CLASSES.index(text) if text in CLASSES else whole(0, len(CLASSES) - 1)(text)
    except ValueError:
        raise ValueError(f"0 to {len(CLASSES) - 1} or one of {', '.join(CLASSES)}") from None


class GestureSource(SimulatedSource):
    """One performer. `truth` and `recognisable_us` say what is done when; they are known before anything is read."""

    options: ClassVar = {**USUAL, "gesture": _gesture, **{name: word(*known) for name, known in CHOICES.items()}}
    example = "sim:dvs128-gesture?seed=7&seconds=30"
    sensor = (SIZE_PX, SIZE_PX)

    def __init__(self, spec: str, sensor: tuple[int, int] | None = None) -> None:
        super().__init__(spec, sensor)
        split, self._scene, look = (self.values.get(name, known[0]) for name, known in CHOICES.items())
        self._key, self._held_out = (self._seed, STREAM), split == "test"
        self._performer = draw_performer(self._key, self._held_out, None if look == "usual" else look)
        gesture, self._bouts = self.values.get("gesture"), list[Bout]()
        if self._scene == "gestures":
            self._bouts = list(draw_bouts(self._key, self._held_out, self._end_us, gesture))

    @property
    def truth(self) -> list[tuple[int, int, str]]:
        """(t_on_us, t_off_us, class) of every gesture: from the arms' first movement until they hang again. None of everyday
        people and things."""
        return [(bout.t_on_us, min(bout.t_off_us, self._end_us), bout.label) for bout in self._bouts]

    @property
    def recognisable_us(self) -> list[int]:
        """For each entry of truth: the time at which the arms are in place and the gesture itself begins."""
        return [bout.t_ready_us for bout in self._bouts]

    def _pieces(self) -> Iterator[npt.NDArray[np.void]]:
        if self._scene == "things":
            paint = ThingPainter(self._performer, draw_things(self._key, self._held_out)).paint
            return record_scene(self._performer, paint, 0, self._end_us, self._key)
        everyday = self._scene == "everyday"
        bouts = list(draw_everyday(self._key, self._held_out, self._end_us)) if everyday else self._bouts
        return perform(self._performer, bouts, 0, self._end_us, self._key)
