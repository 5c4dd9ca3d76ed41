"""A person with the joints of a motion, with the drawn performer's body, seen by the camera from any side.

Coordinates of the picture are those of figure.py: X to the right, Y down, Z towards the camera, PX_PER_M pixels a
metre at scale 1. So a person at `distance` metres is as large as a performer of scale 2.47 m / distance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
import numpy.typing as npt

from runtime.core.base.errors import PlifError
from runtime.datasets.motion.joints import (
    JOINTS,
    J,
    Motion,
    chest_direction,
    facing_angle,
    normalize_vectors,
    rotate_about_y,
)
from runtime.datasets.performers.figure import (
    CLOTH,
    DEPTH_PX,
    FACE,
    HAND,
    SIZE_PX,
    SLEEVE,
    Appearance,
    paint_scene_limbs,
    stack_textures,
)
from runtime.datasets.performers.options import VIEWS
from runtime.datasets.performers.performer import Performer
from runtime.datasets.performers.wander import ParameterDraws
from runtime.datasets.simulated_camera.native import LIMB

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]

PX_PER_M = 93.0  # the drawn upper arm of 26 px has 0.28 m
DISTANCE_M = DEPTH_PX / PX_PER_M  # of a performer of scale 1
BLEND_S = 0.35
FLIPPED = np.array((PX_PER_M, -PX_PER_M, PX_PER_M), np.float32)  # from metres to pixels, where Y points down


class JointMotion(Protocol):
    """The interface of a person's moving joints: one captured motion, or a sequence of several."""

    @property
    def seconds(self) -> float: ...

    def joints_at(self, t_s: Doubles, /) -> Floats:
        """Return a moving person's joint positions [N, 21, 3] in metres, at times [N] in seconds."""


@dataclass(frozen=True)
class MotionClip:
    """A clip of a captured motion: its begin and length, its speed, and how long the last pose is held.

    It goes from begin_s on for lasts_s, `speed` times as fast; the last pose is held for hold_s.
    """

    motion: Motion
    begin_s: float = 0.0
    lasts_s: float = 1e9
    speed: float = 1.0
    hold_s: float = 0.0

    @property
    def seconds(self) -> float:
        return min(self.lasts_s, self.motion.seconds - self.begin_s) / self.speed


class MotionSequence:
    """A sequence of clips of captured motions, one after the other, blended into each other.

    Between two clips the last pose is held, then blended into the first pose of the next. The next clip begins at the
    place and in the direction where the clip before ended. `repeat`: after the last clip the first one follows, where
    it began, for ever.
    """

    def __init__(self, clips: Sequence[MotionClip], repeat: bool = False) -> None:
        self._clips, self._repeat = clips, repeat
        self._starts, self._turned, self._moved = [0.0], [0.0], [np.zeros(3, np.float32)]
        for before, after in pairwise(clips):
            last, first = (
                self._clip_joints(len(self._starts) - 1, before.seconds),
                after.motion.joints_at(np.array([after.begin_s])),
            )
            angle = float(facing_angle(last)[0] - facing_angle(first)[0])
            self._starts.append(self._starts[-1] + before.seconds + before.hold_s + BLEND_S)
            self._moved.append((last[0, 0] - rotate_about_y(first, angle)[0, 0]) * np.array((1, 0, 1), np.float32))
            self._turned.append(angle)
        self.seconds = self._starts[-1] + clips[-1].seconds
        way = self._clip_joints(len(clips) - 1, clips[-1].seconds)[0, 0] - self._clip_joints(0, 0.0)[0, 0]
        self._back_s = clips[-1].hold_s + BLEND_S + float(np.linalg.norm(way))  # a metre a second

    def duration_s(self, times: int) -> float:
        """Return the seconds that a motion sequence takes if repeated `times` times, with the ways back to its start."""
        return times * self.seconds + (times - 1) * self._back_s

    def _clip_joints(self, k: int, since_s: float | Doubles) -> Floats:
        """Return a person's joint positions [N, 21, 3] at times [N] in seconds since clip k of a sequence began."""
        clip = self._clips[k]
        t_s = clip.begin_s + np.clip(np.atleast_1d(since_s), 0, clip.seconds) * clip.speed
        return rotate_about_y(clip.motion.joints_at(t_s), self._turned[k]) + self._moved[k]

    def joints_at(self, t_s: Doubles, /) -> Floats:
        """Return a person's joint positions [N, 21, 3] in a sequence of motion clips, at times [N] in seconds."""
        if self._repeat:
            t_s = t_s % (self.seconds + self._back_s)
        output = np.empty((len(t_s), len(JOINTS), 3), np.float32)
        clip_index = np.searchsorted(self._starts, t_s, "right") - 1
        for k in np.unique(clip_index):
            in_clip = clip_index == k
            since, clip = t_s[in_clip] - self._starts[k], self._clips[k]
            joints, last = self._clip_joints(k, since), k == len(self._starts) - 1
            blend_s = since - clip.seconds - clip.hold_s
            if (not last or self._repeat) and (blend_s > 0).any():
                share = np.clip(blend_s / (self._back_s - clip.hold_s if last else BLEND_S), 0, 1).astype(np.float32)
                share = (share * share * (3 - 2 * share))[:, None, None]
                joints = joints + share * (self._clip_joints(0 if last else k + 1, 0.0) - joints)
            output[in_clip] = joints
        return output


@dataclass(frozen=True)
class Viewpoint:
    """The camera's position and the visible part of a person; a field that is None takes the performer's value.

    yaw_deg      0: the person looks into the camera when the motion begins; 90: towards the picture's right
    distance_m   from the camera to the middle of the path
    position     (x, y) in the picture of the shoulders in the middle of the path, or of the joints named in `towards`
    roll_deg     90: the head is on the picture's right
    visible      "all", or "arms" (from the elbows), "right" or "left" (that forearm and hand alone)
    """

    yaw_deg: float = 0.0
    distance_m: float | None = None
    position: tuple[float, float] | None = None
    towards: str | None = None
    roll_deg: float = 0.0
    visible: str = "all"


# Each limb: two end points, radius at each in pixels of scale 1, tone, texture, metres to bring it forward when sorting.
# A point: a joint, or the mean of several; then pixels towards the person's left, the front, and the head's top.
Point = tuple[str, float, float, float]
SEGMENTS: list[tuple[Point, Point, float, float, str, int, float]] = []


def _add_segment(
    a: str | Point, b: str | Point, ra: float, rb: float, tone: str, texture: int, nearer: float = 0.0
) -> None:
    ends = [(end, 0.0, 0.0, 0.0) if isinstance(end, str) else end for end in (a, b)]
    SEGMENTS.append((ends[0], ends[1], ra, rb, tone, texture, nearer))


for _s in "LR":
    _add_segment(f"{_s}hip", f"{_s}kne", 9, 7, "trousers", CLOTH)
    _add_segment(f"{_s}kne", f"{_s}ank", 7, 5, "trousers", CLOTH)
    _add_segment(f"{_s}ank", f"{_s}toe", 4.5, 3.5, "shoes", CLOTH)
    _way = 1 if _s == "L" else -1
    _add_segment((f"{_s}sho", -5.0 * _way, 0, 0), (f"{_s}hip", 1.0 * _way, 0, 0), 8, 9, "shirt", CLOTH)
_add_segment("Lsho Rsho", "Lhip Rhip", 12, 13, "shirt", CLOTH)
_add_segment(("Lsho Rsho", 0, 2, 0), "head", 5.5, 6, "skin", FACE)
_add_segment(("head", 0, -2, 12), ("head", 0, -2, 6), 10.5, 10, "hair", CLOTH)
_add_segment(("head", 0, 2, 9.5), ("head", 0, 2, -1), 9, 7.5, "skin", FACE)
_add_segment(("head", -6, 10.5, 7), ("head", 6, 10.5, 7), 1.3, 1.3, "glasses", CLOTH)
for _s in "LR":
    _add_segment(f"{_s}sho", f"{_s}elb", 6.0, 4.9, "shirt", SLEEVE, 0.02)
    _add_segment(f"{_s}elb", f"{_s}wri", 4.8, 3.5, "lower", SLEEVE, 0.03)
    _add_segment(f"{_s}wri", f"{_s}tip", 4.0, 4.4, "skin", HAND, 0.04)


def _point_weights(points: Sequence[Point]) -> Floats:
    """Return the weights [points, 21 + 3] that compute points of the body from its joints and three directions."""
    weights = np.zeros((len(points), len(JOINTS) + 3), np.float32)
    for row, (names, *offset) in zip(weights, points, strict=True):
        for name in names.split():
            row[J[name]] = 1 / len(names.split())
        row[len(JOINTS) :] = np.array(offset) / PX_PER_M
    return weights


ENDS = _point_weights([end for segment in SEGMENTS for end in segment[:2]])
IN_PICTURE = {
    "all": range(len(SEGMENTS)),
    "arms": (-5, -4, -2, -1),
    "left": (-5, -4),
    "right": (-2, -1),
}


class MotionPainter:
    """A painter of camera images of a moving person, at times in microseconds."""

    def __init__(self, performer: Performer, motion: JointMotion, view: Viewpoint) -> None:
        self._motion, self._look = motion, performer.look
        self._textures = stack_textures(performer.look)
        self._position = view.position or (performer.cx, performer.cy)
        distance_m = DISTANCE_M / performer.scale if view.distance_m is None else view.distance_m
        self._depth, self._scale = distance_m * PX_PER_M, DISTANCE_M / distance_m
        way = motion.joints_at(np.linspace(0, motion.seconds, 41))
        start = facing_angle(way[:1])
        self._turned = np.deg2rad(view.yaw_deg) - float(start[0])
        path = way[:, [J[name] for name in (view.towards or "Lsho Rsho").split()]].mean(1)
        self._centre = np.median(path, 0) if view.towards else 0.5 * (path.max(0) + path.min(0))
        roll = np.deg2rad(view.roll_deg)
        self._roll = np.array(
            [[np.cos(roll), np.sin(roll), 0], [-np.sin(roll), np.cos(roll), 0], [0, 0, 1]], np.float32
        )
        tones = _list_tones(performer.look)
        self._shown = [i for i in IN_PICTURE[view.visible] if performer.look.glasses or SEGMENTS[i][4] != "glasses"]
        rows = [SEGMENTS[i] for i in self._shown]
        self._fixed = np.array([[ra, rb, tones[tone], t, t == HAND] for _, _, ra, rb, tone, t, _ in rows], np.float64)
        self._nearer = np.array([segment[-1] for segment in rows], np.float32) * PX_PER_M

    def place_limbs(self, t_us: npt.NDArray[np.int64]) -> Doubles:
        """Return the person's visible limbs at times [T] as shapes, float64 [T, parts, LIMB], the farthest first."""
        joints = rotate_about_y(self._motion.joints_at(t_us / 1e6) - self._centre, self._turned)
        left = normalize_vectors(joints[:, J["Lsho"]] - joints[:, J["Rsho"]])
        up = normalize_vectors(joints[:, J["top"]] - joints[:, J["head"]])
        ends = ENDS @ np.concatenate([joints, np.stack([left, chest_direction(joints), up], 1)], 1)
        ends = (ends * FLIPPED) @ self._roll
        ends = ends.reshape(len(ends), len(SEGMENTS), 6)[:, self._shown]
        rows = np.empty((len(ends), len(self._shown), LIMB))
        rows[:, :, :6], rows[:, :, 6:] = ends, self._fixed
        depth = ends[:, :, 2] + ends[:, :, 5] + 2 * self._nearer
        return np.take_along_axis(rows, np.argsort(depth, 1, kind="stable")[:, :, None], 1)

    def visible_joints(self, t_us: npt.NDArray[np.int64], names: Sequence[str] = JOINTS) -> npt.NDArray[np.bool_]:
        """Return whether each of the named joints of the person lies in the picture at times [T]: bool [T, names].

        The picture has 128 x 128 pixels; of any other size it is the middle.
        """
        joints = rotate_about_y(self._motion.joints_at(t_us / 1e6) - self._centre, self._turned)[
            :, [J[name] for name in names]
        ]
        points = (joints * FLIPPED) @ self._roll
        near = self._scale / (1 - np.minimum(points[:, :, 2:] / self._depth, 0.8))
        places = self._position + near * points[:, :, :2]
        inside = (places > 0) & (places < SIZE_PX)
        return np.asarray(inside.min(2), np.bool_)

    def paint(self, t_us: npt.NDArray[np.int64]) -> Iterator[Floats]:
        """Yield the camera's images float32 [H, W] of the moving person at times [T] in microseconds."""
        for limbs in self.place_limbs(t_us):
            image = self._look.background.copy()
            paint_scene_limbs(image, limbs, self._textures, self._position, self._scale, self._depth, self._look.girth)
            yield image


def _list_tones(look: Appearance) -> dict[str, float]:
    lower = look.skin if look.bare_arms else look.shirt
    tones = {"shirt": look.shirt, "skin": look.skin, "hair": look.hair, "trousers": look.trousers}
    return tones | {"lower": lower, "shoes": 0.6 * look.trousers, "glasses": 0.05}


WRISTS = {"both": "Lwri Rwri", "right": "Rwri", "left": "Lwri"}


def draw_view(kind: str, seed: tuple[int, ...], held_out: bool, arms: str = "both", yaw_deg: float = 20.0) -> Viewpoint:
    """Choose a random camera view of a person, of a kind: "whole", "far", "cut" or "near".

    whole   the performer as placed
    far     4 to 7 m away
    cut     close by, with much of the body out of the picture or cut away
    near    forearms and hands only, or the hand and forearm of the moving arm, "right" or "left"

    `yaw_deg` is the spread of the side that the camera sees.
    """
    if kind not in VIEWS:
        raise PlifError(f"simulated performer: view '{kind}', expected {', '.join(VIEWS)}")
    draw = ParameterDraws((*seed, 20_174), held_out)
    yaw = yaw_deg * draw.within(-1, 1)
    if kind == "whole":
        return Viewpoint(yaw)
    if kind == "far":
        return Viewpoint(yaw, draw.within(4, 7), (draw.within(30, 98), draw.within(30, 80)))
    wrists = WRISTS[arms]
    if kind == "near":
        visible = draw.pick((arms, arms, "arms")) if arms != "both" else "arms"
        distance_m = draw.within(0.7, 1.5) if arms != "both" else draw.within(1.2, 2.2)
        return Viewpoint(yaw, distance_m, (draw.within(48, 80), draw.within(44, 84)), wrists, visible=visible)
    if draw.pick((True, False)):  # the picture ends below the neck, or next to the arm
        return Viewpoint(yaw, draw.within(1.2, 2.2), (draw.within(44, 84), draw.within(-10, 30)))
    return Viewpoint(yaw, draw.within(1.0, 1.8), (draw.within(44, 84), draw.within(44, 84)), wrists)
