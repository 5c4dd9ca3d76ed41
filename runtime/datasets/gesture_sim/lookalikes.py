"""What looks like a gesture and is none, and bare hands: recordings of a performer. What measures is not what trains."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from runtime.datasets.gesture_sim.staging import Recording, Staging, join_scenes
from runtime.datasets.motion import raised
from runtime.datasets.motion.drawn import MoveMotion, draw_painter
from runtime.datasets.motion.simulate_motion import record_painted
from runtime.datasets.performers import swinging
from runtime.datasets.performers.gestures import CLASSES
from runtime.datasets.performers.hands import GESTURES, NO_GESTURES, HandMotion, HandPainter
from runtime.datasets.performers.performance import record_scene
from runtime.datasets.performers.schedule import GAP_US, OTHER, WINDOW_US
from runtime.datasets.performers.things import ObjectPainter

RAISED_US, RAISED_SCENES, RAISED_YAW_DEG = 4_000_000, 3, 50.0
SWING_US, SWINGS = 2_000_000, 6
Events = npt.NDArray[np.void]


def list_kinds(part: str, held_out: bool) -> tuple[str, ...]:
    """Return the names of what is shown in part "raised" or "swings"."""
    kinds = {"raised": (raised.TRAINED, raised.MEASURED), "swings": (swinging.TRAINED, swinging.MEASURED)}
    return kinds[part][held_out]


def record_raised(key: tuple[int, ...], held_out: bool, staging: Staging) -> Recording:
    """Simulate a person who raises an arm and makes no gesture: one kind of movement a recording."""
    kinds = list_kinds("raised", held_out)

    def scene(scene_key: tuple[int, ...], start_us: int) -> Events:
        performer = staging.performer(scene_key, held_out, (None, "texture", "plain", "faint")[scene_key[-1] % 4])
        kind, view = kinds[scene_key[-2] % len(kinds)], staging.view_at(scene_key[-2] // len(kinds) + scene_key[-1])
        acting = MoveMotion(
            scene_key, held_out, RAISED_US / 1e6, (kind,), raised.draw_raised_steps, yaw_deg=RAISED_YAW_DEG
        )
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
