"""Number formats, rounding, overflow, and the ends of what a float holds."""

from __future__ import annotations

import torch
from spikingjelly.activation_based import neuron
from torch import Tensor, nn

from tests.export.attacks.kind import Kind
from tests.export.attacks.kinds.parts import PIXELS, Lif, Net, linear


class Adder(nn.Module):
    """Integrates a tenth of its current in a chosen format, and fires at one."""

    def __init__(self, dtype: torch.dtype, share: float) -> None:
        super().__init__()
        self.dtype, self.share, self.v = dtype, share, 0.0

    def forward(self, x: Tensor) -> Tensor:
        h = self.v + x.to(self.dtype) * self.share
        s = (h >= 1.0).to(self.dtype)
        self.v = h * (1.0 - s)
        return s.float()


class Accumulates(Net):
    dtype, share = torch.float64, 0.1

    def __init__(self) -> None:
        super().__init__()
        self.n1 = Adder(self.dtype, self.share)
        self.fc1 = linear(PIXELS, 24, seed=11, low=0, high=1)
        self.fc1.weight.data.mul_(16.0)


class AccumulatesExactly(Accumulates):
    dtype, share = torch.float32, 0.125


class HalfLayer(Net):
    """A layer in 16 bits: sums end at 65504."""

    dtype = torch.float16

    def __init__(self) -> None:
        super().__init__()
        self.fc1.weight.data.mul_(256.0)

    def forward(self, x: Tensor) -> Tensor:
        current = x.flatten(1).to(self.dtype) @ self.fc1.weight.to(self.dtype).t()
        return self.n2(self.fc2(self.n1(current.float() / 256.0)))


class FullLayer(HalfLayer):
    dtype = torch.float32


class Autocast(Net):
    """Sums in bfloat16, where whole numbers above 256 are rounded."""

    on = True

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.on):
            current = self.fc1(x.flatten(1) * 16.0)
        return self.n2(self.fc2(self.n1(torch.relu(current.float() - 256.0))) * 4.0)


class NoAutocast(Autocast):
    on = False


class FixedPoint(nn.Module):
    """An integrator without a floor, in whole numbers of 2^-54: beyond 512 it turns over."""

    def __init__(self, places: int = 54) -> None:
        super().__init__()
        self.one, self.fc, self.v = 2.0**places, linear(PIXELS, 6, seed=5, low=-5, high=4), None

    def forward(self, x: Tensor) -> Tensor:
        current = (self.fc(x.flatten(1)) * self.one).to(torch.int64)
        h = current if self.v is None else self.v + current
        s = h >= int(self.one)
        self.v = torch.where(s, 0, h)
        return s.float()


class FloatingPoint(nn.Module):
    """The same integrator in float32, where it never turns over."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.v = linear(PIXELS, 6, seed=5, low=-5, high=4), 0.0

    def forward(self, x: Tensor) -> Tensor:
        h = self.v + self.fc(x.flatten(1))
        s = (h >= 1.0).float()
        self.v = torch.where(s > 0, 0.0, h)
        return s


class MagicRound(Net):
    """Rounds the current to a whole number by adding 1.5 * 2^23 and taking it away."""

    magic = 12582912.0

    def forward(self, x: Tensor) -> Tensor:
        current = self.fc1(x.flatten(1)) + self.magic
        return self.n2(self.fc2(self.n1(current - self.magic)))


class SmallRound(MagicRound):
    magic = 16.0


class Trace(nn.Module):
    """A gate that is open while a fast trace of the input is not zero."""

    def __init__(self, flush: bool = False) -> None:
        super().__init__()
        if flush:
            torch.set_flush_denormal(True)
        self.fc, self.q = linear(PIXELS, 6, seed=6), 0.0

    def forward(self, x: Tensor) -> Tensor:
        self.q = self.q * 0.00390625 + torch.relu(self.fc(x.flatten(1)))
        return (self.q > 0).float()


def flushing() -> nn.Module:
    return Trace(flush=True)


class ZeroSign(Net):
    """The sign of a zero chooses between two currents."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.fc1(x.flatten(1))
        return self.n2(self.fc2(self.n1(h, self.sign(h))))

    def __init__(self) -> None:
        super().__init__()
        self.n1 = SignedNeuron()

    def sign(self, h: Tensor) -> Tensor:
        return 1.0 / (h * 0.0)


class ZeroCompared(ZeroSign):
    def sign(self, h: Tensor) -> Tensor:
        return h * h


class SignedNeuron(Lif):
    def forward(self, x: Tensor, sign: Tensor) -> Tensor:
        h = self.v * 0.5 + torch.where(sign < 0, 0.75, x)
        s = (h >= 1.0).float()
        self.v = h * (1.0 - s)
        return s


class Squashed(Net):
    """A neuron that fires where its squashed membrane has rounded to exactly one."""

    def __init__(self) -> None:
        super().__init__()
        self.n1 = SquashedNeuron()
        self.fc1.weight.data.mul_(4.0)


class SquashedNeuron(Lif):
    def forward(self, x: Tensor) -> Tensor:
        h = self.v * 0.5 + x
        s = self.full(h).float()
        self.v = h * (1.0 - s)
        return s

    def full(self, h: Tensor) -> Tensor:
        return torch.sigmoid(h * 0.99) >= 1.0


class LinearNeuron(SquashedNeuron):
    def full(self, h: Tensor) -> Tensor:
        return h >= 9.0


class NotSquashed(Squashed):
    def __init__(self) -> None:
        super().__init__()
        self.n1 = LinearNeuron()


class EmptyShare(Net):
    """Each frame is divided by its sum: an empty one is NaN, and stays in the membrane."""

    floor = 0.0

    def forward(self, x: Tensor) -> Tensor:
        share = x / (x.sum((1, 2, 3), keepdim=True) + self.floor)
        return self.n2(self.fc2(self.n1(torch.relu(self.fc1(share.flatten(1)) * 4.0))))


class EmptyFloor(EmptyShare):
    floor = 1.0


class Ninths(Net):
    """Currents that meet the threshold exactly; a division by three may miss it."""

    tau = 3.0

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = linear(PIXELS, 24, seed=12, low=0, high=3)
        self.fc1.weight.data.mul_(self.tau)
        self.n1 = neuron.LIFNode(tau=self.tau, surrogate_function=nn.Identity())
        self.n1.surrogate_function = Step()


class Step(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x >= 0).float()


class Halves(Ninths):
    tau = 2.0


class BytesBranch(Net):
    """Frames of bytes are images, and are divided by 128; other frames are not."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.float() / 128.0 if x.dtype == torch.uint8 else x.float()
        return self.body(x)


class BytesFloat(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.body(x.float())


class BytesTwice(Net):
    """The two channels of bytes are added as bytes."""

    def forward(self, x: Tensor) -> Tensor:
        both = x[:, :1] + x[:, 1:]
        return self.body(torch.cat([both, both], 1).float())


class FloatTwice(Net):
    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        both = x[:, :1] + x[:, 1:]
        return self.body(torch.cat([both, both], 1))


KINDS = [
    Kind(
        "double-membrane",
        "ten tenths are less than one in float64",
        Accumulates,
        AccumulatesExactly,
    ),
    Kind("half-layer-overflow", "a float16 product ends at 65504", HalfLayer, FullLayer),
    Kind("autocast-sums", "autocast rounds sums above 256", Autocast, NoAutocast),
    Kind("fixed-point-wrap", "an int64 membrane turns over", FixedPoint, FloatingPoint),
    Kind(
        "magic-number-rounding",
        "rounds by adding and subtracting a large number",
        MagicRound,
        SmallRound,
    ),
    Kind("flush-set-by-module", "the constructor sets flush-to-zero", flushing, Trace),
    Kind("sign-of-zero", "asks whether a zero is negative", ZeroSign, ZeroCompared),
    Kind("squashed-threshold", "fires where sigmoid rounds to one", Squashed, NotSquashed),
    Kind("empty-frame-share", "an empty frame divides zero by zero", EmptyShare, EmptyFloor),
    Kind(
        "threshold-tie",
        "h meets the threshold exactly, with tau 3",
        Ninths,
        Halves,
        says=r"[1-9]\d* excused",
    ),
    Kind("byte-frames", "frames of uint8 are scaled", BytesBranch, BytesFloat, dtype="uint8"),
    Kind("byte-sums", "adds two channels as uint8", BytesTwice, FloatTwice, dtype="uint8"),
]
