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

import numpy as np
import numpy.typing as npt

from runtime.base.errors import PlifError
from runtime.simulate.base import SEED_LIMIT, SimulatedSource
from runtime.simulate.figure import SIZE_PX
from runtime.simulate.gestures import CLASSES
from runtime.simulate.performance import Bout, perform, record_scene
from runtime.simulate.performer import draw_performer
from runtime.simulate.schedule import draw_bouts, draw_everyday
from runtime.simulate.things import ThingPainter, draw_things

STREAM = 3  # part of the seed: another performer than those of a simulated set, whose splits are 0 (train) and 1 (test)
SPLITS = ("test", "train")
SCENES = ("gestures", "everyday", "things")
LOOKS = ("usual", "faint", "lamps", "texture")


class GestureSource(SimulatedSource):
    """One performer. `truth` and `recognisable_us` say what is done when; they are known before anything is read."""

    options = ("seed", "seconds", "gesture", "split", "scene", "look")
    example = "sim:dvs128-gesture?seed=7&seconds=30"
    sensor = (SIZE_PX, SIZE_PX)

    def __init__(self, spec: str, sensor: tuple[int, int] | None = None) -> None:
        super().__init__(spec, sensor)
        split = self.values.get("split", SPLITS[0])
        if split not in SPLITS:
            raise PlifError(f"{spec}: split='{split}', expected test or train")
        self._scene, look = self._choose("scene", SCENES), self._choose("look", LOOKS)
        self._key, self._held_out = (self._parse_whole("seed", SEED_LIMIT), STREAM), split == "test"
        self._performer = draw_performer(self._key, self._held_out, None if look == "usual" else look)
        gesture, self._bouts = self._parse_gesture(), list[Bout]()
        if self._scene == "gestures":
            self._bouts = list(draw_bouts(self._key, self._held_out, self._end_us, gesture))

    def _choose(self, name: str, choices: tuple[str, ...]) -> str:
        value = self.values.get(name, choices[0])
        if value not in choices:
            raise PlifError(f"{self.name}: {name}='{value}', expected {', '.join(choices)}")
        return value

    def _parse_gesture(self) -> int | None:
        name = self.values.get("gesture")
        if name is None:
            return None
        if name in CLASSES:
            return CLASSES.index(name)
        if not (name.isascii() and name.isdigit() and len(name) < 4 and int(name) < len(CLASSES)):
            raise PlifError(
                f"{self.name}: gesture='{name}', expected 0 to {len(CLASSES) - 1} or one of {', '.join(CLASSES)}"
            )
        return int(name)

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
