"""What a performer does when: windows for training, and an open stream of gestures with pauses."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from runtime.simulate.gestures import CLASSES, OTHERS, Manner
from runtime.simulate.performance import FRAME_US, Bout

OTHER = CLASSES.index("other_gestures")
WINDOW_US = 800_000
GAP_US = 200_000  # between two windows of a recording
PER_PERFORMER = (*range(OTHER), OTHER, OTHER)  # "other" is many things, so there is more of it

# In an open stream the person stays where it stands, so what would put another one there is left out.
STANDING = tuple(name for name in OTHERS if not name.startswith(("walking", "near", "standing")))


def windows(seed: tuple[int, ...], held_out: bool) -> list[tuple[int, int, Bout]]:
    """(start_us, end_us, bout) of one performer's recording, one after the other, in a drawn order.

    Two of three windows are cut out of the middle of a gesture; in the others the arms rise from hanging, about when the
    window begins.
    """
    rng = np.random.default_rng([*seed, 41, int(held_out)])
    found = []
    for place, gesture in enumerate(rng.permutation(PER_PERFORMER)):
        start_us = place * (WINDOW_US + GAP_US)
        manner = Manner(int(gesture), (*seed, 43, place), held_out)
        if rng.random() < 0.35:
            bout = Bout(
                manner, start_us + int(rng.integers(-200_000, 80_000)), start_us + 60_000_000,
                int(rng.integers(150_000, 400_000)),
            )  # fmt: skip
        else:
            bout = Bout(manner, start_us - int(rng.integers(0, 2_000_000)), start_us + 60_000_000, 0)
        found.append((start_us, start_us + WINDOW_US, bout))
    return found


def open_stream(seed: tuple[int, ...], held_out: bool, end_us: int, gesture: int | None = None) -> Iterator[Bout]:
    """Bouts from 0 to end_us: 2 to 5 s each, 1.5 to 4 s of standing still before each; `gesture`: always the same one."""
    t_us = 0
    for number in range(1 << 31):
        rng = np.random.default_rng([*seed, 47, number])
        t_us += int(rng.integers(1_500_000, 4_000_000)) // FRAME_US * FRAME_US
        last = t_us + int(rng.integers(2_000_000, 5_000_000)) // FRAME_US * FRAME_US
        which = int(rng.integers(len(CLASSES))) if gesture is None else gesture
        other = STANDING[int(rng.integers(len(STANDING)))]
        if t_us >= end_us:
            return
        yield Bout(Manner(which, (*seed, 53, number), held_out, other), t_us, last, int(rng.integers(200_000, 400_000)))
        t_us = last
