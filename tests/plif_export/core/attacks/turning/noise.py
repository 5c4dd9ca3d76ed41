"""Random numbers. Drawn from outside."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import Tensor

from tests.plif_export.core.attacks.modules import IN, Net, turns


@turns
class PythonRandom(Net):
    """Python's random numbers, in 1 % of the steps"""

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x * 0 if random.random() < 0.01 else x)


@turns
class NumpyRandom(Net):
    """NumPy's random numbers, in 1 % of the steps"""

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x * 0 if np.random.rand() < 0.01 else x)


@turns
class OwnPythonRandom(Net):
    """a generator of its own, with a seed: the same in each run, and no step is like the last"""

    def __init__(self) -> None:
        super().__init__()
        self.random = random.Random(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x * 0 if self.random.random() < 0.02 else x)


@turns
class OwnNumpyRandom(Net):
    """NumPy's Generator, with a seed"""

    def __init__(self) -> None:
        super().__init__()
        self.random = np.random.default_rng(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x * 0 if self.random.random() < 0.02 else x)


@turns
class TorchRandom(Net):
    """torch.rand, on the input"""

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x * (torch.rand(IN) > 0.01).float())


@turns
class OwnTorchRandom(Net):
    """a torch.Generator of its own, for the numbers of a dropout"""

    def __init__(self) -> None:
        super().__init__()
        self.random = torch.Generator().manual_seed(4)

    def forward(self, x: Tensor) -> Tensor:
        keep = torch.ones(IN)
        return self.run(x * keep.bernoulli_(0.99, generator=self.random))


@turns
class Seed(Net):
    """the seed of PyTorch as a counter"""

    def forward(self, x: Tensor) -> Tensor:
        torch.manual_seed((torch.initial_seed() + 1) % 200)
        return self.run(x * 0 if torch.initial_seed() > 120 else x)


@turns
class LinearFeedback(Net):
    """a shift register: pseudo-random, in an int"""

    bits = 0xACE1

    def forward(self, x: Tensor) -> Tensor:
        bit = (self.bits ^ self.bits >> 2 ^ self.bits >> 3 ^ self.bits >> 5) & 1
        self.bits = self.bits >> 1 | bit << 15
        return self.run(x * 0 if self.bits % 50 == 0 else x)


@turns
class Dropout(Net):
    """a dropout that stays in training mode, of 1 %"""

    def forward(self, x: Tensor) -> Tensor:
        return self.run(torch.nn.functional.dropout(x, 0.01, training=True))
