"""Events of a performer who does one gesture after the other: the simulated recording, made piece by piece.

    bouts    the gestures, each with its begin and end; between two of them the person stands still
    w(t)     0 while the person stands still; rises from 0 to 1 in the first `raise_us` of a bout, falls in the last `raise_us`
    pose     still + w (gesture - still)

The camera gets an image every FRAME_US, in which a hand moves by about a pixel of 128 x 128 (by four of 640 x 480; the model
misses objects that cross a pixel between two images). Between two images the sensor model interpolates the logarithm of
intensity linearly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.datasets.performers.everyday import EVERYDAY
from runtime.datasets.performers.figure import SIZE_PX, Pose, make_still_pose
from runtime.datasets.performers.gestures import CLASSES, LAWS, WIDE_PACES, LawInput
from runtime.datasets.performers.other_gestures import OTHERS
from runtime.datasets.performers.performer import Performer
from runtime.datasets.performers.wander import ParameterDraws, smooth_noise
from runtime.datasets.simulated_camera.sensor import Camera, sort_order

Floats = npt.NDArray[np.float32]
FRAME_US = 5_000
BATCH = 4  # images for one piece of events: a live stream gets events every 20 ms


@dataclass(frozen=True)
class Manner:
    """The parameters of how a person performs one gesture: its class, pace, and the seed of its random values.

    The pose at a time does not depend on other times.

    other_kind  for "other_gestures": the key in OTHERS or EVERYDAY; drawn from OTHERS when None
    hesitant    0 to below 1: by how much the pace rises and falls, about once in two periods
    slow        factor of the pace
    wide        True: the gesture has the wider ranges of recorded people, not of the set (gestures.WIDE_PACES): laws 2
    """

    gesture: int
    seed: tuple[int, ...]
    held_out: bool = False
    other_kind: str | None = None
    hesitant: float = 0.0
    slow: float = 1.0
    wide: bool = False

    def pose_at(self, t_s: npt.NDArray[np.float64]) -> Pose:
        """Return the person's poses in one performed gesture, at times [T] in seconds since the gesture began."""
        draw = ParameterDraws(self.seed, self.held_out)
        pose = make_still_pose(len(t_s))
        name = CLASSES[self.gesture]
        laws = OTHERS | EVERYDAY
        low, high, law = LAWS[name] if name in LAWS else laws[self.other_kind or draw.pick(tuple(OTHERS))]
        low, high = WIDE_PACES[name] if self.wide and name in LAWS else (low, high)
        pace = draw.within(low, high) * self.slow
        if self.hesitant:
            wave = np.pi * pace
            t_s = t_s - self.hesitant * np.sin(wave * t_s) / wave
        phase = 2 * np.pi * (pace * t_s + 0.12 * smooth_noise(t_s, (*self.seed, 1), 0.6)) + draw.within(0, 2 * np.pi)
        slow = [smooth_noise(t_s, (*self.seed, 2 + k), 0.5) for k in range(4)]
        right, left = law(LawInput(t_s, phase, draw, pose, slow, self.wide))
        pose.arms[:, 0], pose.arms[:, 1] = right, left
        sway = draw.within(0.0, 0.8)
        pose.body[:, 0] += sway * slow[2] * 1.5
        pose.body[:, 1] += sway * slow[3] * 0.8 + draw.within(0, 0.9) * np.sin(phase)
        pose.head += draw.within(0.0, 1.1) * np.stack([slow[3], 0.6 * slow[2]], 1)
        return pose


@dataclass(frozen=True)
class Bout:
    """One gesture performed by a person, with its times: t_on_us (start), t_ready_us and t_off_us (end).

    The arms begin to move at t_on_us, the gesture itself begins at t_ready_us, and the arms hang again at t_off_us.
    """

    manner: Manner
    t_on_us: int
    t_off_us: int
    raise_us: int  # 0: the arms are in place at once, as in a cut from the middle

    @property
    def label(self) -> str:
        return CLASSES[self.manner.gesture]

    @property
    def t_ready_us(self) -> int:
        return self.t_on_us + self.raise_us


def record_bouts(
    performer: Performer, bouts: Sequence[Bout], start_us: int, end_us: int, seed: tuple[int, ...]
) -> Iterator[npt.NDArray[np.void]]:
    """Simulate the camera events of a performer's gestures (bouts) from start_us to end_us, in pieces [N].

    Events are EVENT_DTYPE, sorted, in the time of start_us. The first image gives no events. `seed` is that of the
    camera's noise. A piece may be empty.
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
    """Simulate the camera events [N] of any painted scene, seen by a performer's camera, in pieces.

    `paint` returns the images [H, W] at times [T] in us.
    """
    camera = Camera(performer.sensor, np.random.default_rng([*seed, 77]), performer.noise)
    times = np.arange(start_us, end_us + 1, FRAME_US)
    scatter = np.random.default_rng([*seed, 78])
    for begin in range(0, len(times), BATCH):
        t_us = times[begin : begin + BATCH]
        light = 1 + performer.light * smooth_noise(t_us / 1e6, (*performer.seed, 5), 0.7)
        light += performer.flicker * np.where(t_us // FRAME_US % 2, 1, -1)  # 100 Hz, as seen in an image every 5 ms
        frames = (
            (float(t), image * np.float32(light[i])) for i, (t, image) in enumerate(zip(t_us, paint(t_us), strict=True))
        )
        events = camera.capture(frames)
        if performer.opposite:
            events = _add_opposite_events(events, performer.opposite, scatter)
        yield _add_halo(events, performer.halo, scatter, performer.size)


def _add_opposite_events(events: npt.NDArray[np.void], share: float, rng: np.random.Generator) -> npt.NDArray[np.void]:
    """Repeat a random share of the events [N] at the same pixels with the opposite polarity, as real cameras do.

    They come up to 2 ms later but within the piece.
    """
    repeated = events[rng.random(len(events)) < share]
    if not len(repeated):
        return events
    repeated["p"] = ~repeated["p"]
    repeated["t"] = np.minimum(repeated["t"] + rng.integers(50, 2_000, len(repeated)), events["t"][-1])
    joined = np.concatenate([events, repeated])
    return joined[sort_order(joined["t"])]


def _add_halo(
    events: npt.NDArray[np.void], share: float, rng: np.random.Generator, size: tuple[int, int]
) -> npt.NDArray[np.void]:
    """Add scattered events around moving parts, as in real recordings, to the events [N].

    Their causes are shadows, reflections and the sensor's bus, so they spread more along rows. A random share of the
    events is repeated with either polarity, some pixels away. Distances are pixels of 128 rows, so they are the same
    in the scene for any size (width, height).
    """
    z = size[1] / SIZE_PX
    repeated = events[rng.random(len(events)) < share]
    x = np.rint(repeated["x"] + rng.normal(0, 12 * z, len(repeated)))
    y = np.rint(repeated["y"] + rng.normal(0, 5 * z, len(repeated)))
    repeated["p"] = rng.random(len(repeated)) < 0.5
    inside = (x >= 0) & (x < size[0]) & (y >= 0) & (y < size[1])
    repeated["x"], repeated["y"] = np.where(inside, x, 0), np.where(inside, y, 0)
    joined = np.concatenate([events, repeated[inside]])
    return joined[sort_order(joined["t"])]


def pose_at(bouts: Sequence[Bout], t_us: npt.NDArray[np.int64], seed: tuple[int, ...]) -> Pose:
    """Return the pose of a performer, with all gestures (bouts), at times int64 [T] in microseconds.

    Bouts must not overlap.
    """
    pose = make_still_pose(len(t_us))
    sway = np.stack([smooth_noise(t_us / 1e6, (*seed, 6 + k), 0.5) for k in range(2)], 1)
    pose.body[:, :2] += 0.7 * sway
    pose.arms[:, :, 1:, 0] += 0.5 * sway[:, :1, None]
    for bout in bouts:
        inside = (t_us >= bout.t_on_us) & (t_us < bout.t_off_us)
        if not inside.any():
            continue
        since = (t_us[inside] - bout.t_on_us) / 1e6
        gesture_pose = bout.manner.pose_at(since)
        if bout.raise_us:
            rise = bout.raise_us / 1e6
            edge = np.minimum(since, (bout.t_off_us - bout.t_on_us) / 1e6 - since) / rise
            w = np.clip(edge, 0, 1)
            w = w * w * (3 - 2 * w)
        else:
            w = np.ones(len(since))
        for name in ("arms", "body", "head", "legs"):
            before, goal = getattr(pose, name), getattr(gesture_pose, name)
            weight = w.reshape(-1, *[1] * (before.ndim - 1))
            before[inside] += weight * (goal - before[inside])
    return pose
