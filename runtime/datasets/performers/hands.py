"""A bare hand and forearm close before the lens, without a body: waves, circles, and hands that make no gesture.

The hand is built in its own plane, in centimetres: x across the palm towards the thumb, y along the fingers, z out of the
palm, with the wrist at the origin. Sizes are those of adults (hand 17 to 21 cm long, palm 7.5 to 9.5 cm wide, wrist 6 cm). Two
bones a finger; a closed finger folds back over the palm. A point goes into the picture by

    p' = Rz(lean) Ry(roll) Rx(pitch) p + wrist        roll 0: the palm is seen; pi / 2: its edge; pi: its back

Skin is nearly plain: events come from outlines. Whose arm it is cannot be told from a forearm alone. The class follows the
side from which it comes: from the picture's left it is the person's right arm.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.datasets.performers.figure import DEPTH_PX, SIZE_PX, Limb, paint_scene_limbs, stack_limbs
from runtime.datasets.performers.gestures import CLASSES
from runtime.datasets.performers.performer import Performer, make_texture
from runtime.datasets.performers.wander import ParameterDraws, smooth_noise

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]

PX_PER_CM = 0.93  # of the figure, at scale 1
FULL_TURN = 2 * np.pi
# Where a finger leaves the palm (x, y), its two lengths, its spread from the middle one in radians, and its radius.
FINGERS = (
    ((3.3, 8.6), (4.2, 3.4), 0.16, 0.85),
    ((1.1, 9.2), (4.6, 3.8), 0.02, 0.9),
    ((-1.1, 8.8), (4.2, 3.6), -0.10, 0.85),
    ((-3.2, 7.8), (3.2, 2.8), -0.24, 0.75),
)
THUMB = ((3.2, 2.6), (4.4, 3.2), 0.85, 1.05)
SKINS = 2  # textures: of the forearm, of the hand

GESTURES = CLASSES[1:7]  # a wave of either hand, four circles
NO_GESTURES = ("still", "wanders", "comes and stays", "opens and closes", "turns over", "points")


@dataclass(frozen=True)
class HandMoments:
    """A hand at T moments: place of its wrist, its three angles, and how far its fingers are closed (0 open, 1 closed).

    wrist  float64 [T, 3], in centimetres from the middle of the picture; X to the right, Y down, Z towards the camera
    """

    wrist: Doubles
    lean: Doubles
    roll: Doubles
    pitch: Doubles
    closed: Doubles


class HandMotion:
    """The motion of one hand: one of GESTURES, or of NO_GESTURES, with random size, place and pace."""

    def __init__(self, kind: str, seed: tuple[int, ...], held_out: bool) -> None:
        draw = ParameterDraws((*seed, 66), held_out)
        self.kind, self._seed = kind, seed
        arm = kind.partition("_")[0] if kind in GESTURES else draw.pick(("right", "left"))
        self.side = -1.0 if arm == "right" else 1.0  # of the picture, from which the forearm comes
        self.size = draw.within(0.9, 1.12)
        self.distance_cm = draw.within(38, 110)
        self._begin, self._pace = (
            draw.within(0, FULL_TURN),
            draw.within(*((0.3, 1.6) if "clock" in kind else (0.8, 2.8))),
        )
        self._wide, self._turned = draw.within(0, 1), draw.within(-0.9, 0.9)
        self._way = draw.pick(("wrist", "forearm", "forearm", "arm"))
        self._back, self._closed = draw.pick((0.0, 0.0, np.pi)), draw.pick((0.0, 0.0, draw.within(0.2, 1.0)))
        self._place = draw.within(-0.25, 0.25), draw.within(-0.1, 0.3)  # of the half of what the picture shows
        self._slant, self._tilt = draw.within(-0.1, 0.8), draw.within(-0.5, 0.5)

    def at(self, t_s: Doubles) -> HandMoments:
        """Return the hand at times [T] in seconds."""
        n = len(t_s)
        noise = [smooth_noise(t_s, (*self._seed, 67, k), 0.6) for k in range(6)]
        shown_cm = (
            self.distance_cm / (DEPTH_PX / PX_PER_CM) * SIZE_PX / 2 / PX_PER_CM
        )  # half of the picture, at the hand
        wrist = np.stack(
            [np.full(n, self._place[0] * shown_cm), np.full(n, (0.35 + self._place[1]) * shown_cm), 0 * t_s], 1
        )
        wrist += 0.4 * np.stack(noise[:3], 1)
        lean = -self.side * self._slant + 0.03 * noise[3]
        roll, pitch = self._back + self._turned + 0.06 * noise[4], self._tilt + 0.05 * noise[5]
        closed = np.full(n, self._closed)
        phase = FULL_TURN * self._pace * t_s + self._begin + 0.5 * noise[5]
        if "wave" in self.kind:
            swing = np.sin(phase) * (1 + 0.15 * noise[4])
            if self._way == "arm":
                wrist[:, 0] += (4 + 9 * self._wide) * swing
                lean = lean + 0.25 * self._wide * swing
            else:
                angle = (0.2 + 0.45 * self._wide) * swing
                if self._way == "forearm":  # about an elbow 26 cm below the wrist
                    wrist[:, 0] += 26 * self.size * (np.sin(lean + angle) - np.sin(lean))
                    wrist[:, 1] -= 26 * self.size * (np.cos(lean + angle) - np.cos(lean))
                lean = lean + angle
        elif "clockwise" in self.kind:
            # The person's clockwise is the picture's counter-clockwise (gestures.py).
            theta = phase if "counter" in self.kind else -phase
            across = (5 + 11 * self._wide) * (1 + 0.12 * noise[4])
            wrist[:, 0] += across * np.cos(theta)
            wrist[:, 1] += across * (0.8 + 0.3 * self._turned) * np.sin(theta)
            lean = lean + 0.1 * self._wide * np.cos(theta)
        else:
            wrist, lean, roll, closed = self._no_gesture(t_s, phase, wrist, lean, roll, closed)
        return HandMoments(wrist, lean, roll, pitch, closed)

    def _no_gesture(
        self, t_s: Doubles, phase: Doubles, wrist: Doubles, lean: Doubles, roll: Doubles, closed: Doubles
    ) -> tuple[Doubles, Doubles, Doubles, Doubles]:
        if self.kind == "wanders":
            far = 4 + 10 * self._wide
            way = [smooth_noise(t_s, (*self._seed, 68, k), 0.4 + 0.9 * self._wide) for k in range(3)]
            wrist = wrist + far * np.stack(way, 1) * (1, 1, 0.6)
            lean = lean + 0.3 * way[1]
        elif self.kind == "comes and stays":
            part = np.clip(t_s / (0.3 + 0.5 * self._wide), 0, 1)
            away = 1 - part * part * (3 - 2 * part)
            wrist = wrist + away[:, None] * np.array((20 * self.side, 35, 0))
        elif self.kind == "opens and closes":
            closed = 0.5 - 0.5 * np.cos(phase / 2)
        elif self.kind == "turns over":
            roll = roll + np.pi * (0.5 - 0.5 * np.cos(phase / 4))
        elif self.kind == "points":
            away = np.clip(1.4 * np.sin(phase / 8) ** 2, 0, 1)
            wrist, closed = wrist + away[:, None] * np.array((-6 * self.side, -4, 10)), np.full(len(t_s), 0.85)
        return wrist, lean, roll, closed


def list_bones(closed: float) -> list[tuple[tuple[float, float, float], tuple[float, float, float], float, float, int]]:
    """Return the parts of a hand in its own plane: two end points, a radius at each, and the number of its texture."""
    bones = [((0.0, 0.0, 0.0), (0.0, -30.0, 0.0), 2.9, 4.4, 0)]  # the forearm, from the wrist
    for (x, y), _, _, _ in FINGERS:  # the palm, a part for each finger
        bones.append(((0.55 * x, 0.6, 0.0), (x, y, 0.0), 1.55, 1.25, 1))
    bones.append(((0.9, 1.0, 0.0), (*THUMB[0], 0.3), 1.7, 1.4, 1))
    for (x, y), (first, second), spread, radius in (*FINGERS, THUMB):
        thumb = radius == THUMB[3]
        bend = closed * (0.9 if thumb else 1.6)  # at each of the two joints, out of the palm
        aside, up = np.sin(spread), np.cos(spread)
        knuckle = np.array((x, y, 0.0))
        middle = knuckle + first * np.array((aside * np.cos(bend), up * np.cos(bend), np.sin(bend)))
        tip = middle + second * np.array((aside * np.cos(2 * bend), up * np.cos(2 * bend), np.sin(2 * bend)))
        bones.append((tuple(knuckle.tolist()), tuple(middle.tolist()), radius, 0.92 * radius, 1))
        bones.append((tuple(middle.tolist()), tuple(tip.tolist()), 0.92 * radius, 0.75 * radius, 1))
    return bones


class HandPainter:
    """A painter of camera images of a bare hand with its forearm in front of a performer's wall."""

    def __init__(self, place: Performer, motion: HandMotion, seed: tuple[int, ...]) -> None:
        self._motion, self._look = motion, place.look
        draw = ParameterDraws((*seed, 69), place.held_out)
        self._textures = np.stack([make_texture(draw.rng, draw.within(0.0, 0.08), 3) for _ in range(SKINS)])
        self._sleeve = draw.pick((True, False))
        self._scale = DEPTH_PX / PX_PER_CM / motion.distance_cm
        self._depth = motion.distance_cm * PX_PER_CM

    def paint(self, t_us: npt.NDArray[np.int64]) -> Iterator[Floats]:
        """Yield the camera's images float32 [H, W] of the moving hand at times [T] in microseconds."""
        moments = self._motion.at(t_us / 1e6)
        for i in range(len(t_us)):
            image = self._look.background.copy()
            limbs = stack_limbs(self._limbs_at(moments, i))
            paint_scene_limbs(image, limbs, self._textures, (SIZE_PX / 2, SIZE_PX / 2), self._scale, self._depth)
            yield image

    def _limbs_at(self, moments: HandMoments, i: int) -> Sequence[Limb]:
        bones = list_bones(float(moments.closed[i]))
        ends = np.array([bone[:2] for bone in bones]) * self._motion.size
        ends[:, :, 0] *= -self._motion.side  # of a right hand whose palm is seen, the thumb is on the picture's right
        roll, pitch, lean = float(moments.roll[i]), float(moments.pitch[i]), float(moments.lean[i])
        x, y, z = np.moveaxis(ends, -1, 0)
        y, z = y * np.cos(pitch) - z * np.sin(pitch), y * np.sin(pitch) + z * np.cos(pitch)
        x, z = x * np.cos(roll) + z * np.sin(roll), z * np.cos(roll) - x * np.sin(roll)
        x, y = x * np.cos(lean) + y * np.sin(lean), y * np.cos(lean) - x * np.sin(lean)
        places = (np.stack([x, -y, z], -1) + moments.wrist[i]) * PX_PER_CM
        skin, shirt = self._look.skin, self._look.shirt
        tones = [shirt if self._sleeve and k == 0 else skin for k in range(len(bones))]
        order = np.argsort(places[:, :, 2].sum(1), kind="stable")  # the farthest first
        return [
            (places[k, 0], places[k, 1], bones[k][2] * PX_PER_CM, bones[k][3] * PX_PER_CM, tones[k], bones[k][4], False)
            for k in order
        ]
