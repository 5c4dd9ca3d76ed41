"""Who stands before the simulated camera, and the camera: everything about a performer that a seed decides.

RANGES are uniform; held-out performers are drawn from other tenths of each range than those that a network is trained on
(runtime.simulate.wander), and from other seeds. They were set by eye and by numbers beside six recordings of DVS128
Gesture (docs/gesture.md): events a second, share of ON, pixels active in 20 ms, noise of a still part of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.simulate.figure import SIZE_PX, TEXELS, Look, Painter
from runtime.simulate.sensor import Sensor
from runtime.simulate.wander import Draw

Floats = npt.NDArray[np.float32]

RANGES: dict[str, tuple[float, float]] = {
    "scale": (0.7, 1.2),
    "cx": (48, 80),
    "cy": (62, 86),  # of the shoulders
    "girth": (0.65, 1.35),
    "skin": (0.2, 0.6),
    "shirt": (0.06, 0.65),
    "trousers": (0.05, 0.4),
    "hair": (0.03, 0.3),
    "wall": (0.15, 0.85),
    "sleeve_texture": (0.0, 0.3),
    "cloth_texture": (0.0, 0.2),
    "hand_texture": (0.1, 0.6),
    "wall_texture": (0.0, 0.2),
    "threshold": (0.08, 0.21),
    "on_ratio": (0.85, 1.18),
    "mismatch": (0.05, 0.25),
    "offset": (0.02, 0.08),
    "refractory_us": (100, 2_500),
    "noise_hz": (0.03, 0.3),
    "noise_spread": (0.8, 1.8),  # of the logarithm, from pixel to pixel
    "light": (0.0, 0.06),  # how much it wanders
    "halo": (0.04, 0.36),  # events that come again elsewhere nearby, as a share of all
}


@dataclass(frozen=True)
class Performer:
    """A person, a place and a camera. `held_out` performers share no parameter value with the others."""

    seed: tuple[int, ...]
    held_out: bool
    look: Look
    cx: float
    cy: float
    scale: float
    sensor: Sensor
    noise: Floats  # mean 1, [128 * 128]: how much more noisy each pixel is
    light: float
    halo: float

    def painter(self) -> Painter:
        return Painter(self.look, self.cx, self.cy, self.scale)


def draw_performer(seed: tuple[int, ...], held_out: bool = False) -> Performer:
    """The performer of a seed: the same one for ever."""
    draw = Draw((*seed, 20_171), held_out)
    value = {name: draw.within(*ends) for name, ends in RANGES.items()}
    rng = draw.rng
    # A person can be told from the wall. Most arms in the recordings are darker than it; a third may be anything.
    if draw.pick((True, True, False)):
        value["wall"] = max(value["wall"], min(0.9, 1.5 * value["skin"]))
    for part in ("skin", "shirt"):
        if abs(np.log(value["wall"] / value[part])) < 0.35:
            value[part] *= 0.6 if value["wall"] > 0.25 else 1.7
    look = Look(
        skin=value["skin"],
        shirt=value["shirt"],
        trousers=value["trousers"],
        hair=value["hair"],
        bare_arms=draw.pick((True, False)),
        glasses=draw.pick((True, False, False)),
        girth=value["girth"],
        sleeve=_texture(rng, value["sleeve_texture"], 3),
        cloth=_texture(rng, value["cloth_texture"], 3),
        hand=_texture(rng, value["hand_texture"], 1),
        face=_texture(rng, 0.12, 2),
        background=_wall(rng, value["wall"], value["wall_texture"]),
    )
    sensor = Sensor(
        threshold_on=value["threshold"] * value["on_ratio"] ** 0.5,
        threshold_off=value["threshold"] / value["on_ratio"] ** 0.5,
        mismatch=value["mismatch"],
        offset=value["offset"],
        refractory_us=value["refractory_us"],
        noise_hz=value["noise_hz"],
    )
    noise = np.exp(value["noise_spread"] * rng.standard_normal(SIZE_PX * SIZE_PX)).astype(np.float32)
    noise *= _smooth(rng, 3, 0.8).ravel()
    return Performer(
        seed, held_out, look, value["cx"], value["cy"], value["scale"], sensor, noise / noise.mean(), value["light"],
        value["halo"],
    )  # fmt: skip


def _texture(rng: np.random.Generator, depth: float, grain: int) -> Floats:
    """A factor about 1 over (along, across); `grain` texels are alike along the limb."""
    rows = -(-TEXELS[0] // grain)
    coarse = np.repeat(rng.standard_normal((rows, TEXELS[1])), grain, axis=0)[: TEXELS[0]]
    stripes = np.repeat(rng.standard_normal((rows, 1)), grain, axis=0)[: TEXELS[0]]
    return np.clip(1 + depth * (coarse + stripes), 0.25, 2.5).astype(np.float32)


def _smooth(rng: np.random.Generator, knots: int, spread: float) -> Floats:
    """A positive field [128, 128], mean about 1, bilinear between knots x knots values."""
    values = np.exp(spread * rng.standard_normal((knots, knots)))
    at = np.linspace(0, knots - 1, SIZE_PX)
    low = np.minimum(at.astype(int), knots - 2)
    part = at - low
    weights = np.zeros((SIZE_PX, knots))
    weights[np.arange(SIZE_PX), low], weights[np.arange(SIZE_PX), low + 1] = 1 - part, part
    return (weights @ values @ weights.T).astype(np.float32)


def _wall(rng: np.random.Generator, tone: float, depth: float) -> Floats:
    """A wall with shades, a few upright and level edges (door, shelf, table)."""
    wall = tone * _smooth(rng, 5, depth)
    for _ in range(rng.integers(0, 6)):
        at, width, factor = rng.integers(0, SIZE_PX), rng.integers(2, 50), np.exp(2 * depth * rng.standard_normal())
        if rng.random() < 0.5:
            wall[:, at : at + width] *= factor
        else:
            wall[at : at + width] *= factor
    return np.clip(wall, 0.02, 1.0).astype(np.float32)
