"""Whole sequences, starts, ends, and what reset() leaves."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.export.attacks.kind import Kind
from tests.export.attacks.kinds.parts import PIXELS, Lif, Net, linear


class Loop(nn.Module):
    """Takes [T, B, ...], with a loop over T inside."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = linear(PIXELS, 24, seed=1), linear(24, 6, seed=2)

    def before(self, x: Tensor) -> Tensor:
        return x

    def after(self, out: list[Tensor]) -> Tensor:
        return torch.stack(out)

    def start(self) -> tuple[nn.Module, nn.Module]:
        return Lif(), Lif()

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        n1, n2 = self.start()
        return self.after([n2(self.fc2(n1(self.fc1(x[t].flatten(1))))) for t in range(x.shape[0])])


class SequenceGain(Loop):
    """A gain for the whole sequence: its brightest count, where that is above six."""

    def before(self, x: Tensor) -> Tensor:
        return x * (6.0 / x.amax((0, 2, 3, 4), keepdim=True).clamp(min=6.0))


class FrameGain(Loop):
    def before(self, x: Tensor) -> Tensor:
        return 6.0 - torch.relu(6.0 - x)


class Flash(Loop):
    """A flash dims all frames, also those before it."""

    def before(self, x: Tensor) -> Tensor:
        return x - torch.relu(x - 12.0).mean(0, keepdim=True)


class VotesEnd(Loop):
    """Votes are summed, and end at 40."""

    def after(self, out: list[Tensor]) -> Tensor:
        return torch.stack(out).sum(0).clamp(max=40.0)


class Votes(Loop):
    def after(self, out: list[Tensor]) -> Tensor:
        return torch.stack(out).sum(0)


class FirstHundred(Loop):
    """Frames after the hundredth are not looked at: the outputs are those of the hundredth."""

    def after(self, out: list[Tensor]) -> Tensor:
        return torch.stack(out[:100] + out[99:100] * (len(out) - 100))


class SkipsEmpty(Loop):
    """Empty frames take no step: the membranes stay as they are."""

    def forward(self, x: Tensor) -> Tensor:
        n1, n2 = self.start()
        y = [torch.zeros(x.shape[1], 6)] * x.shape[0]
        for t in x.flatten(1).amax(1).nonzero().flatten().unbind():
            y[t] = n2(self.fc2(n1(self.fc1(x[t].flatten(1)))))
        return torch.stack(y)


class LongSequence(Loop):
    """Sequences of more than 40 frames are made half as fast, frame pairs being averaged."""

    def before(self, x: Tensor) -> Tensor:
        if x.shape[0] > 40:
            x = (x + x.roll(1, 0)) / 2
        return x


class Goes(Net):
    """A schedule of a hundred frames, in a tensor: afterwards the gain is a half."""

    def __init__(self) -> None:
        super().__init__()
        self.gains = [1.0] * 100 + [0.5]
        self.frame = 0

    def forward(self, x: Tensor) -> Tensor:
        gain = self.gains[min(self.frame, 100)]
        self.frame += 1
        return self.body(x, gain)


class Plain(Net):
    """The twin of several."""


class HalfReset(Net):
    """reset() forgets the second layer."""

    def reset(self) -> None:
        self.n1.reset()


class OtherReset(Net):
    """reset() sets membranes just below the threshold; the first recording begins at zero."""

    def reset(self) -> None:
        self.n1.v = 0.875
        self.n2.v = 0.875


class CountsResets(Net):
    """From the second recording on there is less noise, and the gain is halved."""

    recordings = 0

    def reset(self) -> None:
        super().reset()
        self.recordings += 1

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x, 0.5 if self.recordings else 1.0)


class Calibrates(Net):
    """The first frame sets the scale of a recording: what it has above six."""

    scale = None

    def forward(self, x: Tensor) -> Tensor:
        if self.scale is None:
            self.scale = torch.relu(x - 6.0)
        return self.body(x - self.scale)


class Adapts(nn.Module):
    """The threshold is one higher after a hundred spikes, counted in a tensor."""

    def __init__(self, after: float = 100.0) -> None:
        super().__init__()
        self.after, self.fc, self.v, self.n = after, linear(PIXELS, 6, seed=3), 0.0, 0.0

    def forward(self, x: Tensor) -> Tensor:
        h = self.v * 0.5 + self.fc(x.flatten(1))
        count = self.n * torch.ones_like(h)
        s = (h >= torch.where(count >= self.after, 2.0, 1.0)).float()
        self.v, self.n = h * (1.0 - s), count + s
        return s


def never_adapts() -> nn.Module:
    return Adapts(after=1e6)


class Parts(Loop):
    """Long sequences are cut in parts, to save memory; every part begins at rest."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([super(Parts, self).forward(part) for part in x.split(36)])


KINDS = [
    Kind(
        "sequence-gain",
        "one gain for a sequence with counts above six",
        SequenceGain,
        FrameGain,
        form="loop",
    ),
    Kind("flash-dims-all", "subtracts the mean over time above twelve", Flash, Loop, form="loop"),
    Kind(
        "votes-end",
        "the sum of votes ends at 40",
        VotesEnd,
        Votes,
        form="loop",
        join="sum",
        late=True,
    ),
    Kind(
        "first-hundred",
        "frames after the hundredth are ignored",
        FirstHundred,
        Loop,
        form="loop",
        late=True,
    ),
    Kind("skips-empty", "empty frames take no step", SkipsEmpty, Loop, form="loop"),
    Kind(
        "long-sequence",
        "averages pairs of frames of long sequences",
        LongSequence,
        Loop,
        form="loop",
        late=True,
    ),
    Kind(
        "split-sequence",
        "sequences above 36 frames are cut in parts",
        Parts,
        Loop,
        form="loop",
        late=True,
    ),
    Kind("schedule-of-hundred", "another gain after 100 frames", Goes, Plain, late=True),
    Kind("half-reset", "reset() forgets a layer", HalfReset, Plain, twice=True, says="reset"),
    Kind(
        "other-reset",
        "reset() sets other values than the start",
        OtherReset,
        Plain,
        twice=True,
        says="reset",
    ),
    Kind(
        "counted-resets",
        "later recordings have half the gain",
        CountsResets,
        Plain,
        twice=True,
        says="reset",
    ),
    Kind("first-frame-scale", "the first frame sets a scale above six", Calibrates, Plain),
    Kind("tired-threshold", "100 spikes raise the threshold", Adapts, never_adapts, late=True),
]
