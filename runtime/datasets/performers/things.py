"""Moving objects other than people: bars with joints, boxes, doors, swinging cables, twigs.

A bar with joints may be a bent limb, a clamp or a lamp. An object is a chain of capsules from a base; base and angles
are smooth random functions of time:

    p_0(t) = c + v t + a W_0(t)
    angle_k(t) = angle_(k-1)(t) + b_k + s_k W_k(t),    p_k = p_(k-1) + l_k (cos angle_k, sin angle_k)

with W about -1..1 (smooth_noise). No object swings with a period of its own above 0.7 Hz: a bar that does so about
one end is a wave.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from runtime.datasets.performers.figure import SIZE_PX, Limb, paint_scene_limbs, stack_limbs
from runtime.datasets.performers.performer import Performer, make_texture
from runtime.datasets.performers.wander import ParameterDraws, smooth_noise

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class MovingObject:
    """A moving object without a person: a chain of rounded parts with random lengths, bends and textures.

    Lengths are in pixels, angles in radians; `textures` has one for each part.
    """

    seed: tuple[int, ...]
    start: tuple[float, float]
    drift: tuple[float, float]  # pixels a second
    sway: float
    lengths: tuple[float, ...]
    radii: tuple[float, ...]  # one more than lengths
    bends: tuple[float, ...]
    swings: tuple[float, ...]
    hz: float
    tones: tuple[float, ...]
    textures: tuple[Floats, ...]

    def joints(self, t_s: Doubles) -> Doubles:
        """Return the positions of a moving object's joints at times [T], in pixels: float64 [T, parts + 1, 2]."""
        base = [
            self.start[k] + self.drift[k] * t_s + self.sway * smooth_noise(t_s, (*self.seed, k), self.hz)
            for k in range(2)
        ]
        points, angle = [np.stack(base, 1)], np.zeros(len(t_s))
        for k, length in enumerate(self.lengths):
            angle = angle + self.bends[k] + self.swings[k] * smooth_noise(t_s, (*self.seed, 10 + k), self.hz)
            points.append(points[-1] + length * np.stack([np.cos(angle), np.sin(angle)], 1))
        return np.stack(points, 1)


def draw_objects(seed: tuple[int, ...], held_out: bool = False) -> list[MovingObject]:
    """Choose the one to three random moving objects of a scene without a person."""
    draw = ParameterDraws((*seed, 60), held_out)
    return [_draw_object((*seed, 61, k), held_out) for k in range(draw.pick((1, 1, 2, 3)))]


def _draw_object(seed: tuple[int, ...], held_out: bool) -> MovingObject:
    draw = ParameterDraws(seed, held_out)
    parts = draw.pick((1, 1, 2, 2, 3))
    wide = draw.pick((1.0, 1.0, 2.5))  # a bar, or a box
    tone = draw.within(0.03, 0.9)
    return MovingObject(
        seed,
        start=(draw.within(20, SIZE_PX - 20), draw.within(20, SIZE_PX - 20)),
        drift=(draw.within(-25, 25), draw.within(-25, 25)),
        sway=draw.within(4, 30),
        lengths=tuple(draw.within(8, 70) for _ in range(parts)),
        radii=tuple(draw.within(1.5, 9) * wide for _ in range(parts + 1)),
        bends=(draw.within(0, 2 * np.pi), *(draw.within(-1.8, 1.8) for _ in range(parts - 1))),
        swings=tuple(draw.within(0, 0.9) for _ in range(parts)),
        hz=draw.within(0.2, 0.7),
        tones=tuple(tone * draw.within(0.7, 1.3) for _ in range(parts)),
        textures=tuple(make_texture(draw.rng, draw.within(0, 0.4), 2) for _ in range(parts)),
    )


class Chain(Protocol):
    """The interface of a painted thing: a chain of parts between joints that move."""

    @property
    def radii(self) -> tuple[float, ...]: ...

    @property
    def tones(self) -> tuple[float, ...]: ...

    @property
    def textures(self) -> tuple[Floats, ...]: ...

    def joints(self, t_s: Doubles, /) -> Doubles:
        """Return the positions of a thing's joints at times [T] in seconds, in pixels: float64 [T, parts + 1, 2]."""


class ObjectPainter:
    """A painter of camera images of moving objects in front of a wall, without a person."""

    def __init__(self, place: Performer, objects: Sequence[Chain]) -> None:
        self._objects, self._look = objects, place.look
        self._textures = np.concatenate([chain.textures for chain in objects])

    def paint(self, t_us: npt.NDArray[np.int64]) -> Iterator[Floats]:
        """Yield the camera's images float32 [H, W] of moving objects at times [T] in microseconds."""
        chains = [chain.joints(t_us / 1e6) for chain in self._objects]
        for i in range(len(t_us)):
            image, limbs = self._look.background.copy(), list[Limb]()
            for chain, joints in zip(self._objects, chains, strict=True):
                for k, tone in enumerate(chain.tones):
                    a, b = (*joints[i, k], 0.0), (*joints[i, k + 1], 0.0)
                    limbs.append((a, b, chain.radii[k], chain.radii[k + 1], tone, len(limbs), False))
            paint_scene_limbs(image, stack_limbs(limbs), self._textures, (0.0, 0.0), 1.0, girth=self._look.girth)
            yield image
