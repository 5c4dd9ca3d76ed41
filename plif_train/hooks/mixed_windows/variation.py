"""Augmentation of recordings as events, before they become frames: changes that leave a gesture the same one.

A list of options in one line of text, each with its probability or its strength (`--vary`):

    mirror:P       left and right exchanged, in the picture and in class names (left_hand_wave <-> right_hand_wave)
    reverse:P      time runs backwards, ON and OFF exchanged; clockwise <-> counter_clockwise in the names of classes
    stretch:A-B    times longer, log-uniform
    scale:A-B      times larger about the middle, log-uniform
    shift:PX       moved by up to so many pixels in each direction
    turn:RAD       rotated by up to so many radians
    quarter:P      rotated by 90, 180 or 270 degrees
    cut:P          nothing more than 20 pixels (of 128) below the median row: hands and head, as behind a desk
    thin:P         a share of the events is kept, log-uniform from 0.1 to 1
    both:S         up to a share S of the events comes again at the same pixel, within 2 ms, with the other polarity
    halo:S         up to a share S comes again some pixels away
    noise:S        background events, up to a share S of the pixels in 40 ms
    hot:N          up to N pixels that fire 20 to 300 times a second

The module plif_train.hooks.mixed_windows.windows has the options for the contents of a window, and its labels.

Negatives made of positives: the same events in the same place, but the motion is gone or is another one.

    shuffle    the times of the events are exchanged at random: a fan of events, no motion
    freeze     one moment again and again: texture, no motion
    axes       x and y exchanged: a wave up and down. For gestures that this makes another motion only (AXES_MATTER); a
               circle becomes the circle in the other direction

A network that still answers with the gesture has learnt the place or the texture, not the motion.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.core.base.errors import PlifError

Floats = npt.NDArray[np.floating[Any]]
HALO_PX = (14.0, 8.0)  # standard deviation along rows and along columns
LEAST_KEPT = 0.1
CUT_PX = 20  # of a picture of 128 rows
SIDES = (("left", "right"), ("l", "r"))  # words in the names of classes, normalised
ROTATIONS = (("counterclockwise", "clockwise"),)
SWAPS = {"mirror": (*SIDES, *ROTATIONS), "reverse": ROTATIONS}


@dataclass
class Clip:
    """A clip of events in time order: t float [N] in us, x, y float [N] in pixels, polarity p bool [N]."""

    t: Floats
    x: Floats
    y: Floats
    p: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.t)

    def pick(self, selection: npt.NDArray[np.bool_] | npt.NDArray[np.int64] | slice) -> Clip:
        """Return a clip of the selected events, which are a mask bool [N], numbers int [n] or a slice."""
        if isinstance(selection, np.ndarray) and selection.dtype == bool:
            selection = np.flatnonzero(selection)  # once, not for each of the four arrays
        return Clip(self.t[selection], self.x[selection], self.y[selection], self.p[selection])


def merge_clips(clips: Sequence[Clip]) -> Clip:
    """Merge clips of events into one, sorted by time."""
    t = np.concatenate([clip.t for clip in clips])
    order = np.argsort(t, kind="stable")
    parts = ([getattr(clip, name) for clip in clips] for name in ("x", "y", "p"))
    x, y, p = (np.concatenate(part)[order] for part in parts)
    return Clip(t[order], x, y, p)


def swap_classes(classes: Sequence[str], pairs: Sequence[tuple[str, str]]) -> list[int]:
    """Return for each class number that of the mirrored class, whose name has words such as left and right swapped.

    A class without the words of `pairs` stays itself. Raises PlifError when a class has no counterpart.
    """
    exchange = {source_word: counterpart for a, b in pairs for source_word, counterpart in ((a, b), (b, a))}
    keys = [_normalise_name(name) for name in classes]
    numbers = []
    for name, key in zip(classes, keys, strict=True):
        counterpart = " ".join(exchange.get(word, word) for word in key.split(" "))
        if counterpart not in keys:
            raise PlifError(
                f"class '{name}' would become '{counterpart}', which is not among the classes; leave mirror or reverse out"
            )
        numbers.append(list(classes).index(name) if counterpart == key else keys.index(counterpart))
    return numbers


def _normalise_name(name: str) -> str:
    """Normalise a class name for comparison: "Left_Arm_counter-clockwise" -> "left arm counterclockwise".

    "leftArmCCW" becomes the same.
    """
    words = re.sub(r"[\W_]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
    words = re.sub(r"\b(left|right)(?=\w)", r"\1 ", words)  # "leftwave"; a name such as "leftover" is refused
    words = re.sub(r"\bcw\b", "clockwise", words)
    return re.sub(r"\b((counter|anti) ?clockwise|ccw|acw)\b", "counterclockwise", words)


def vary_clip(
    clip: Clip, label: int, variation: Mapping[str, tuple[float, ...]], size: tuple[int, int], swaps: Mapping[str, list[int]],
    rng: np.random.Generator,
) -> tuple[Clip, int]:  # fmt: skip
    """Vary a clip of events at random, by the settings of --vary; return the new clip and its class.

    `size` is (width, height) of the sensor. The option stretch is applied by the window sampler.
    """
    width = size[0]
    if rng.random() < variation.get("mirror", (0,))[0]:
        clip, label = Clip(clip.t, width - 1 - clip.x, clip.y, clip.p), swaps["mirror"][label]
    if len(clip) and rng.random() < variation.get("reverse", (0,))[0]:
        clip = reverse_time(clip)
        label = swaps["reverse"][label]
    if len(clip) and rng.random() < variation.get("cut", (0,))[0]:
        clip = cut_below_hands(clip, size)
    clip = _transform(clip, variation, size, rng)
    if "thin" in variation and rng.random() < variation["thin"][0]:
        clip = clip.pick(rng.random(len(clip)) < np.exp(rng.uniform(np.log(LEAST_KEPT), 0)))
    clips = [clip]
    if "both" in variation:
        copies = clip.pick(rng.random(len(clip)) < rng.uniform(0, variation["both"][0]))
        clips.append(Clip(copies.t + rng.uniform(50, 2_000, len(copies)), copies.x, copies.y, ~copies.p))
    if "halo" in variation:
        copies = clip.pick(rng.random(len(clip)) < rng.uniform(0, variation["halo"][0]))
        n = len(copies)
        clips.append(
            Clip(
                copies.t,
                copies.x + rng.normal(0, HALO_PX[0], n),
                copies.y + rng.normal(0, HALO_PX[1], n),
                rng.random(n) < 0.5,
            )
        )
    return (merge_clips(clips) if len(clips) > 1 else clip), label


def reverse_time(clip: Clip) -> Clip:
    """Reverse a clip of events in time, with exchanged polarities; it must not be empty."""
    return Clip((clip.t[-1] - clip.t)[::-1], clip.x[::-1], clip.y[::-1], ~clip.p[::-1])


def cut_below_hands(clip: Clip, size: tuple[int, int]) -> Clip:
    """Remove the events of the body below the hands from a clip, which must not be empty."""
    return clip.pick(clip.y <= np.median(clip.y) + CUT_PX * size[1] / 128)


def _transform(
    clip: Clip, variation: Mapping[str, tuple[float, ...]], size: tuple[int, int], rng: np.random.Generator
) -> Clip:
    """Scale, rotate and shift a clip of events about the middle of the picture, at random."""
    angle = rng.uniform(-1, 1) * variation.get("turn", (0.0,))[0]
    if rng.random() < variation.get("quarter", (0,))[0]:
        angle += np.pi / 2 * rng.integers(1, 4)
    low, high = variation.get("scale", (1.0, 1.0))
    factor = np.exp(rng.uniform(np.log(low), np.log(high)))
    reach = variation.get("shift", (0.0,))[0]
    shift = rng.uniform(-reach, reach, 2)
    cx, cy = (size[0] - 1) / 2, (size[1] - 1) / 2
    cos, sin = factor * np.cos(angle), factor * np.sin(angle)
    x, y = clip.x - cx, clip.y - cy
    return Clip(clip.t, cos * x - sin * y + cx + shift[0], sin * x + cos * y + cy + shift[1], clip.p)


class NoiseGenerator:
    """A generator of random background events (noise) of a camera sensor of (width, height).

    Some pixels are much noisier than others.
    """

    def __init__(self, size: tuple[int, int], rng: np.random.Generator, fields: int = 8) -> None:
        self.width, pixels = size[0], size[0] * size[1]
        shares = np.exp(rng.uniform(0.3, 1.8, (fields, 1)) * rng.standard_normal((fields, pixels)))
        self._until = np.cumsum(shares / shares.sum(1, keepdims=True), axis=1)

    def draw_noise(self, per_us: float, length_us: float, rng: np.random.Generator) -> Clip:
        """Draw background events as a Poisson process of `per_us` events a microsecond over length_us."""
        n = int(rng.poisson(per_us * length_us))
        until = self._until[rng.integers(len(self._until))]
        pixels = np.minimum(until.searchsorted(rng.random(n)), len(until) - 1)
        return Clip(
            np.sort(rng.uniform(0, length_us, n)),
            (pixels % self.width).astype(float),
            (pixels // self.width).astype(float),
            rng.random(n) < 0.5,
        )

    def draw_hot_pixels(self, most: int, length_us: float, rng: np.random.Generator) -> Clip:
        """Draw the events of up to `most` hot pixels, which fire 20 to 300 times a second with one polarity each."""
        clips = []
        for pixel in rng.integers(0, self._until.shape[1], rng.integers(0, most + 1)):
            n = int(rng.poisson(rng.uniform(20, 300) * length_us * 1e-6))
            x, y = float(pixel % self.width), float(pixel // self.width)
            clips.append(
                Clip(
                    np.sort(rng.uniform(0, length_us, n)),
                    np.full(n, x),
                    np.full(n, y),
                    np.full(n, rng.random() < 0.5),
                )
            )
        return merge_clips(clips) if clips else Clip(np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0, bool))


MOMENT_US = 40_000
AXES_MATTER = ("wave", "drum", "guitar")  # words in the names of classes


def shuffle_times(clip: Clip, rng: np.random.Generator) -> Clip:
    """Shuffle the times of a clip's events among its events, which removes all motion."""
    order = rng.permutation(len(clip))
    return Clip(clip.t, clip.x[order], clip.y[order], clip.p[order])


def freeze_moment(clip: Clip, rng: np.random.Generator) -> Clip:
    """Fill a clip with repetitions of the events of one random short moment in it, which removes all motion."""
    if not len(clip):
        return clip
    rounds = int(clip.t[-1] // MOMENT_US) + 1
    begin = rng.uniform(clip.t[0], max(clip.t[-1] - MOMENT_US, clip.t[0] + 1))
    if not np.any(within := (clip.t >= begin) & (clip.t < begin + MOMENT_US)):  # a pause has no events
        begin = clip.t[rng.integers(len(clip))]
        within = (clip.t >= begin) & (clip.t < begin + MOMENT_US)
    moment = clip.pick(within)
    t = (moment.t - begin + MOMENT_US * np.arange(rounds)[:, None]).ravel()
    return Clip(t, np.tile(moment.x, rounds), np.tile(moment.y, rounds), np.tile(moment.p, rounds))


def exchange_axes(clip: Clip, rng: np.random.Generator) -> Clip:
    """Exchange the x and y coordinates of the events of a clip from a square picture."""
    return Clip(clip.t, clip.y, clip.x, clip.p)


HARD_NEGATIVES: dict[str, Callable[[Clip, np.random.Generator], Clip]] = {
    "shuffle": shuffle_times, "freeze": freeze_moment, "axes": exchange_axes,
}  # fmt: skip


def is_negative_allowed(kind: str, name: str) -> bool:
    """Return whether a clip of a class may be distorted into one that shows no class (a hard negative)."""
    return kind != "axes" or any(word in name.lower() for word in AXES_MATTER)
