"""The schedule of a performer: windows for training, a stream of gestures with pauses, or everyday movements."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from runtime.datasets.performers.everyday import EVERYDAY
from runtime.datasets.performers.gestures import CLASSES
from runtime.datasets.performers.other_gestures import OTHERS
from runtime.datasets.performers.performance import FRAME_US, Bout, Manner

OTHER = CLASSES.index("other_gestures")
WINDOW_US = 800_000
GAP_US = 200_000  # between two windows of a recording
PER_PERFORMER = (*range(OTHER), OTHER, OTHER)  # "other" has many kinds, so each performer does it twice

# In a stream the same person stays in the same place, so gestures that move or replace the person are left out.
STANDING = tuple(name for name in OTHERS if not name.startswith(("walking", "near", "standing")))


def draw_windows(
    seed: tuple[int, ...], held_out: bool, varied: bool = False, wide: bool = False
) -> list[tuple[int, int, Bout]]:
    """Choose the random gestures of one performer's recording: (start_us, end_us, bout) of each, in random order.

    `varied`: some slow (down to half the pace), some hesitant. `wide`: laws 2 (Manner). Two of three windows are cut
    from the middle of a gesture. In the others the arms start from hanging, at about the beginning of the window.
    """
    rng = np.random.default_rng([*seed, 41, int(held_out)])
    windows = []
    for place, gesture in enumerate(rng.permutation(PER_PERFORMER)):
        start_us = place * (WINDOW_US + GAP_US)
        manner = Manner(int(gesture), (*seed, 43, place), held_out, wide=wide)
        if varied:
            manner = vary_pace(manner)
        if rng.random() < 0.35:
            bout = Bout(
                manner, start_us + int(rng.integers(-200_000, 80_000)), start_us + 60_000_000,
                int(rng.integers(150_000, 400_000)),
            )  # fmt: skip
        else:
            bout = Bout(manner, start_us - int(rng.integers(0, 2_000_000)), start_us + 60_000_000, 0)
        windows.append((start_us, start_us + WINDOW_US, bout))
    return windows


def vary_pace(manner: Manner) -> Manner:
    """Change the pace of a gesture at random: a third become slower, a third get an uneven pace.

    The slower ones have 0.5 to 1 times the pace.
    """
    rng = np.random.default_rng([*manner.seed, 44])
    slow = rng.uniform(0.5, 1.0) if rng.random() < 1 / 3 else 1.0
    hesitant = rng.uniform(0.3, 0.9) if rng.random() < 1 / 3 else 0.0
    return replace(manner, slow=slow, hesitant=hesitant)


def draw_short_bouts(seed: tuple[int, ...], held_out: bool, end_us: int, wide: bool = False) -> Iterator[Bout]:
    """Yield random short gestures (bouts) up to end_us with pauses, for training on the beginnings of gestures.

    Each lasts 1.2 to 2.2 s, after 0.5 to 1.4 s of standing still.
    """
    t_us = 0
    for number in range(1 << 31):
        rng = np.random.default_rng([*seed, 57, number])
        t_us += int(rng.integers(500_000, 1_400_000)) // FRAME_US * FRAME_US
        last = t_us + int(rng.integers(1_200_000, 2_200_000)) // FRAME_US * FRAME_US
        if last > end_us:
            return
        manner = vary_pace(Manner(int(rng.integers(OTHER)), (*seed, 58, number), held_out, wide=wide))
        yield Bout(manner, t_us, last, int(rng.integers(150_000, 400_000)))
        t_us = last


def draw_everyday(seed: tuple[int, ...], held_out: bool, end_us: int) -> Iterator[Bout]:
    """Yield random everyday movements (bouts) up to end_us, 1.5 to 5 s each, after up to 1.5 s of standing still."""
    t_us = 0
    for number in range(1 << 31):
        rng = np.random.default_rng([*seed, 59, number])
        t_us += int(rng.integers(0, 1_500_000)) // FRAME_US * FRAME_US
        last = t_us + int(rng.integers(1_500_000, 5_000_000)) // FRAME_US * FRAME_US
        if t_us >= end_us:
            return
        movement = tuple(EVERYDAY)[int(rng.integers(len(EVERYDAY)))]
        yield Bout(
            Manner(OTHER, (*seed, 62, number), held_out, movement), t_us, last, int(rng.integers(150_000, 600_000))
        )
        t_us = last


def draw_bouts(
    seed: tuple[int, ...], held_out: bool, end_us: int, gesture: int | None = None, wide: bool = False
) -> Iterator[Bout]:
    """Yield random gestures (bouts) up to end_us, 2 to 5 s each, after 1.5 to 4 s of standing still.

    All are of one gesture if it is given.
    """
    t_us = 0
    for number in range(1 << 31):
        rng = np.random.default_rng([*seed, 47, number])
        t_us += int(rng.integers(1_500_000, 4_000_000)) // FRAME_US * FRAME_US
        last = t_us + int(rng.integers(2_000_000, 5_000_000)) // FRAME_US * FRAME_US
        class_index = int(rng.integers(len(CLASSES))) if gesture is None else gesture
        other_kind = STANDING[int(rng.integers(len(STANDING)))]
        if t_us >= end_us:
            return
        manner = Manner(class_index, (*seed, 53, number), held_out, other_kind, wide=wide)
        yield Bout(manner, t_us, last, int(rng.integers(200_000, 400_000)))
        t_us = last
