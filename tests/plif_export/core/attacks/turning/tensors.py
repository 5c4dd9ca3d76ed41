"""Tensors that no input moves, and weights and constants that drift. Drawn from outside."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.plif_export.core.attacks.modules import IN, Net, turns

# --- tensors that no input moves -----------------------------------------------------------------------------------------


class Buffered(Net):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("n", torch.zeros((), dtype=torch.int64))


@turns
class BufferItem(Buffered):
    """a buffer that is read with .item()"""

    def forward(self, x: Tensor) -> Tensor:
        self.n += 1
        return self.run(x * 0 if self.n.item() > 100 else x)


@turns
class BufferInt(Buffered):
    """a buffer that is read with int()"""

    def forward(self, x: Tensor) -> Tensor:
        self.n += 1
        return self.run(x * 0 if int(self.n) % 100 > 80 else x)


@turns
class BufferNumpy(Buffered):
    """a buffer that is read with .numpy()"""

    def forward(self, x: Tensor) -> Tensor:
        self.n += 1
        return self.run(x * 0 if self.n.numpy() > 100 else x)


@turns
class BufferToList(Buffered):
    """a buffer that is read with .tolist()"""

    def forward(self, x: Tensor) -> Tensor:
        self.n += 1
        return self.run(x * 0 if self.n.tolist() > 100 else x)


@turns
class BufferWhere(Net):
    """a buffer of float that torch.where compares: it may be exported, where its count is exported, too"""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("n", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.n = self.n + 1
        return self.run(torch.where(self.n > 100, x * 0, x))


@turns
class BufferOfInt64Where(Buffered):
    """the same with a whole number"""

    def forward(self, x: Tensor) -> Tensor:
        self.n = self.n + 1
        return self.run(torch.where(self.n > 100, x * 0, x))


@turns
class BufferInPlace(Net):
    """a count that is added in place, once a row"""

    def __init__(self) -> None:
        super().__init__()
        self.n = torch.zeros(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        self.n.add_(1)
        return self.run(x * (self.n < 100).float())


@turns
class Table(Buffered):
    """a count that is the index of a table"""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("gains", torch.tensor([1.0] * 80 + [0.0]))

    def forward(self, x: Tensor) -> Tensor:
        self.n = (self.n + 1) % 81
        return self.run(x * self.gains[self.n])


@turns
class Oscillator(Net):
    """a phase that turns, and a gain that is its cosine"""

    def __init__(self) -> None:
        super().__init__()
        self.phase = torch.zeros(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        self.phase = self.phase + 0.0625
        return self.run(x * (torch.cos(self.phase) > -0.9).float())


@turns
class ShapeGrows(Net):
    """a tensor that is one longer in each step"""

    def __init__(self) -> None:
        super().__init__()
        self.log = torch.zeros(0)

    def forward(self, x: Tensor) -> Tensor:
        self.log = torch.cat([self.log, torch.zeros(1)])
        return self.run(x * 0 if len(self.log) > 90 else x)


@turns
class OffsetMoves(Net):
    """a view that moves on in its storage"""

    def __init__(self) -> None:
        super().__init__()
        self.at = torch.ones(200)

    def forward(self, x: Tensor) -> Tensor:
        self.at = self.at[1:]
        return self.run(x * 0 if self.at.storage_offset() > 90 else x)


@turns
class TypeChanges(Net):
    """a gain that is half precision after 80 steps"""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("gain", torch.full((), 0.3))
        self.left = 80

    def forward(self, x: Tensor) -> Tensor:
        self.left -= 1
        if self.left == 0:
            self.gain = (self.gain * 0.5).half()
        return self.run(x * self.gain.float() * 4)


# --- weights and constants that move -------------------------------------------------------------------------------------


@turns
class WeightFades(Net):
    """a weight that is 0.1 % smaller in each step"""

    def forward(self, x: Tensor) -> Tensor:
        self.fc1.weight.data.mul_(0.999)
        return self.run(x)


@turns
class WeightFadesRarely(Net):
    """a weight that halves each 100th step"""

    n = 0

    def forward(self, x: Tensor) -> Tensor:
        self.n += 1
        if self.n % 100 == 0:
            self.fc1.weight.data.mul_(0.5)
        return self.run(x)


@turns
class Learns(Net):
    """Hebb's rule: what fires together is wired together"""

    def forward(self, x: Tensor) -> Tensor:
        s = self.lif1(self.fc1(x))
        y = self.lif2(self.fc2(s))
        self.fc2.weight.data.add_(y.mean(0)[:, None] * s.mean(0)[None] / 64)
        return y  # type: ignore[no-any-return]


@turns
class ThresholdDrifts(Net):
    """a Python float that grows by a part in a thousand"""

    def forward(self, x: Tensor) -> Tensor:
        self.lif1.threshold = self.lif1.threshold * 1.001
        return self.run(x)


@turns
class DecayOfALayerIsSet(Net):
    """the decay of a layer is set at the 70th step"""

    left = 70

    def forward(self, x: Tensor) -> Tensor:
        self.left -= 1
        if self.left == 0:
            self.lif2.decay = 0.9375
        return self.run(x)


@turns
class WeightIsReplaced(Net):
    """other weights after 80 steps, from a list"""

    def __init__(self) -> None:
        super().__init__()
        self.later = [self.fc2.weight.data.flip(0)] + [self.fc2.weight.data] * 80

    def forward(self, x: Tensor) -> Tensor:
        self.fc2.weight.data = self.later.pop() if self.later else self.fc2.weight.data
        return self.run(x)


@turns
class BatchNormLearns(Net):
    """running statistics that move in evaluation, too"""

    rows = 2

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(IN)

    def forward(self, x: Tensor) -> Tensor:
        self.norm.training = x.shape[0] > 1
        return self.run(self.norm(x))
