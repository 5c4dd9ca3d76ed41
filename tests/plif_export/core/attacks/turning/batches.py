"""Decisions about the batch, and numbers that wrap. Drawn from outside."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tests.plif_export.core.attacks.modules import IN, Net, turns

# --- batches -------------------------------------------------------------------------------------------------------------


@turns
class From32Rows(Net):
    """32 rows and more are halved"""

    rows, steps = 40, 60

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x * 0.5 if x.shape[0] >= 32 else x)


@turns
class Exactly7Rows(Net):
    """seven rows exactly"""

    rows, steps = 7, 60

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x * 0 if len(x) == 7 else x)


@turns
class EvenRows(Net):
    """an even number of rows beyond eight is turned"""

    rows, steps = 10, 60

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x.flip(-1) if x.numel() > 8 * IN and x.numel() % (2 * IN) == 0 else x)


@turns
class RowsBeyond64(Net):
    """rows from the 65th on get nothing"""

    rows, steps = 70, 40

    def forward(self, x: Tensor) -> Tensor:
        return self.run(torch.cat([x[:64], x[64:] * 0]))


@turns
class BatchMean(Net):
    """what all rows have in common is taken off"""

    rows, steps = 3, 60

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x - x.mean(0, keepdim=True) + x)


@turns
class BatchSoftmax(Net):
    """a share among rows"""

    rows, steps = 3, 60

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x * torch.softmax(x, 0))


@turns
class Inhibits(Net):
    """a neuron that fired in the row before is quiet in this one"""

    rows, steps = 3, 60

    def forward(self, x: Tensor) -> Tensor:
        y = self.run(x)
        return y * (1 - y.roll(1, 0)) if len(y) > 1 else y


@turns
class ChannelStatistics(Net):
    """a running mean of each channel, over all rows"""

    rows, steps = 3, 100

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, IN))

    def forward(self, x: Tensor) -> Tensor:
        self.mean = self.mean * 0.75 + x.mean(0, keepdim=True) * 0.25
        return self.run(x - self.mean)


@turns
class Strides(Net):
    """a frame that is not contiguous is read in another order"""

    rows, steps = 5, 60

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x if x.stride(0) == IN and x.shape[0] < 4 else x.as_strided(x.shape, (1, x.shape[0])))


# --- numbers that wrap ---------------------------------------------------------------------------------------------------


class Wraps(Net):
    """A count of the input, of a narrow type, whose highest bit inhibits."""

    dtype = torch.uint8
    factor = 1

    def __init__(self) -> None:
        super().__init__()
        self.n: Any = None

    def forward(self, x: Tensor) -> Tensor:
        if self.n is None:
            self.n = torch.zeros_like(x, dtype=self.dtype)
        self.n = self.n + x.to(self.dtype) * self.factor
        return self.run(x - (self.n > 100).float())


@turns
class CountsInUint8(Wraps):
    """wraps at 256"""


@turns
class CountsInInt8(Wraps):
    """wraps at 128"""

    dtype = torch.int8


@turns
class CountsInInt16(Wraps):
    """wraps at 32768"""

    dtype, factor = torch.int16, 200


@turns
class CountsInInt32(Wraps):
    """wraps at 2^31"""

    dtype, factor = torch.int32, 20_000_000


@turns
class CountsInInt64(Wraps):
    """wraps at 2^63"""

    dtype, factor = torch.int64, 1 << 61


@turns
class CountsInHalf(Wraps):
    """stands still at 2048"""

    dtype, factor = torch.float16, 9


@turns
class CountsInBfloat16(Wraps):
    """stands still at 256"""

    dtype = torch.bfloat16


@turns
class InputInInt8(Net):
    """an input of 200 is negative"""

    def forward(self, x: Tensor) -> Tensor:
        return self.run((x * 5).to(torch.int8).float())


@turns
class InputInUint8(Net):
    """an input of 256 is 0"""

    def forward(self, x: Tensor) -> Tensor:
        return self.run((x * 8).to(torch.uint8).float())


@turns
class MembraneInDouble(Net):
    """a membrane of float64, whose last bits decide in float32"""

    def __init__(self) -> None:
        super().__init__()
        self.sum: Any = None

    def forward(self, x: Tensor) -> Tensor:
        if self.sum is None:
            self.sum = torch.zeros_like(x, dtype=torch.float64)
        self.sum = self.sum + x.double() * 1_000_001
        return self.run((self.sum - torch.floor(self.sum / 2) * 2).float())


@turns
class Bits(Net):
    """a count whose bits are read by shifts"""

    def __init__(self) -> None:
        super().__init__()
        self.n: Any = None

    def forward(self, x: Tensor) -> Tensor:
        if self.n is None:
            self.n = torch.zeros_like(x, dtype=torch.int64)
        self.n = (self.n + x.long()) & 127
        return self.run(x * (1 - (self.n >> 6)).float())
