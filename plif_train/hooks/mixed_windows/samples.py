"""Recordings in memory as events: every time a sample is picked it is another window of it, varied anew, framed as for serving.

Windows and labels are those of windows.py, frames those of runtime.core.events.frames_of. Randomness comes from
torch's global generator, so a resumed training draws what an uninterrupted one does. `Mixture` draws from several sets at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from plif_train.core.data.sets import Samples, spread
from plif_train.core.network.losses import UNASKED
from plif_train.hooks.mixed_windows.variation import Clip
from plif_train.hooks.mixed_windows.windows import LabelledStretch, Windows
from runtime.core.base.errors import PlifError
from runtime.core.base.progress import Progress
from runtime.core.data import Dataset
from runtime.core.data.dataset import EventSet
from runtime.core.events import frames_of, make_events
from runtime.core.events.fit import Fate
from runtime.core.events.framing import Framing

LEAD_US = 1_200_000  # of a recording before a row, for onsets and rests
FLOOR_US = 40_000  # a recording's floor is looked for in stretches of this length
FLOOR_PIXELS = 16  # and in squares of the picture of this side


def events_of(clip: Clip, size: tuple[int, int]) -> np.ndarray:
    """The events [N] of a clip that are in a picture of (width, height)."""
    x, y = np.rint(clip.x), np.rint(clip.y)
    inside = (x >= 0) & (x < size[0]) & (y >= 0) & (y < size[1])
    return make_events(clip.t[inside].astype(np.int64), x[inside], y[inside], clip.p[inside])


class EventSamples:
    """The rows of one set. `framing` must follow a clock; windows have `steps` frames of shape (C, H, W). y int64 [N]."""

    def __init__(
        self,
        rows: Sequence[LabelledStretch],
        windows: Windows,
        framing: Framing,
        shape: tuple[int, int, int],
    ) -> None:
        self.rows, self.windows, self.shape = list(rows), windows, shape
        self.framing = replace(framing, T=windows.steps, pad="zero")
        self.y = torch.tensor([row.label for row in rows])

    def __len__(self) -> int:
        return len(self.rows)

    def pick(self, indices: Tensor) -> Samples:
        """New windows of these samples: x uint8 [n, T, C, H, W], y int64 [n, T], the label of each step."""
        rng = np.random.default_rng(int(torch.randint(2**62, ())))
        drawn = [self._draw(self.rows[i], rng) for i in indices.tolist()]
        x = np.stack([frames for frames, _ in drawn])
        return Samples(torch.from_numpy(x), torch.from_numpy(np.stack([labels for _, labels in drawn])))

    def look(self, i: int, rng: np.random.Generator) -> Fate:
        """What is known of a new window of sample i, all of whose events are in its frames."""
        clip, _ = self.windows.draw(self.rows[i], rng)
        events, steps = events_of(clip, self.windows.size), self.windows.steps
        on = float(events["p"].mean()) if len(events) else None
        whole = (len(events), len(events), 0, self.windows.size, "recording", steps, on)
        return Fate(*whole, round(steps * self.windows.step_us))

    def _draw(self, row: LabelledStretch, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        clip, labels = self.windows.draw(row, rng)
        events = events_of(clip, self.windows.size)
        if len(events):  # the grid begins at the first event: so do the labels
            late = round(float(events["t"][0]) / self.windows.step_us)
            labels = np.concatenate([labels[late:], np.full(late, UNASKED)])  # frames after the window are empty
        frames = frames_of(events, self.framing, self.shape, self.windows.size, row.upright)
        return np.minimum(frames, 255).astype(np.uint8), labels


class Mixture:
    """Several sets, of which an epoch takes the given shares; a set that is too small for its share is gone through again."""

    def __init__(self, sets: Sequence[EventSamples], shares: Sequence[float]) -> None:
        self.sets = list(sets)
        self.shares = [share / sum(shares) for share in shares]
        self.y = torch.cat([one.y for one in sets])
        self._begins = np.cumsum([0, *(len(one) for one in sets)]).tolist()

    def __len__(self) -> int:
        return len(self.y)

    def order(self) -> Tensor:
        """As many numbers as there are samples in all, in random order, int64 [N]."""
        parts = []
        for one, share, begin in zip(self.sets, self.shares, self._begins, strict=False):
            wanted, found = max(1, round(share * len(self))), [torch.zeros(0, dtype=torch.int64)]
            while sum(map(len, found)) < wanted:
                found.append(torch.randperm(len(one)))
            parts.append(begin + torch.cat(found)[:wanted])
        numbers = torch.cat(parts)
        return numbers[torch.randperm(len(numbers))]

    def looks(self, count: int) -> list[Fate]:
        """What is known of so many windows, each set's share of them; the same ones every time, and no generator moves."""
        rng = np.random.default_rng(0)
        which = [np.full(round(share * count), k) for k, share in enumerate(self.shares)]
        return [self.sets[k].look(int(rng.integers(len(self.sets[k]))), rng) for k in np.concatenate(which)]

    def pick(self, indices: Tensor) -> Samples:
        """As EventSamples.pick, each from its own set."""
        which = np.searchsorted(self._begins, indices.numpy(), "right") - 1
        found = [self.sets[k].pick(indices[[i]] - self._begins[k]) for i, k in enumerate(which)]
        return Samples(torch.cat([one.x for one in found]), torch.cat([one.y for one in found]))


def load_events(
    dataset: Dataset,
    how: Mapping[str, tuple[float, ...]],
    steps: int,
    limit: int | None,
    what: str,
    quiet: bool = False,
) -> EventSamples:
    """Reads a split, once, for windows of so many steps. PlifError for one without recordings, for sensors that differ, and
    for a framing without a clock."""
    if not isinstance(dataset, EventSet):
        raise PlifError(f"--vary: {dataset.name} holds no events")
    framing = dataset.framing
    if framing.step_us is None or framing.kind != "duration":
        raise PlifError(f"--vary needs a framing with steps of one length, e.g. duration:40ms; found {framing}")
    dataset.settle_sensor()
    rows: list[LabelledStretch] = []
    size = (0, 0)
    indices = spread(dataset, limit)
    with Progress(what, not quiet) as progress:
        for done, i in enumerate(indices, 1):
            events, found, upright, start_us = dataset.recording_with_lead(i, LEAD_US)
            if rows and found != size:
                raise PlifError(
                    f"{dataset.path(i)}: a sensor of {found[0]}x{found[1]}, others of {size[0]}x{size[1]}; expected one"
                )
            size = found
            rows.append(_row_of(events, dataset.label(i), start_us, found, upright))
            progress.update(done, len(indices))
    windows = Windows(how, steps, framing.step_us, size, dataset.classes)
    return EventSamples(rows, windows, framing, dataset.shape)


def _row_of(events: np.ndarray, label: int, start_us: int, size: tuple[int, int], upright: str) -> LabelledStretch:
    first_us = int(events["t"][0])
    t = np.maximum.accumulate(events["t"]) - first_us
    x, y = events["x"].astype(np.float32), events["y"].astype(np.float32)
    clip = Clip(t.astype(np.float32), x, y, events["p"].astype(bool))
    floor = floor_of(t, events["x"], events["y"], size)
    return LabelledStretch(clip, label, float(start_us - first_us), float(t[-1]), floor, upright)


def floor_of(t: np.ndarray, x: np.ndarray, y: np.ndarray, size: tuple[int, int]) -> float:
    """Events a microsecond of a recording at rest; t [N] in us from 0 on, rising.

    The tenth percentile over time, or what the median square of the picture has, if that is less: a scene in which something
    moves all the time shows its floor where nothing moves."""
    over_time = np.percentile(np.bincount((t // FLOOR_US).astype(np.int64)), 10) / FLOOR_US
    wide, high = (-(-side // FLOOR_PIXELS) for side in size)
    square = (y // FLOOR_PIXELS).astype(np.int64) * wide + x // FLOOR_PIXELS
    over_picture = np.median(np.bincount(square, minlength=wide * high)) * wide * high / max(float(t[-1]), 1.0)
    return float(min(over_time, over_picture))
