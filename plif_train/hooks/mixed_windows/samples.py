"""Training samples from recordings in memory: each pick cuts another window, varies it anew and frames it.

Frames are those of serving (runtime.core.events.make_frames); windows and labels are those of windows.py. Randomness
comes from torch's global generator, so a resumed training draws the samples of an uninterrupted one. `Mixture` draws
from several sets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from plif_train.core.data.sets import Samples, spread_indices
from plif_train.core.network.losses import IGNORE_LABEL
from plif_train.hooks.mixed_windows.variation import Clip
from plif_train.hooks.mixed_windows.windows import LabelledSegment, WindowSampler
from runtime.core.base.errors import PlifError
from runtime.core.base.progress import Progress
from runtime.core.data import Dataset
from runtime.core.data.dataset import EventSet
from runtime.core.events import make_events, make_frames
from runtime.core.events.fit import EventOutcome
from runtime.core.events.framing import Framing

LEAD_US = 1_200_000  # of a recording before its labelled segment, for onsets and rests
BACKGROUND_US = 40_000  # the background rate is measured in intervals of this length
BACKGROUND_PIXELS = 16  # and in squares of the picture with this side


def clip_to_events(clip: Clip, size: tuple[int, int]) -> np.ndarray:
    """Convert a clip of events to an event array [N], without events outside a picture of (width, height)."""
    x, y = np.rint(clip.x), np.rint(clip.y)
    inside = (x >= 0) & (x < size[0]) & (y >= 0) & (y < size[1])
    return make_events(clip.t[inside].astype(np.int64), x[inside], y[inside], clip.p[inside])


class EventSamples:
    """The recordings of one data set as training samples, from which random time windows are cut.

    `framing` must follow a clock; windows have `steps` frames of shape (C, H, W). y int64 [N].
    """

    def __init__(
        self,
        rows: Sequence[LabelledSegment],
        windows: WindowSampler,
        framing: Framing,
        shape: tuple[int, int, int],
    ) -> None:
        self.rows, self.windows, self.shape = list(rows), windows, shape
        self.framing = replace(framing, T=windows.steps, pad="zero")
        self.y = torch.tensor([row.label for row in rows])

    def __len__(self) -> int:
        return len(self.rows)

    def pick(self, indices: Tensor) -> Samples:
        """Cut random time windows from these samples: frames x uint8 [n, T, C, H, W], labels y int64 [n, T] by step."""
        rng = np.random.default_rng(int(torch.randint(2**62, ())))
        drawn = [self._draw(self.rows[i], rng) for i in indices.tolist()]
        x = np.stack([frames for frames, _ in drawn])
        return Samples(torch.from_numpy(x), torch.from_numpy(np.stack([labels for _, labels in drawn])))

    def measure_window(self, i: int, rng: np.random.Generator) -> EventOutcome:
        """Cut a random time window from sample i and return its statistics, such as the number of its events.

        All of its events are in its frames.
        """
        clip, _ = self.windows.draw(self.rows[i], rng)
        events, steps = clip_to_events(clip, self.windows.size), self.windows.steps
        on = float(events["p"].mean()) if len(events) else None
        counts = (len(events), len(events), 0, self.windows.size, "recording", steps, on)
        return EventOutcome(*counts, round(steps * self.windows.step_us))

    def _draw(self, row: LabelledSegment, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        clip, labels = self.windows.draw(row, rng)
        events = clip_to_events(clip, self.windows.size)
        if len(events):  # the grid begins at the first event: so do the labels
            late = round(float(events["t"][0]) / self.windows.step_us)
            labels = np.concatenate([labels[late:], np.full(late, IGNORE_LABEL)])  # frames after the window are empty
        frames = make_frames(events, self.framing, self.shape, self.windows.size, row.upright)
        return np.minimum(frames, 255).astype(np.uint8), labels


class Mixture:
    """A mixture of data sets to train on, of which each gets a given share of the samples of an epoch.

    A set that is too small for its share is used several times.
    """

    def __init__(self, sets: Sequence[EventSamples], shares: Sequence[float]) -> None:
        self.sets = list(sets)
        self.shares = [share / sum(shares) for share in shares]
        self.y = torch.cat([samples.y for samples in sets])
        self._begins = np.cumsum([0, *(len(samples) for samples in sets)]).tolist()

    def __len__(self) -> int:
        return len(self.y)

    def draw_order(self) -> Tensor:
        """Return random sample numbers for one epoch of a mixture, as many as all its sets have, int64 [N]."""
        parts = []
        for samples, share, begin in zip(self.sets, self.shares, self._begins, strict=False):
            count, numbers_of_set = max(1, round(share * len(self))), [torch.zeros(0, dtype=torch.int64)]
            while sum(map(len, numbers_of_set)) < count:
                numbers_of_set.append(torch.randperm(len(samples)))
            parts.append(begin + torch.cat(numbers_of_set)[:count])
        numbers = torch.cat(parts)
        return numbers[torch.randperm(len(numbers))]

    def measure_windows(self, count: int) -> list[EventOutcome]:
        """Return the statistics of `count` random time windows, of which each data set gets its share.

        They are the same windows every time, and no generator of the training moves.
        """
        rng = np.random.default_rng(0)
        set_numbers = [np.full(round(share * count), k) for k, share in enumerate(self.shares)]
        return [
            self.sets[k].measure_window(int(rng.integers(len(self.sets[k]))), rng) for k in np.concatenate(set_numbers)
        ]

    def pick(self, indices: Tensor) -> Samples:
        """Cut random time windows from samples [n] of a mixture of data sets: frames x [n, T, C, H, W], labels y [n]."""
        set_numbers = np.searchsorted(self._begins, indices.numpy(), "right") - 1
        picked = [self.sets[k].pick(indices[[i]] - self._begins[k]) for i, k in enumerate(set_numbers)]
        return Samples(torch.cat([samples.x for samples in picked]), torch.cat([samples.y for samples in picked]))


def load_events(
    dataset: Dataset,
    variation: Mapping[str, tuple[float, ...]],
    steps: int,
    limit: int | None,
    title: str,
    quiet: bool = False,
) -> EventSamples:
    """Read a split of recordings into memory, to cut time windows of `steps` time-steps from.

    Raises PlifError for a set without recordings, for sensors that differ, and for a framing without a clock.
    """
    if not isinstance(dataset, EventSet):
        raise PlifError(f"--vary: {dataset.name} holds no events")
    framing = dataset.framing
    if framing.step_us is None or framing.kind != "duration":
        raise PlifError(f"--vary needs a framing with steps of one length, e.g. duration:40ms; found {framing}")
    dataset.fix_sensor()
    rows: list[LabelledSegment] = []
    size = (0, 0)
    indices = spread_indices(dataset, limit)
    with Progress(title, not quiet) as progress:
        for count, i in enumerate(indices, 1):
            events, sensor, upright, start_us = dataset.recording_with_lead(i, LEAD_US)
            if rows and sensor != size:
                raise PlifError(
                    f"{dataset.path(i)}: a sensor of {sensor[0]}x{sensor[1]}, others of {size[0]}x{size[1]}; expected one"
                )
            size = sensor
            rows.append(_make_segment(events, dataset.label(i), start_us, sensor, upright))
            progress.update(count, len(indices))
    windows = WindowSampler(variation, steps, framing.step_us, size, dataset.classes)
    return EventSamples(rows, windows, framing, dataset.shape)


def _make_segment(
    events: np.ndarray, label: int, start_us: int, size: tuple[int, int], upright: str
) -> LabelledSegment:
    first_us = int(events["t"][0])
    t = np.maximum.accumulate(events["t"]) - first_us
    x, y = events["x"].astype(np.float32), events["y"].astype(np.float32)
    clip = Clip(t.astype(np.float32), x, y, events["p"].astype(bool))
    floor = measure_background(t, events["x"], events["y"], size)
    return LabelledSegment(clip, label, float(start_us - first_us), float(t[-1]), floor, upright)


def measure_background(t: np.ndarray, x: np.ndarray, y: np.ndarray, size: tuple[int, int]) -> float:
    """Measure the background rate of a recording at rest, in events per microsecond.

    t [N] is in us from 0 on, rising. The rate is the tenth percentile over time, or that of the median square of the
    picture, if that is less: a scene in which something moves all the time shows its background where nothing moves.
    """
    over_time = np.percentile(np.bincount((t // BACKGROUND_US).astype(np.int64)), 10) / BACKGROUND_US
    columns, rows = (-(-side // BACKGROUND_PIXELS) for side in size)
    square = (y // BACKGROUND_PIXELS).astype(np.int64) * columns + x // BACKGROUND_PIXELS
    over_picture = np.median(np.bincount(square, minlength=columns * rows)) * columns * rows / max(float(t[-1]), 1.0)
    return float(min(over_time, over_picture))
