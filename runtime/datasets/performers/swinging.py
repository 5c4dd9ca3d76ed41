"""Things that swing, turn and tremble: cords, lamps, fans, doors, leaves. None is a gesture, however periodic.

A thing is one chain of points, like those of things.py, and a painter of things takes both:

    pendulum   angle(t) = A sin(2 pi f t + b),   f = sqrt(g / l) / 2 pi:   .5 to 1.4 Hz for 2 to .13 m
    rotor      angle(t) = 2 pi f t + b, a blade every 2 pi / n
    door       a board of vertical bars whose distances are w cos(angle(t))
    leaves     short parts at a twig, each trembling by smooth noise

What measures (held_out) is other things than what trains.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.datasets.performers.figure import SIZE_PX
from runtime.datasets.performers.performer import make_texture
from runtime.datasets.performers.wander import ParameterDraws, smooth_noise

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]

TRAINED = ("rope", "wheel", "twig")
MEASURED = ("cord", "lamp", "fan", "door", "leaves")


@dataclass(frozen=True)
class SwingingThing:
    """A thing that swings, turns or trembles: `path` gives its points [T, parts + 1, 2] in pixels at times [T] in seconds."""

    kind: str
    path: Callable[[Doubles], Doubles]
    radii: tuple[float, ...]  # one more than parts
    tones: tuple[float, ...]
    textures: tuple[Floats, ...]

    def joints(self, t_s: Doubles) -> Doubles:
        return self.path(t_s)


def draw_swinging(kind: str, seed: tuple[int, ...], held_out: bool) -> list[SwingingThing]:
    """Choose a random thing of a kind of TRAINED or MEASURED; two of them now and then."""
    count = ParameterDraws((*seed, 70), held_out).pick((1, 1, 1, 2))
    return [_draw_one(kind, (*seed, 71, k), held_out) for k in range(count)]


def _draw_one(kind: str, seed: tuple[int, ...], held_out: bool) -> SwingingThing:
    draw = ParameterDraws(seed, held_out)
    path, radii, tones = {
        "rope": _draw_rope, "wheel": _draw_rotor, "twig": _draw_leaves,
        "cord": _draw_pendulum, "lamp": _draw_pendulum, "fan": _draw_rotor, "door": _draw_door, "leaves": _draw_leaves,
    }[kind](draw, kind, seed)  # fmt: skip
    textures = tuple(make_texture(draw.rng, draw.within(0, 0.3), 2) for _ in tones)
    return SwingingThing(kind, path, radii, tones, textures)


Drawn = tuple[Callable[[Doubles], Doubles], tuple[float, ...], tuple[float, ...]]


def _steer(start: tuple[float, float], lengths: list[float], angles: list[Doubles]) -> Doubles:
    """Return the points [T, parts + 1, 2] of a chain from its start, each part at an angle [T] from hanging down."""
    points = [np.tile(start, (len(angles[0]), 1))]
    for length, angle in zip(lengths, angles, strict=True):
        points.append(points[-1] + length * np.stack([np.sin(angle), np.cos(angle)], 1))
    return np.stack(points, 1)


def _draw_pendulum(draw: ParameterDraws, kind: str, seed: tuple[int, ...]) -> Drawn:
    start, long = (draw.within(25, SIZE_PX - 25), draw.within(-20, 20)), draw.within(30, 100)
    hz, wide, begin = draw.within(0.5, 1.4), draw.within(0.06, 0.6), draw.within(0, 2 * np.pi)
    end = draw.within(7, 18) if kind == "lamp" else draw.within(2, 5)

    def path(t_s: Doubles) -> Doubles:
        angle = wide * np.sin(2 * np.pi * hz * t_s + begin) + 0.03 * smooth_noise(t_s, (*seed, 1), 0.5)
        return _steer(start, [long, end], [angle, angle])

    thin, tone = draw.within(0.6, 3.0), draw.within(0.03, 0.9)
    thick = draw.within(6, 15) if kind == "lamp" else thin
    return path, (thin, thin, thick), (tone, tone if kind == "cord" else draw.within(0.2, 0.95))


def _draw_rope(draw: ParameterDraws, kind: str, seed: tuple[int, ...]) -> Drawn:
    """Draw a rope of four parts, through which a wave runs."""
    start, parts = (draw.within(25, SIZE_PX - 25), draw.within(-20, 30)), 4
    lengths = [draw.within(10, 26) for _ in range(parts)]
    hz, lag = draw.within(0.5, 1.8), draw.within(0.1, 1.0)
    wide = [draw.within(0.04, 0.35) for _ in range(parts)]

    def path(t_s: Doubles) -> Doubles:
        phase = 2 * np.pi * hz * t_s + 0.4 * smooth_noise(t_s, (*seed, 1), 0.4)
        return _steer(start, lengths, [a * np.sin(phase - lag * k) for k, a in enumerate(wide)])

    thin, tone = draw.within(0.7, 4.0), draw.within(0.03, 0.9)
    return path, (thin,) * (parts + 1), (tone,) * parts


def _draw_rotor(draw: ParameterDraws, kind: str, seed: tuple[int, ...]) -> Drawn:
    """Draw blades about a hub: a fan's two to five, a wheel's one to three and slower."""
    blades = draw.pick((2, 3, 4, 5)) if kind == "fan" else draw.pick((1, 2, 3))
    middle, long = (draw.within(25, SIZE_PX - 25), draw.within(25, SIZE_PX - 25)), draw.within(14, 50)
    hz, way = draw.within(*((0.7, 6.0) if kind == "fan" else (0.25, 2.5))), draw.pick((1.0, -1.0))
    flat, begin = draw.within(0.3, 1.0), draw.within(0, 2 * np.pi)

    def path(t_s: Doubles) -> Doubles:
        turned = way * 2 * np.pi * hz * t_s + begin
        hub, points = np.tile(middle, (len(t_s), 1)), []
        for k in range(blades):
            angle = turned + 2 * np.pi * k / blades
            points += [hub, hub + long * np.stack([flat * np.cos(angle), np.sin(angle)], 1)]
        return np.stack([*points, hub], 1)

    tone, hub_px, tip_px = draw.within(0.03, 0.9), draw.within(1.5, 4), draw.within(1.5, 8)
    return path, (*((hub_px, tip_px) * blades), hub_px), (tone,) * (2 * blades)


def _draw_door(draw: ParameterDraws, kind: str, seed: tuple[int, ...]) -> Drawn:
    """Draw a board about a vertical hinge, of vertical bars; it opens and closes."""
    bars, hinge, wide = 8, draw.within(20, SIZE_PX - 20), draw.within(20, 70)
    top, bottom, way = draw.within(-10, 40), draw.within(80, 140), draw.pick((1.0, -1.0))
    hz, begin = draw.within(0.15, 0.8), draw.within(0, 2 * np.pi)

    def path(t_s: Doubles) -> Doubles:
        angle = 0.75 + 0.75 * np.sin(2 * np.pi * hz * t_s + begin)  # 0: flat in the picture
        points = []
        for k in range(bars):
            x = hinge + way * wide * (k / (bars - 1)) * np.cos(angle)
            ends = (top, bottom) if k % 2 else (bottom, top)
            points += [np.stack([x, np.full(len(t_s), y)], 1) for y in ends]
        return np.stack(points, 1)

    thick, tone = 0.6 * wide / bars + 0.5, draw.within(0.03, 0.9)
    return path, (thick,) * (2 * bars), (tone,) * (2 * bars - 1)


def _draw_leaves(draw: ParameterDraws, kind: str, seed: tuple[int, ...]) -> Drawn:
    """Draw a twig with leaves, two points out and back for each; a bare twig has few and long ones."""
    count = draw.pick((6, 9, 12)) if kind == "leaves" else draw.pick((3, 4, 5))
    start, along = (draw.within(0, SIZE_PX), draw.within(-10, 60)), draw.within(-0.9, 0.9)
    step, long = draw.within(5, 13), draw.within(*((5, 15) if kind == "leaves" else (14, 36)))
    hz, wide, sway = draw.within(0.8, 3.0), draw.within(0.1, 0.7), draw.within(0.02, 0.2)
    rest = [draw.within(0.4, 1.6) * (1 if k % 2 else -1) for k in range(count)]

    def path(t_s: Doubles) -> Doubles:
        bent = along + sway * smooth_noise(t_s, (*seed, 1), 0.8)
        at, points = np.tile(start, (len(t_s), 1)), [np.tile(start, (len(t_s), 1))]
        for k in range(count):
            at = at + step * np.stack([np.sin(bent), np.cos(bent)], 1)
            angle = bent + rest[k] + wide * smooth_noise(t_s, (*seed, 2 + k), hz)
            points += [at, at + long * np.stack([np.sin(angle), np.cos(angle)], 1), at]
        return np.stack(points, 1)

    tone, twig = draw.within(0.03, 0.8), draw.within(0.5, 1.5)
    broad = draw.within(1.5, 5) if kind == "leaves" else draw.within(0.6, 1.6)
    return path, (twig, *((twig, broad, twig) * count)), (tone,) * (3 * count)
