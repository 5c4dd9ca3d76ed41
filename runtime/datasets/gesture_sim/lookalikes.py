"""Recordings of bare hands, and of movements that look like a gesture and are none. Other ones measure than train.

A raised hand is no wave: arms that are raised, held and lowered, a reach, a scratch, a drink, a telephone at the ear, in the form
of the moves of runtime/datasets/motion/drawn.py, seen from about the front.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from runtime.datasets.gesture_sim.staging import Recording, Staging, join_scenes
from runtime.datasets.motion.drawn import BodyPose, MoveMotion, Steps, draw_painter, draw_steps
from runtime.datasets.motion.simulate_motion import record_painted
from runtime.datasets.performers import swinging
from runtime.datasets.performers.gestures import CLASSES
from runtime.datasets.performers.hands import GESTURES, NO_GESTURES, HandMotion, HandPainter
from runtime.datasets.performers.performance import record_scene
from runtime.datasets.performers.schedule import GAP_US, OTHER, WINDOW_US
from runtime.datasets.performers.things import ObjectPainter
from runtime.datasets.performers.wander import ParameterDraws

RAISED_US, RAISED_SCENES, RAISED_YAW_DEG = 4_000_000, 3, 50.0
SWING_US, SWINGS = 2_000_000, 6
Events = npt.NDArray[np.void]
RAISED_TRAINED = (
    "raises and holds",
    "grabs high",
    "both arms up",
    "adjusts glasses",
    "looks at the watch",
    "strokes hair",
    "salutes",
)
RAISED_MEASURED = ("raises, holds, lowers", "reaches out", "scratches", "drinks", "telephones")
# Where the wrist goes, as ranges of x (away from the middle), y (down from the shoulders), z (forwards), in pixels.
PLACES = {
    "adjusts glasses": ((2, 9), (-30, -22), (12, 20)),
    "looks at the watch": ((-6, 10), (10, 26), (18, 30)),
    "strokes hair": ((2, 16), (-44, -28), (0, 12)),
    "salutes": ((8, 18), (-36, -26), (6, 16)),
    "raises, holds, lowers": ((0, 44), (-48, -2), (2, 30)),
    "reaches out": ((-4, 30), (-16, 24), (30, 48)),
    "scratches": ((-2, 14), (-34, -6), (8, 16)),
    "drinks": ((0, 8), (-18, -10), (12, 20)),
    "telephones": ((8, 14), (-26, -16), (2, 10)),
}
TO_AND_FRO = {"strokes hair": (5, 12, 0.25, 0.6), "scratches": (1.5, 5, 0.08, 0.22)}  # pixels, and seconds for each way
HOLDS_S = {"telephones": (1.5, 6.0), "raises, holds, lowers": (0.3, 6.0), "drinks": (0.6, 2.5)}


def draw_raised_steps(name: str, draw: ParameterDraws, current: BodyPose) -> Steps:
    """Choose random steps of one movement of a raised arm: (seconds on the way, seconds held, pose) each."""
    if name not in PLACES:
        return draw_steps(name, draw, current)
    arm = draw.pick(("right", "left"))
    side = 1.0 if arm == "left" else -1.0
    quick, hold = draw.within(0.3, 1.4), draw.within(*HOLDS_S.get(name, (0.2, 1.5)))
    x, y, z = (draw.within(*ends) for ends in PLACES[name])

    def wrist(dx: float = 0.0, dy: float = 0.0) -> BodyPose:
        place = (side * (x + dx), y + dy, z)
        return replace(current, right=place) if arm == "right" else replace(current, left=place)

    steps: Steps = [(quick, hold, wrist())]
    if name in TO_AND_FRO:
        least, most, fast, slow = TO_AND_FRO[name]
        far, way_s, slant = draw.within(least, most), draw.within(fast, slow), draw.within(0, np.pi)
        for k in range(int(draw.within(3, 14))):
            sign = 1 if k % 2 else -1
            steps.append((way_s, 0.0, wrist(sign * far * float(np.cos(slant)), sign * far * float(np.sin(slant)))))
    resting = replace(current, right=BodyPose.right, left=BodyPose.left, bow=0.0)
    return [*steps, (draw.within(0.3, 1.4), draw.within(0.1, 1.0), resting)]


def list_kinds(part: str, held_out: bool) -> tuple[str, ...]:
    """Return the names of what is shown in part "raised" or "swings"."""
    kinds = {"raised": (RAISED_TRAINED, RAISED_MEASURED), "swings": (swinging.TRAINED, swinging.MEASURED)}
    return kinds[part][held_out]


def record_raised(key: tuple[int, ...], held_out: bool, staging: Staging) -> Recording:
    """Simulate a person who raises an arm and makes no gesture: one kind of movement a recording."""
    kinds = list_kinds("raised", held_out)

    def scene(scene_key: tuple[int, ...], start_us: int) -> Events:
        performer = staging.performer(scene_key, held_out, (None, "texture", "plain", "faint")[scene_key[-1] % 4])
        kind, view = kinds[scene_key[-2] % len(kinds)], staging.view_at(scene_key[-2] // len(kinds) + scene_key[-1])
        acting = MoveMotion(scene_key, held_out, RAISED_US / 1e6, (kind,), draw_raised_steps, yaw_deg=RAISED_YAW_DEG)
        events = record_painted(performer, draw_painter(performer, acting, view, scene_key), acting.seconds, scene_key)
        events["t"] += start_us
        return events

    return join_scenes(key, RAISED_SCENES, RAISED_US, scene)


def record_swings(key: tuple[int, ...], held_out: bool, staging: Staging) -> Recording:
    """Simulate things that swing, turn or tremble: one kind a recording."""
    kinds = list_kinds("swings", held_out)

    def scene(scene_key: tuple[int, ...], start_us: int) -> Events:
        place = staging.performer(scene_key, held_out, "texture")
        painter = ObjectPainter(place, swinging.draw_swinging(kinds[scene_key[-2] % len(kinds)], scene_key, held_out))
        return np.concatenate(list(record_scene(place, painter.paint, start_us, start_us + SWING_US, (*key, start_us))))

    return join_scenes(key, SWINGS, SWING_US, scene)


def record_hands(key: tuple[int, ...], held_out: bool, staging: Staging) -> Recording:
    """Simulate a bare hand before the lens: windows of six gestures, and of six kinds of hands that make none."""
    events, rows, start_us = list[Events](), [], 0
    order = np.random.default_rng([*key, 72, int(held_out)]).permutation(len(GESTURES) + len(NO_GESTURES))
    for number in order:
        kind, window_key = (*GESTURES, *NO_GESTURES)[number], (*key, int(number))
        place = staging.performer(window_key, held_out, (None, "texture", "plain", "faint")[(number + key[-1]) % 4])
        painter = HandPainter(place, HandMotion(kind, window_key, held_out), window_key)
        end_us = start_us + WINDOW_US
        events.append(np.concatenate(list(record_scene(place, painter.paint, start_us, end_us, window_key))))
        rows.append((CLASSES.index(kind) if kind in GESTURES else OTHER, start_us, end_us))
        start_us = end_us + GAP_US
    return np.concatenate(events), rows
