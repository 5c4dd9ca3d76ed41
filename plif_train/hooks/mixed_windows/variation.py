"""Augmentation of recordings as events, before they become frames: what may happen to a gesture and leave it the same one.

A list of options in one line of text, each with its probability or its strength (`--vary`):

    mirror:P       left and right exchanged, in the picture and in the names of classes (left_hand_wave <-> right_hand_wave)
    reverse:P      time runs backwards, ON and OFF exchanged; clockwise <-> counter_clockwise in the names of classes
    stretch:A-B    times longer, log-uniform
    scale:A-B      times larger about the middle, log-uniform
    shift:PX       moved by up to so many pixels in each direction
    turn:RAD       turned by up to so many radians
    quarter:P      turned by 90, 180 or 270 degrees
    cut:P          nothing more than 20 pixels (of 128) below the median row: hands and head, as behind a desk
    thin:P         a share of the events is kept, log-uniform from 0.1 to 1
    both:S         up to a share S of the events comes again at the same pixel, within 2 ms, with the other polarity
    halo:S         up to a share S comes again some pixels away
    noise:S        background events, up to a share S of the pixels in 40 ms
    hot:N          up to N pixels that fire 20 to 300 times a second

Windows (plif_train.hooks.mixed_windows.windows) has the options that decide what a window holds, and its labels.

Negatives made of positives: the same events in the same place, but the motion is gone or is another one.

    shuffle    the times of the events are exchanged at random: a fan of events, no motion
    freeze     one moment again and again: texture, no motion
    axes       x and y exchanged: a wave up and down. For gestures that this makes another motion only (AXES_MATTER); a circle
               becomes the circle in the other direction

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
SIDES = (("left", "right"), ("l", "r"))  # words in the names of classes, as _words has them
TURNS = (("counterclockwise", "clockwise"),)
SWAPS = {"mirror": (*SIDES, *TURNS), "reverse": TURNS}


@dataclass
class Clip:
    """Events in time order: t float [N] in us from the beginning of the window, x, y float [N] in pixels, p bool [N]."""

    t: Floats
    x: Floats
    y: Floats
    p: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.t)

    def pick(self, which: npt.NDArray[np.bool_] | npt.NDArray[np.int64] | slice) -> Clip:
        """Those events, bool [N], int [n] or a slice."""
        if isinstance(which, np.ndarray) and which.dtype == bool:
            which = np.flatnonzero(which)  # once, not for each of the four
        return Clip(self.t[which], self.x[which], self.y[which], self.p[which])


def join(clips: Sequence[Clip]) -> Clip:
    """All their events, sorted by time."""
    t = np.concatenate([clip.t for clip in clips])
    order = np.argsort(t, kind="stable")
    parts = ([getattr(clip, name) for clip in clips] for name in ("x", "y", "p"))
    x, y, p = (np.concatenate(part)[order] for part in parts)
    return Clip(t[order], x, y, p)


def exchanged(classes: Sequence[str], pairs: Sequence[tuple[str, str]]) -> list[int]:
    """For each class the one whose name has the words of `pairs` exchanged; itself where it has none of them.

    PlifError when a class has no counterpart."""
    exchange = {one: other for a, b in pairs for one, other in ((a, b), (b, a))}
    keys = [_words(name) for name in classes]
    found = []
    for name, key in zip(classes, keys, strict=True):
        other = " ".join(exchange.get(word, word) for word in key.split(" "))
        if other not in keys:
            raise PlifError(
                f"class '{name}' would become '{other}', which is not among the classes; leave mirror or reverse out"
            )
        found.append(list(classes).index(name) if other == key else keys.index(other))
    return found


def _words(name: str) -> str:
    """ "Left_Arm_counter-clockwise", "leftArmCCW" -> "left arm counterclockwise"."""
    words = re.sub(r"[\W_]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
    words = re.sub(r"\b(left|right)(?=\w)", r"\1 ", words)  # "leftwave"; a name that only begins so is refused
    words = re.sub(r"\bcw\b", "clockwise", words)
    return re.sub(r"\b((counter|anti) ?clockwise|ccw|acw)\b", "counterclockwise", words)


def vary(
    clip: Clip, label: int, how: Mapping[str, tuple[float, ...]], size: tuple[int, int], swaps: Mapping[str, list[int]],
    rng: np.random.Generator,
) -> tuple[Clip, int]:  # fmt: skip
    """A clip of a sensor of `size` (width, height) and its class -> another one, and its class. stretch is the window's part."""
    width = size[0]
    if rng.random() < how.get("mirror", (0,))[0]:
        clip, label = Clip(clip.t, width - 1 - clip.x, clip.y, clip.p), swaps["mirror"][label]
    if len(clip) and rng.random() < how.get("reverse", (0,))[0]:
        clip = backwards(clip)
        label = swaps["reverse"][label]
    if len(clip) and rng.random() < how.get("cut", (0,))[0]:
        clip = cut_away(clip, size)
    clip = _move(clip, how, size, rng)
    if "thin" in how and rng.random() < how["thin"][0]:
        clip = clip.pick(rng.random(len(clip)) < np.exp(rng.uniform(np.log(LEAST_KEPT), 0)))
    more = [clip]
    if "both" in how:
        again = clip.pick(rng.random(len(clip)) < rng.uniform(0, how["both"][0]))
        more.append(Clip(again.t + rng.uniform(50, 2_000, len(again)), again.x, again.y, ~again.p))
    if "halo" in how:
        again = clip.pick(rng.random(len(clip)) < rng.uniform(0, how["halo"][0]))
        n = len(again)
        more.append(
            Clip(
                again.t,
                again.x + rng.normal(0, HALO_PX[0], n),
                again.y + rng.normal(0, HALO_PX[1], n),
                rng.random(n) < 0.5,
            )
        )
    return (join(more) if len(more) > 1 else clip), label


def backwards(clip: Clip) -> Clip:
    """A clip that is not empty, backwards in time: what was brighter is darker."""
    return Clip((clip.t[-1] - clip.t)[::-1], clip.x[::-1], clip.y[::-1], ~clip.p[::-1])


def cut_away(clip: Clip, size: tuple[int, int]) -> Clip:
    """A clip that is not empty without the body below the hands."""
    return clip.pick(clip.y <= np.median(clip.y) + CUT_PX * size[1] / 128)


def _move(clip: Clip, how: Mapping[str, tuple[float, ...]], size: tuple[int, int], rng: np.random.Generator) -> Clip:
    """Scales, turns and shifts about the middle of the picture."""
    angle = rng.uniform(-1, 1) * how.get("turn", (0.0,))[0]
    if rng.random() < how.get("quarter", (0,))[0]:
        angle += np.pi / 2 * rng.integers(1, 4)
    low, high = how.get("scale", (1.0, 1.0))
    factor = np.exp(rng.uniform(np.log(low), np.log(high)))
    reach = how.get("shift", (0.0,))[0]
    shift = rng.uniform(-reach, reach, 2)
    cx, cy = (size[0] - 1) / 2, (size[1] - 1) / 2
    cos, sin = factor * np.cos(angle), factor * np.sin(angle)
    x, y = clip.x - cx, clip.y - cy
    return Clip(clip.t, cos * x - sin * y + cx + shift[0], sin * x + cos * y + cy + shift[1], clip.p)


class Noise:
    """Background events of a sensor of (width, height): some pixels are much noisier than others."""

    def __init__(self, size: tuple[int, int], rng: np.random.Generator, fields: int = 8) -> None:
        self.width, pixels = size[0], size[0] * size[1]
        shares = np.exp(rng.uniform(0.3, 1.8, (fields, 1)) * rng.standard_normal((fields, pixels)))
        self._until = np.cumsum(shares / shares.sum(1, keepdims=True), axis=1)

    def make(self, per_us: float, length_us: float, rng: np.random.Generator) -> Clip:
        """A Poisson process of `per_us` events a microsecond, over the first length_us."""
        n = int(rng.poisson(per_us * length_us))
        until = self._until[rng.integers(len(self._until))]
        at = np.minimum(until.searchsorted(rng.random(n)), len(until) - 1)
        return Clip(
            np.sort(rng.uniform(0, length_us, n)),
            (at % self.width).astype(float),
            (at // self.width).astype(float),
            rng.random(n) < 0.5,
        )

    def hot(self, most: int, length_us: float, rng: np.random.Generator) -> Clip:
        """Up to `most` pixels that fire 20 to 300 times a second, with one polarity each."""
        clips = []
        for at in rng.integers(0, self._until.shape[1], rng.integers(0, most + 1)):
            n = int(rng.poisson(rng.uniform(20, 300) * length_us * 1e-6))
            x, y = float(at % self.width), float(at // self.width)
            clips.append(
                Clip(
                    np.sort(rng.uniform(0, length_us, n)), np.full(n, x), np.full(n, y), np.full(n, rng.random() < 0.5)
                )
            )
        return join(clips) if clips else Clip(np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0, bool))


MOMENT_US = 40_000
AXES_MATTER = ("wave", "drum", "guitar")  # words in the names of classes


def shuffle(clip: Clip, rng: np.random.Generator) -> Clip:
    """The same times and the same places, each place at the time of another."""
    order = rng.permutation(len(clip))
    return Clip(clip.t, clip.x[order], clip.y[order], clip.p[order])


def freeze(clip: Clip, rng: np.random.Generator) -> Clip:
    """The events of one random MOMENT_US, repeated for as long as the clip lasts."""
    if not len(clip):
        return clip
    rounds = int(clip.t[-1] // MOMENT_US) + 1
    begin = rng.uniform(clip.t[0], max(clip.t[-1] - MOMENT_US, clip.t[0] + 1))
    if not np.any(within := (clip.t >= begin) & (clip.t < begin + MOMENT_US)):  # a pause shows nothing
        begin = clip.t[rng.integers(len(clip))]
        within = (clip.t >= begin) & (clip.t < begin + MOMENT_US)
    moment = clip.pick(within)
    t = (moment.t - begin + MOMENT_US * np.arange(rounds)[:, None]).ravel()
    return Clip(t, np.tile(moment.x, rounds), np.tile(moment.y, rounds), np.tile(moment.p, rounds))


def exchange_axes(clip: Clip, rng: np.random.Generator) -> Clip:
    """x and y exchanged; for a square picture."""
    return Clip(clip.t, clip.y, clip.x, clip.p)


HARD: dict[str, Callable[[Clip, np.random.Generator], Clip]] = {
    "shuffle": shuffle, "freeze": freeze, "axes": exchange_axes,
}  # fmt: skip


def allows(kind: str, name: str) -> bool:
    """Whether this kind of negative may be made of a class of this name."""
    return kind != "axes" or any(word in name.lower() for word in AXES_MATTER)
