"""The filming of simulated performers, and recordings made of scenes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.datasets.motion.drawn import GestureMotion, draw_painter
from runtime.datasets.motion.simulate_motion import record_painted
from runtime.datasets.performers.figure import SENSOR
from runtime.datasets.performers.options import LOOKS, VIEWS
from runtime.datasets.performers.performance import Bout, record_bouts
from runtime.datasets.performers.performer import Performer, draw_performer
from runtime.datasets.performers.schedule import GAP_US, OTHER

Rows = list[tuple[int, int, int]]  # (class, start_us, end_us)
Recording = tuple[npt.NDArray[np.void], Rows]


@dataclass(frozen=True)
class Staging:
    """The options of a simulated gesture set that set how a performer is filmed: view, look, motions, picture size.

    motions  the file of part "people"
    size     (width, height) of the camera
    distance_m    of a gesture to the camera, where the view would draw one
    """

    laws: int = 1
    view: str | None = None
    look: str | None = None
    motions: str | None = None
    size: tuple[int, int] = SENSOR
    distance_m: float | None = None

    def performer(self, key: tuple[int, ...], held_out: bool, conditions: str | None) -> Performer:
        look = conditions if self.look is None else self.look
        return draw_performer(key, held_out, None if look == LOOKS[0] else look, self.size)

    def view_at(self, number: int) -> str:
        """Return the name of the camera view for the gesture or scene with this number in a recording."""
        return VIEWS[number % len(VIEWS)] if self.view in (None, "mixed") else str(self.view)

    def perform(
        self, performer: Performer, bouts: Sequence[Bout], start_us: int, end_us: int, key: tuple[int, ...], number: int
    ) -> npt.NDArray[np.void]:
        """Simulate the events [N] of a performer's gestures (bouts) from start_us to end_us."""
        if self.view is None:
            return np.concatenate(list(record_bouts(performer, bouts, start_us, end_us, key)))
        acting = GestureMotion(bouts, start_us, end_us, performer.seed, performer.scale)
        painter = draw_painter(performer, acting, self.view_at(number), key, distance_m=self.distance_m)
        events = record_painted(performer, painter, acting.seconds, key)
        events["t"] += start_us
        return events


AS_IN_THE_SET = Staging()


def join_scenes(
    key: tuple[int, ...], count: int, long_us: int, scene: Callable[[tuple[int, ...], int], npt.NDArray[np.void]]
) -> Recording:
    """Join `count` simulated scenes of the class other_gestures, each `long_us` long, into one recording."""
    starts = [number * (long_us + GAP_US) for number in range(count)]
    events = [scene((*key, number), start_us) for number, start_us in enumerate(starts)]
    return np.concatenate(events), [(OTHER, start_us, start_us + long_us) for start_us in starts]
