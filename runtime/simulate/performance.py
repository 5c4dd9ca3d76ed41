"""Events of a performer who does one thing after the other: the simulated recording, made a little at a time.

    bouts    what is done from when to when; between two of them the person stands still
    w(t)     0 while still; rises from 0 to 1 in the first `raise_us` of a bout and falls in the last `raise_us`
    pose     still + w (gesture - still)

The camera sees a picture every FRAME_US, a hand moves about a pixel meanwhile; the sensor model takes the logarithm of
intensity as a straight line between two of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.simulate.figure import SIZE_PX, Pose, still
from runtime.simulate.gestures import CLASSES, Manner
from runtime.simulate.performer import Performer
from runtime.simulate.sensor import Camera
from runtime.simulate.wander import wander

FRAME_US = 5_000
BATCH = 4  # pictures between two deliveries: a live stream gets its events every 20 ms


@dataclass(frozen=True)
class Bout:
    """One gesture: it begins to be prepared at t_on_us, is there from t_ready_us, and the arms hang again at t_off_us."""

    manner: Manner
    t_on_us: int
    t_off_us: int
    raise_us: int  # 0: no preparation, it is cut out of the middle

    @property
    def label(self) -> str:
        return CLASSES[self.manner.gesture]

    @property
    def t_ready_us(self) -> int:
        return self.t_on_us + self.raise_us


def perform(
    performer: Performer, bouts: Sequence[Bout], start_us: int, end_us: int, seed: tuple[int, ...]
) -> Iterator[npt.NDArray[np.void]]:
    """Events from start_us to end_us in pieces of BATCH pictures (EVENT_DTYPE, sorted, times as given).

    The first picture gives no events. `seed` is that of the camera's noise. Pieces may be empty.
    """
    painter = performer.painter()
    camera = Camera(performer.sensor, np.random.default_rng([*seed, 77]), performer.noise)
    times = np.arange(start_us, end_us + 1, FRAME_US)
    halo = np.random.default_rng([*seed, 78])
    for at in range(0, len(times), BATCH):
        t_us = times[at : at + BATCH]
        pose = pose_at(bouts, t_us, performer.seed)
        light = 1 + performer.light * wander(t_us / 1e6, (*performer.seed, 5), 0.7)
        frames = ((float(t), painter.paint(pose, i, float(light[i]))) for i, t in enumerate(t_us))
        yield _with_halo(camera.see(frames), performer.halo, halo)


def _with_halo(events: npt.NDArray[np.void], share: float, rng: np.random.Generator) -> npt.NDArray[np.void]:
    """Around what moves, real recordings have scattered events, more along rows than across them: shadows, reflections
    and the sensor's own bus. A drawn share of the events comes again, some pixels away, of either polarity."""
    again = events[rng.random(len(events)) < share]
    x = np.rint(again["x"] + rng.normal(0, 12, len(again)))
    y = np.rint(again["y"] + rng.normal(0, 5, len(again)))
    again["p"] = rng.random(len(again)) < 0.5
    inside = (x >= 0) & (x < SIZE_PX) & (y >= 0) & (y < SIZE_PX)
    again["x"], again["y"] = np.where(inside, x, 0), np.where(inside, y, 0)
    both = np.concatenate([events, again[inside]])
    return both[np.argsort(both["t"], kind="stable")]


def pose_at(bouts: Sequence[Bout], t_us: npt.NDArray[np.int64], seed: tuple[int, ...]) -> Pose:
    """Where everything is at these times. Bouts must not overlap."""
    pose = still(len(t_us))
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
