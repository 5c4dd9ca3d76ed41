"""Negatives made of positives: the same events in the same place, but the motion is gone or is another one.

    shuffle    the times of the events are exchanged at random: a fan of events, no motion
    freeze     one moment again and again: texture, no motion
    axes       x and y exchanged: a wave up and down. For gestures that this makes another motion only (AXES_MATTER); a circle
               becomes the circle in the other direction

A network that still answers with the gesture has learnt the place or the texture, not the motion.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from plif_train.data.variation import Clip

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
