"""The person in front of the simulated camera, and the camera: all parameters of a performer that a seed decides.

Parameters are uniform over RANGES. Held-out performers are drawn from other tenths of each range than performers for
training (wander.py), and from other seeds. The ranges were set by eye and by numbers, in comparison with six
recordings of DVS128 Gesture (docs/gesture.md): events a second, share of ON, pixels active in 20 ms, noise of a part
of the picture without motion.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from runtime.datasets.performers.figure import SENSOR, SIZE_PX, TEXELS, Appearance, PersonPainter
from runtime.datasets.performers.wander import ParameterDraws
from runtime.datasets.simulated_camera.sensor import Sensor

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Size = tuple[int, int]

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
    "light": (0.0, 0.06),  # variation of the brightness
    "halo": (0.04, 0.36),  # events that are repeated some pixels away, as a share of all
}


# Conditions that are harder than those of the set, drawn in addition to RANGES for a varied performer (draw_performer).
VARIED: dict[str, tuple[float, float]] = {
    "contrast": (0.12, 0.5),  # faint: the person's difference from the wall, times this
    "far": (0.45, 0.85),  # faint: times the scale
    "flicker": (0.02, 0.09),  # lamps: amplitude of the flicker at 100 Hz
    "aside": (-22, 22),  # pixels from where the person would stand
    "halo": (0.2, 0.6),
    "both": (0.05, 0.35),  # share of events followed by one of the other polarity at the same pixel
}


# A plain camera and plain clothes: high thresholds, one of the polarities rare, most of the active pixels noise.
PLAIN: dict[str, tuple[float, float]] = {
    "threshold": (2.2, 5.5),  # factor of that in RANGES
    "unequal": (-1.3, 1.3),  # logarithm of ON's threshold by OFF's
    "noise_hz": (0.1, 0.5),
    "texture": (0.0, 0.25),  # factor of those in RANGES
}


@dataclass(frozen=True)
class Performer:
    """A simulated person with a place and a camera; held-out performers share no parameter value with the others."""

    seed: tuple[int, ...]
    held_out: bool
    look: Appearance
    cx: float
    cy: float
    scale: float
    sensor: Sensor
    noise: Floats  # float32 [H * W], mean 1: factor of each pixel's noise rate
    light: float
    halo: float
    opposite: float = 0.0
    flicker: float = 0.0

    @property
    def size(self) -> Size:
        """The (width, height) of the picture of the performer's camera."""
        height, width = self.look.background.shape
        return width, height

    def make_painter(self) -> PersonPainter:
        return PersonPainter(self.look, self.cx, self.cy, self.scale)


def draw_performer(
    seed: tuple[int, ...], held_out: bool = False, varied: str | None = None, size: Size = SENSOR
) -> Performer:
    """Make the random performer of a seed: a person, a place and a camera, always the same for the same seed.

    `varied` selects harder conditions: "faint" (weak contrast, far away), "lamps" (flicker), "texture" (more
    scattered events and pixels of both polarities) or "plain" (PLAIN). Such performers also stand elsewhere in the
    picture. `size` is (width, height) of the camera: the person, the place and the distribution of pixels are the
    same for any size, but each pixel is drawn anew.
    """
    performer = _draw_base(seed, held_out, size)
    if varied is not None:
        performer = _apply_conditions(performer, varied)
    return replace(performer, look=replace(performer.look, background=_resample_wall(performer.look.background, size)))


def _apply_conditions(performer: Performer, varied: str) -> Performer:
    seed, held_out = performer.seed, performer.held_out
    draw = ParameterDraws((*seed, 20_172), held_out)
    value = {name: draw.within(*ends) for name, ends in VARIED.items()}
    cx, cy = performer.cx + value["aside"], performer.cy + 0.5 * draw.within(*VARIED["aside"])
    if varied == "plain":
        return _make_plain(replace(performer, cx=cx, cy=cy), draw)
    performer = replace(performer, cx=cx, cy=cy, opposite=value["both"])
    if varied == "faint":
        scale, opposite = performer.scale * value["far"], 0.5 * value["both"]
        return replace(
            performer, scale=scale, opposite=opposite, look=_reduce_contrast(performer.look, value["contrast"])
        )
    return replace(performer, halo=value["halo"], flicker=value["flicker"] if varied == "lamps" else 0.0)


def _make_plain(performer: Performer, draw: ParameterDraws) -> Performer:
    value = {name: draw.within(*ends) for name, ends in PLAIN.items()}
    look, sensor = performer.look, performer.sensor
    unequal = np.exp(0.5 * value["unequal"])
    on, off = (sensor.threshold_on * value["threshold"] * unequal, sensor.threshold_off * value["threshold"] / unequal)
    # Hands or arms must be seen, so they cross the higher threshold.
    wall, dark = float(np.median(look.background)), sensor.offset
    contrast = max(abs(np.log((wall + dark) / (tone + dark))) for tone in (look.skin, look.shirt))
    share = min(1.0, contrast / (1.3 * max(on, off)))
    sensor = replace(
        sensor, threshold_on=float(on * share), threshold_off=float(off * share), noise_hz=value["noise_hz"]
    )
    return replace(performer, look=_weaken_textures(look, value["texture"]), sensor=sensor)


def _reduce_contrast(look: Appearance, contrast: float) -> Appearance:
    """Return a person's appearance with less contrast, against the wall and within the person."""
    wall = float(look.background.mean())
    tones = {name: wall + contrast * (getattr(look, name) - wall) for name in ("skin", "shirt", "trousers", "hair")}
    return replace(_weaken_textures(look, contrast), **tones, background=wall + contrast * (look.background - wall))


def _weaken_textures(look: Appearance, share: float) -> Appearance:
    """Return a person's appearance with all textures weakened to the share `share`."""
    weaker = {name: 1 + share * (getattr(look, name) - 1) for name in ("sleeve", "cloth", "hand", "face")}
    return replace(look, **weaker)


def _draw_base(seed: tuple[int, ...], held_out: bool, size: Size) -> Performer:
    """Choose random parameters of a performer under usual conditions, with a wall image of [128, 128]."""
    draw = ParameterDraws((*seed, 20_171), held_out)
    value = {name: draw.within(*ends) for name, ends in RANGES.items()}
    rng = draw.rng
    # The person must differ from the wall. In the recordings most arms are darker than the wall; a third may be anything.
    if draw.pick((True, True, False)):
        value["wall"] = max(value["wall"], min(0.9, 1.5 * value["skin"]))
    for part in ("skin", "shirt"):
        if abs(np.log(value["wall"] / value[part])) < 0.35:
            value[part] *= 0.6 if value["wall"] > 0.25 else 1.7
    look = Appearance(
        **{name: value[name] for name in ("skin", "shirt", "trousers", "hair", "girth")},
        bare_arms=draw.pick((True, False)),
        glasses=draw.pick((True, False, False)),
        sleeve=make_texture(rng, value["sleeve_texture"], 3),
        cloth=make_texture(rng, value["cloth_texture"], 3),
        hand=make_texture(rng, value["hand_texture"], 1),
        face=make_texture(rng, 0.12, 2),
        background=_make_wall(rng, value["wall"], value["wall_texture"]),
    )
    sensor = Sensor(
        threshold_on=value["threshold"] * value["on_ratio"] ** 0.5,
        threshold_off=value["threshold"] / value["on_ratio"] ** 0.5,
        **{name: value[name] for name in ("mismatch", "offset", "refractory_us", "noise_hz")},
    )
    noise = np.exp(value["noise_spread"] * rng.standard_normal(size[0] * size[1])).astype(np.float32)
    noise *= _make_field(rng, 3, 0.8, size).ravel()
    return Performer(
        seed, held_out, look, value["cx"], value["cy"], value["scale"], sensor, noise / noise.mean(), value["light"],
        value["halo"],
    )  # fmt: skip


def make_texture(rng: np.random.Generator, depth: float, grain: int) -> Floats:
    """Make a random surface texture of a limb: brightness factors near 1, float32 [32, 8], along and across it.

    `grain` neighbouring texels along the limb are equal.
    """
    rows = -(-TEXELS[0] // grain)
    coarse = np.repeat(rng.standard_normal((rows, TEXELS[1])), grain, axis=0)[: TEXELS[0]]
    stripes = np.repeat(rng.standard_normal((rows, 1)), grain, axis=0)[: TEXELS[0]]
    return np.clip(1 + depth * (coarse + stripes), 0.25, 2.5).astype(np.float32)


def _make_field(rng: np.random.Generator, knots: int, spread: float, size: Size = SENSOR) -> Floats:
    """Make a random smooth field of positive factors, float32 [H, W], mean about 1, from knots x knots values."""
    values = np.exp(spread * rng.standard_normal((knots, knots)))
    across, down = (_linear_weights(np.linspace(0, knots - 1, side), knots) for side in size)
    return np.asarray(down @ values @ across.T, np.float32)


def _linear_weights(positions: Doubles, knots: int) -> Doubles:
    """Return the weights [N, knots] of a linear interpolation between knots at positions [N], 0..knots - 1."""
    low = np.minimum(positions.astype(int), knots - 2)
    part, rows = positions - low, np.arange(len(positions))
    weights = np.zeros((len(positions), knots))
    weights[rows, low], weights[rows, low + 1] = 1 - part, part
    return weights


def _resample_wall(wall: Floats, size: Size) -> Floats:
    """Resample the wall's image [128, 128] to the size [H, W] of a camera's picture.

    The picture shows the same part of the scene over its height (figure.py); next to the wall is its mirror image.
    """
    width, height = size
    z, last = height / SIZE_PX, SIZE_PX - 1
    across = (np.arange(width) - (width - 1) / 2) / z + last / 2
    down = (np.arange(height) - (height - 1) / 2) / z + last / 2
    mirrored = [np.asarray(last - np.abs(last - axis % (2 * last)), np.float64) for axis in (down, across)]
    rows, columns = (_linear_weights(axis, SIZE_PX) for axis in mirrored)
    return np.asarray(rows @ wall @ columns.T, np.float32)


def _make_wall(rng: np.random.Generator, tone: float, depth: float) -> Floats:
    """Make a random wall image float32 [128, 128] with shades and a few vertical and horizontal edges.

    The edges are those of a door, a shelf or a table.
    """
    wall = tone * _make_field(rng, 5, depth)
    for _ in range(rng.integers(0, 6)):
        edge, width, factor = rng.integers(0, SIZE_PX), rng.integers(2, 50), np.exp(2 * depth * rng.standard_normal())
        if rng.random() < 0.5:
            wall[:, edge : edge + width] *= factor
        else:
            wall[edge : edge + width] *= factor
    return np.asarray(np.clip(wall, 0.02, 1.0), np.float32)
