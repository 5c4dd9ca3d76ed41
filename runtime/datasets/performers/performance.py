"""Events of a performer who does one gesture after the other: the simulated recording, made a short time after the other.

    bouts    the gestures, each with its begin and end; between two of them the person stands still
    w(t)     0 while the person stands still; rises from 0 to 1 in the first `raise_us` of a bout, falls in the last `raise_us`
    pose     still + w (gesture - still)

The camera gets a picture every FRAME_US, in which a hand moves by about a pixel of 128 x 128 (by four of 640 x 480: what passes
over a pixel meanwhile is not seen); between two pictures the sensor model takes the logarithm of intensity as a straight line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.datasets.performers.everyday import EVERYDAY
from runtime.datasets.performers.figure import SIZE_PX, Pose, stand_still
from runtime.datasets.performers.gestures import CLASSES, LAWS, WIDE_PACES, Moment
from runtime.datasets.performers.other_gestures import OTHERS
from runtime.datasets.performers.performer import Performer
from runtime.datasets.performers.wander import ParameterDraws, wander
from runtime.datasets.simulated_camera.sensor import Camera, order_of

Floats = npt.NDArray[np.float32]
FRAME_US = 5_000
BATCH = 4  # pictures for one piece of events: a live stream gets events every 20 ms


@dataclass(frozen=True)
class Manner:
    """How one bout is done: which gesture, and the seed of its parameters. The pose at a time does not depend on other times.

    other     for "other_gestures": which of OTHERS or EVERYDAY; drawn from OTHERS when None
    hesitant  0 to below 1: by how much the pace rises and falls, about once in two periods
    slow      times the pace
    wide      a gesture in the ranges of people's own, not of the set (gestures.WIDE_PACES): laws 2
    """

    gesture: int
    seed: tuple[int, ...]
    held_out: bool = False
    other: str | None = None
    hesitant: float = 0.0
    slow: float = 1.0
    wide: bool = False

    def pose(self, t_s: npt.NDArray[np.float64]) -> Pose:
        """The poses at times [T], in seconds since the bout began."""
        draw = ParameterDraws(self.seed, self.held_out)
        pose = stand_still(len(t_s))
        name = CLASSES[self.gesture]
        laws = OTHERS | EVERYDAY
        low, high, law = LAWS[name] if name in LAWS else laws[self.other or draw.pick(tuple(OTHERS))]
        low, high = WIDE_PACES[name] if self.wide and name in LAWS else (low, high)
        pace = draw.within(low, high) * self.slow
        if self.hesitant:
            wave = np.pi * pace
            t_s = t_s - self.hesitant * np.sin(wave * t_s) / wave
        phase = 2 * np.pi * (pace * t_s + 0.12 * wander(t_s, (*self.seed, 1), 0.6)) + draw.within(0, 2 * np.pi)
        slow = [wander(t_s, (*self.seed, 2 + k), 0.5) for k in range(4)]
        right, left = law(Moment(t_s, phase, draw, pose, slow, self.wide))
        pose.arms[:, 0], pose.arms[:, 1] = right, left
        sway = draw.within(0.0, 0.8)
        pose.body[:, 0] += sway * slow[2] * 1.5
        pose.body[:, 1] += sway * slow[3] * 0.8 + draw.within(0, 0.9) * np.sin(phase)
        pose.head += draw.within(0.0, 1.1) * np.stack([slow[3], 0.6 * slow[2]], 1)
        return pose


@dataclass(frozen=True)
class Bout:
    """One gesture: the arms begin to move at t_on_us, the gesture itself at t_ready_us, and the arms hang again at t_off_us."""

    manner: Manner
    t_on_us: int
    t_off_us: int
    raise_us: int  # 0: the arms are in place at once, as in a cut out of the middle

    @property
    def label(self) -> str:
        return CLASSES[self.manner.gesture]

    @property
    def t_ready_us(self) -> int:
        return self.t_on_us + self.raise_us


def perform(
    performer: Performer, bouts: Sequence[Bout], start_us: int, end_us: int, seed: tuple[int, ...]
) -> Iterator[npt.NDArray[np.void]]:
    """Events from start_us to end_us in pieces [N] of BATCH pictures (EVENT_DTYPE, sorted, in the time of start_us).

    The first picture gives no events. `seed` is that of the camera's noise. A piece may be empty.
    """
    painter = performer.make_painter()

    def paint(t_us: npt.NDArray[np.int64]) -> Iterator[Floats]:
        pose = pose_at(bouts, t_us, performer.seed)
        return (painter.paint(pose, i) for i in range(len(t_us)))

    return record_scene(performer, paint, start_us, end_us, seed)


def record_scene(
    performer: Performer,
    paint: Callable[[npt.NDArray[np.int64]], Iterable[Floats]],
    start_us: int,
    end_us: int,
    seed: tuple[int, ...],
) -> Iterator[npt.NDArray[np.void]]:
    """As `perform`, of any scene before the performer's camera: `paint` gives the pictures [H, W] at times [T] in us."""
    camera = Camera(performer.sensor, np.random.default_rng([*seed, 77]), performer.noise)
    times = np.arange(start_us, end_us + 1, FRAME_US)
    scatter = np.random.default_rng([*seed, 78])
    for at in range(0, len(times), BATCH):
        t_us = times[at : at + BATCH]
        light = 1 + performer.light * wander(t_us / 1e6, (*performer.seed, 5), 0.7)
        light += performer.flicker * np.where(
            t_us // FRAME_US % 2, 1, -1
        )  # 100 Hz, as far as a picture every 5 ms shows it
        frames = (
            (float(t), image * np.float32(light[i])) for i, (t, image) in enumerate(zip(t_us, paint(t_us), strict=True))
        )
        events = camera.see(frames)
        if performer.both:
            events = _add_both(events, performer.both, scatter)
        yield _add_halo(events, performer.halo, scatter, performer.size)


def _add_both(events: npt.NDArray[np.void], share: float, rng: np.random.Generator) -> npt.NDArray[np.void]:
    """Repeats a random share of the events at the same pixel with the other polarity, up to 2 ms later but within the piece."""
    again = events[rng.random(len(events)) < share]
    if not len(again):
        return events
    again["p"] = ~again["p"]
    again["t"] = np.minimum(again["t"] + rng.integers(50, 2_000, len(again)), events["t"][-1])
    both = np.concatenate([events, again])
    return both[order_of(both["t"])]


def _add_halo(
    events: npt.NDArray[np.void], share: float, rng: np.random.Generator, size: tuple[int, int]
) -> npt.NDArray[np.void]:
    """Adds scattered events around what moves, as real recordings have them (from shadows, reflections and the sensor's own
    bus), more along rows than across them: a random share of the events is repeated, with either polarity, some pixels away,
    which are those of 128 rows: as far in the scene, whatever the size (width, height)."""
    z = size[1] / SIZE_PX
    again = events[rng.random(len(events)) < share]
    x = np.rint(again["x"] + rng.normal(0, 12 * z, len(again)))
    y = np.rint(again["y"] + rng.normal(0, 5 * z, len(again)))
    again["p"] = rng.random(len(again)) < 0.5
    inside = (x >= 0) & (x < size[0]) & (y >= 0) & (y < size[1])
    again["x"], again["y"] = np.where(inside, x, 0), np.where(inside, y, 0)
    both = np.concatenate([events, again[inside]])
    return both[order_of(both["t"])]


def pose_at(bouts: Sequence[Bout], t_us: npt.NDArray[np.int64], seed: tuple[int, ...]) -> Pose:
    """The pose at times int64 [T] in microseconds. Bouts must not overlap."""
    pose = stand_still(len(t_us))
    sway = np.stack([wander(t_us / 1e6, (*seed, 6 + k), 0.5) for k in range(2)], 1)
    pose.body[:, :2] += 0.7 * sway
    pose.arms[:, :, 1:, 0] += 0.5 * sway[:, :1, None]
    for bout in bouts:
        inside = (t_us >= bout.t_on_us) & (t_us < bout.t_off_us)
        if not inside.any():
            continue
        since = (t_us[inside] - bout.t_on_us) / 1e6
        done = bout.manner.pose(since)
        if bout.raise_us:
            rise = bout.raise_us / 1e6
            edge = np.minimum(since, (bout.t_off_us - bout.t_on_us) / 1e6 - since) / rise
            w = np.clip(edge, 0, 1)
            w = w * w * (3 - 2 * w)
        else:
            w = np.ones(len(since))
        for name in ("arms", "body", "head", "legs"):
            before, goal = getattr(pose, name), getattr(done, name)
            weight = w.reshape(-1, *[1] * (before.ndim - 1))
            before[inside] += weight * (goal - before[inside])
    return pose
