"""A person in front of a camera: from joints in space to an image of linear intensity, of any size.

Coordinates are those of the picture: X to the right, Y down, Z towards the camera, in pixels of a person of scale 1, with the
origin between the shoulders. So the person's right arm (arm 0) is on the left side of the picture, as in DVS128 Gesture.
A point appears at

    (cx, cy) + scale f (X, Y),      f = 1 / (1 - Z / DEPTH)          near objects are larger

A picture of W x H pixels shows the same part of the scene over its height, z = H / 128 times as large, with the same middle.
The point (x, y) of the picture of 128 x 128, where the middle of the first pixel is (0, 0), appears in it at

    (z (x + 1/2 - 64) + W / 2 - 1/2,  z (y + 1/2) - 1/2)

Every part is a tapered capsule: with u the position along the bone, v the signed distance from it and r(u) its radius, a
pixel is covered by clip(r - d + 1/2, 0, 1), d the distance from the bone, and shaded like a cylinder, 1 - 0.35 (v / r)^2,
times a texture over (u, v). Parts are painted from the back to the front.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.datasets.simulated_camera.native import LIMB, paint_limbs

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

SIZE_PX = 128
SENSOR = (SIZE_PX, SIZE_PX)  # (width, height), where none is given
DEPTH_PX = 230.0  # from the shoulders to the camera
SHOULDER = (18.0, 2.0)  # half of the width, and how far below the origin
UPPER_PX, FORE_PX, HAND_PX = 26.0, 24.0, 11.0
TEXELS = (32, 8)  # along a limb, across it


@dataclass(frozen=True)
class Appearance:
    """The appearance of a simulated person and of the wall behind: intensities and textures.

    Intensities are linear, 0..1; textures float32 [32, 8] multiply them.
    """

    skin: float
    shirt: float
    trousers: float
    hair: float
    bare_arms: bool  # short sleeves: forearms are skin
    glasses: bool
    girth: float  # times every radius
    sleeve: Floats
    cloth: Floats
    hand: Floats
    face: Floats
    background: Floats  # [H, W]: the size of the picture


@dataclass
class Pose:
    """The pose of a simulated person at T moments: arms, body, head and legs, as float64 arrays.

    Lengths are in pixels at scale 1.

    arms    [T, 2, 3, 3]   arm (0 the person's right), joint (elbow, wrist, finger tip), (X, Y, Z)
    body    [T, 3]         shift of the whole person in pixels of the picture, and factor of its scale
    head    [T, 2]         shift of the head against the body
    legs    [T, 2]         swing of each leg, in radians
    """

    arms: Doubles
    body: Doubles
    head: Doubles
    legs: Doubles

    def __len__(self) -> int:
        return len(self.arms)


def make_still_pose(n: int) -> Pose:
    """Return the pose of a person at n moments in which the arms hang and nothing moves."""
    arms = np.empty((n, 2, 3, 3))
    for arm, side in enumerate((-1.0, 1.0)):
        arms[:, arm, 0] = (side * (SHOULDER[0] + 4), SHOULDER[1] + UPPER_PX - 0.5, -1)
        arms[:, arm, 1] = (side * (SHOULDER[0] + 5), SHOULDER[1] + UPPER_PX + FORE_PX - 1, 4)
        arms[:, arm, 2] = (side * (SHOULDER[0] + 4), SHOULDER[1] + UPPER_PX + FORE_PX + HAND_PX - 1, 6)
    return Pose(arms, np.tile([0.0, 0.0, 1.0], (n, 1)), np.zeros((n, 2)), np.zeros((n, 2)))


def solve_arm(wrist: Doubles, side: float, pole: tuple[float, float, float] | None = None) -> tuple[Doubles, Doubles]:
    """Return elbow and wrist, [T, 3] each, of a person's arm that reaches for `wrist` [T, 3] as far as it can.

    The lengths of the two bones leave a circle for the elbow; `pole` is the direction in which the elbow points (down
    and outwards when None).
    """
    shoulder = np.array([side * SHOULDER[0], SHOULDER[1], 0.0])
    along = wrist - shoulder
    distance = np.linalg.norm(along, axis=1, keepdims=True)
    axis = along / np.maximum(distance, 1e-6)
    distance = np.clip(distance, abs(UPPER_PX - FORE_PX) + 4, UPPER_PX + FORE_PX - 0.3)
    foot = (UPPER_PX**2 - FORE_PX**2 + distance**2) / (2 * distance)
    height = np.sqrt(np.maximum(UPPER_PX**2 - foot**2, 0))
    towards = np.array(pole if pole is not None else (side * 0.7, 1.0, -0.35))
    normal = towards - axis * (axis @ towards)[:, None]
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
    return shoulder + axis * foot + normal * height, shoulder + axis * distance


def add_hand(elbow: Doubles, wrist: Doubles, bend: Doubles | float = 0.0) -> Doubles:
    """Extend an arm's elbow and wrist [T, 3] by the finger tip: elbow, wrist and finger tip [T, 3, 3].

    The hand continues the forearm, bent by `bend` radians ([T] or a number) in the plane of the picture.
    """
    along = wrist - elbow
    along = along / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-6)
    cos, sin = np.cos(bend), np.sin(bend)
    turned = np.stack(
        [along[:, 0] * cos - along[:, 1] * sin, along[:, 0] * sin + along[:, 1] * cos, along[:, 2] * np.ones_like(cos)],
        axis=1,
    )
    return np.stack([elbow, wrist, wrist + HAND_PX * turned], axis=1)


Limb = tuple[
    npt.ArrayLike, npt.ArrayLike, float, float, float, int, bool
]  # a, b, radius at each, tone, texture, is a hand
SLEEVE, CLOTH, HAND, FACE = range(4)  # the textures of a person


def stack_textures(look: Appearance) -> Floats:
    """Return the textures of a person's sleeve, cloth, hand and face, float32 [4, 32, 8]."""
    return np.stack([look.sleeve, look.cloth, look.hand, look.face]).astype(np.float32)


def stack_limbs(limbs: Sequence[Limb]) -> Doubles:
    """Convert limbs (rounded cylinders from a to b) to the array float64 [n, LIMB] that the C painter expects."""
    stacked = np.empty((len(limbs), LIMB))
    for row, (a, b, *attributes) in zip(stacked, limbs, strict=True):
        row[:3], row[3:6], row[6:] = a, b, attributes
    return stacked


def paint_scene_limbs(
    image: Floats,
    limbs: Doubles,
    textures: Floats,
    position: tuple[float, float],
    scale: float,
    depth: float = DEPTH_PX,
    girth: float = 1.0,
) -> None:
    """Paint a person's limbs [n, LIMB] over the picture `image` [H, W] of any size.

    `position` and `scale` are those in the picture of 128 x 128.
    """
    height, width = image.shape
    z = height / SIZE_PX
    pixel = (z * position[0] + (z * (1 - SIZE_PX) + width - 1) / 2, z * position[1] + (z - 1) / 2)
    paint_limbs(image, limbs, textures, pixel, z * scale, depth, girth)


class PersonPainter:
    """A painter of camera images of one simulated person at a fixed position.

    The image of the body is cached and painted again only when the body has moved.
    """

    MOVES_PX = 0.12  # the body is painted again after a movement of this many pixels of its picture

    def __init__(self, look: Appearance, cx: float, cy: float, scale: float) -> None:
        self.look, self.cx, self.cy, self.scale = look, cx, cy, scale
        self._textures, self._zoom = stack_textures(look), len(look.background) / SIZE_PX
        self._body: Floats | None = None
        self._body_state: Doubles = np.zeros(0)

    def paint(self, pose: Pose, t: int) -> Floats:
        """Paint the image float32 [H, W] of a simulated person at moment t of a pose."""
        state = np.concatenate([pose.body[t] * (1, 1, 40), pose.head[t], pose.legs[t] * 30])
        if self._body is None or np.abs(state - self._body_state).max() * self._zoom > self.MOVES_PX:
            self._body, self._body_state = self.look.background.copy(), state
            self._paint(self._body, pose, t, self._still_limbs(pose, t))
        image: Floats = self._body.copy()
        look = self.look
        lower = look.skin if look.bare_arms else look.shirt
        limbs: list[Limb] = []
        for arm in pose.arms[t, :, 1, 2].argsort():  # the farther arm first
            elbow, wrist, tip = pose.arms[t, arm]
            shoulder = (SHOULDER[0] * (1 if arm else -1), SHOULDER[1], 0.0)
            limbs.append((shoulder, elbow, 6.0, 4.9, look.shirt, SLEEVE, False))
            limbs.append((elbow, wrist, 4.8, 3.5, lower, SLEEVE, False))
            limbs.append((wrist, tip, 4.0, 4.4, look.skin, HAND, True))
        self._paint(image, pose, t, limbs)
        return image

    def _still_limbs(self, pose: Pose, t: int) -> list[Limb]:
        look, (hx, hy) = self.look, pose.head[t]
        limbs: list[Limb] = []
        for side, swing in zip((-1.0, 1.0), pose.legs[t], strict=True):
            hip = np.array([side * 8, 62.0, 0.0])
            knee = hip + np.array([6 * np.sin(swing), 38 * np.cos(swing), 36 * np.sin(swing)])
            foot = knee + np.array([2 * np.sin(swing), 38 * np.cos(0.6 * swing), 18 * np.sin(swing) - 6])
            limbs += [(hip, knee, 9, 7, look.trousers, CLOTH, False), (knee, foot, 7, 5, look.trousers, CLOTH, False)]
        limbs += [
            ((-13, 4, 0), (-9, 60, 0), 8, 9, look.shirt, CLOTH, False),
            ((13, 4, 0), (9, 60, 0), 8, 9, look.shirt, CLOTH, False),
            ((0, 4, 0), (0, 62, 0), 12, 13, look.shirt, CLOTH, False),
            ((0.3 * hx, -12, 0), (0, 0, 0), 5.5, 6, look.skin, FACE, False),
            ((hx, -31 + hy, 0), (hx, -25 + hy, 0), 10.5, 10, look.hair, CLOTH, False),
            ((hx, -29 + hy, 0), (hx, -18 + hy, 0), 9, 7.5, look.skin, FACE, False),
        ]
        if look.glasses:
            limbs.append(((hx - 6, -26 + hy, 3), (hx + 6, -26 + hy, 3), 1.3, 1.3, 0.05, CLOTH, False))
        return limbs

    def _paint(self, image: Floats, pose: Pose, t: int, limbs: Sequence[Limb]) -> None:
        dx, dy, factor = pose.body[t].tolist()
        position = (self.cx + dx, self.cy + dy)
        paint_scene_limbs(
            image, stack_limbs(limbs), self._textures, position, self.scale * factor, girth=self.look.girth
        )
