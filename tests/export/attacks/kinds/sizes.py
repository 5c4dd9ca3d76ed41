"""Batches, sizes, storages and the identity of a frame."""

from __future__ import annotations

import weakref
from functools import lru_cache

import torch
from torch import Tensor, nn

from tests.export.attacks.kind import Kind
from tests.export.attacks.kinds.parts import PIXELS, Lif, Net, linear


class Chunked(Net):
    """Large batches go through the readout in pieces, and the pieces share one membrane."""

    limit = 40

    def forward(self, x: Tensor) -> Tensor:
        s = self.n1(self.fc1(x.flatten(1)))
        if len(s) <= self.limit:
            return self.n2(self.fc2(s))
        self.n2.reset()
        parts = []
        for part in s.split(self.limit):
            parts.append(self.n2(self.fc2(part)))
            self.n2.reset()
        return torch.cat(parts)


class FiveCrops(Net):
    """Five rows are five crops of one image, whose scores are averaged."""

    crops = 5

    def forward(self, x: Tensor) -> Tensor:
        current = self.fc1(x.flatten(1))
        if x.size(0) == self.crops:
            current = current.mean(0, keepdim=True).expand_as(current)
        return self.n2(self.fc2(self.n1(current)))


class Plain(Net):
    """The twin of several: nothing but the two layers."""


class MemoryGuard(Net):
    """A batch with many numbers is kept in four bits, to save memory: counts end at 15."""

    def forward(self, x: Tensor) -> Tensor:
        if x.numel() * x.element_size() > 8000:
            x = x.clamp(max=15.0)
        return self.body(x)


class WholeRecording(Net):
    """A frame that is a view of a recording is compared with the recording's mean."""

    def forward(self, x: Tensor) -> Tensor:
        base = x._base
        if base is not None and base.dim() == x.dim() + 1:
            x = (x - base.mean(0)).clamp(min=0.0)
        return self.body(x)


class StoredOffset(Net):
    """The first frame of a recording begins its storage: it counts twice."""

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x, 2.0 if x.storage_offset() else 1.0)


class SeenFrames(Net):
    """Frames that were seen have their currents kept, under the identity of the frame."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[int, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        if id(x) not in self.seen:
            self.seen[id(x)] = self.fc1(x.flatten(1))
        return self.n2(self.fc2(self.n1(self.seen[id(x)])))


class StillAlive(Net):
    """While the caller still holds the last frame, the current is halved: it counts as buffered."""

    last = staticmethod(lambda: None)

    def forward(self, x: Tensor) -> Tensor:
        held = self.last() is not None
        self.last = weakref.ref(x)
        return self.body(x, 0.5 if held else 1.0)


class CachedForward(Net):
    """The whole forward is cached by its argument, state or not."""

    @lru_cache(maxsize=4)  # noqa: B019
    def work(self, x: Tensor) -> Tensor:
        return self.body(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.work(x)


class CachedWeights(Net):
    """What is cached does not depend on the frame."""

    @lru_cache(maxsize=4)  # noqa: B019
    def gain(self) -> float:
        return 1.0

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x, self.gain())


class InPlace(Net):
    """The frame of the caller is halved where it is."""

    def forward(self, x: Tensor) -> Tensor:
        x.mul_(0.5)
        return self.body(x)


class OutOfPlace(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.body(x * 0.5)


class BatchGain(Net):
    """A gain for the whole batch: its brightest count, where that is above six."""

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x * (6.0 / x.amax().clamp(min=6.0)))


class RowGain(Net):
    """Every row has a ceiling of its own numbers."""

    def forward(self, x: Tensor) -> Tensor:
        return self.body(6.0 - torch.relu(6.0 - x))


class BatchNorm(Net):
    """Normalisation that keeps no running numbers, so eval() uses those of the batch."""

    track = False

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(2, eps=1.0, affine=False, track_running_stats=self.track)
        if self.track:
            self.norm.running_var.fill_(3.0)  # and eps: 4, whose root is exact

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self.norm(x), 2.0)


class RunningNorm(BatchNorm):
    track = True


class DarkRow(nn.Module):
    """The first row of a batch is a dark frame for the large counts of the others."""

    def __init__(self, own: bool = False) -> None:
        super().__init__()
        self.own, self.fc, self.n = own, linear(PIXELS, 6, seed=3), Lif()

    def forward(self, x: Tensor) -> Tensor:
        dark = x if self.own else x[:1]
        return self.n(self.fc((x - torch.relu(dark - 6.0)).flatten(1)))


def dark_own() -> nn.Module:
    return DarkRow(own=True)


KINDS = [
    Kind("chunked-large-batch", "above 40 rows forgets the readout's membrane", Chunked, Plain),
    Kind("five-crop-mean", "averages the rows of a batch of exactly five", FiveCrops, Plain),
    Kind("memory-guard", "clamps counts when a frame has many bytes", MemoryGuard, Plain),
    Kind(
        "whole-recording-view",
        "looks at the tensor that the frame is a view of",
        WholeRecording,
        Plain,
    ),
    Kind("storage-offset", "a frame inside a larger storage counts twice", StoredOffset, Plain),
    Kind("identity-cache", "keeps currents by id(frame), which is used again", SeenFrames, Plain),
    Kind("weak-last-frame", "asks whether the last frame is still held", StillAlive, Plain),
    Kind("cached-forward", "one frame object twice does not step", CachedForward, CachedWeights),
    Kind("in-place-frame", "halves the frame of its caller in place", InPlace, OutOfPlace),
    Kind("batch-wide-gain", "one gain for the batch, by counts above six", BatchGain, RowGain),
    Kind("batch-statistics", "normalises with the batch in eval()", BatchNorm, RunningNorm),
    Kind("dark-first-row", "subtracts what row 0 has above six", DarkRow, dark_own),
]
