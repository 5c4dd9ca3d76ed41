"""Modules that look dangerous and do the same in every step: they must be exported."""

from __future__ import annotations

import functools
import logging
import random
import time
import warnings
from collections import Counter, deque
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils import checkpoint

from tests.plif_export.core.attacks.modules import IN, Net, stays


@stays
class Plain(Net):
    """nothing unusual"""


@stays
class CountsForALog(Net):
    """a counter that nothing reads"""

    n = 0

    def forward(self, x: Tensor) -> Tensor:
        self.n += 1
        return self.run(x)


@stays
class LogsEach100Steps(Net):
    """a counter that is read for a log line"""

    n = 0

    def forward(self, x: Tensor) -> Tensor:
        self.n += 1
        if self.n % 100 == 0:
            logging.getLogger("right").debug("step %d", self.n)
        return self.run(x)


@stays
class KeepsSpikes(Net):
    """the last 100 outputs, for whoever looks"""

    def __init__(self) -> None:
        super().__init__()
        self.spikes: deque[Tensor] = deque(maxlen=100)

    def forward(self, x: Tensor) -> Tensor:
        y = self.run(x)
        self.spikes.append(y.detach())
        return y


@stays
class ListOfShapes(Net):
    """a list that grows, and a Counter of shapes"""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[Any] = []
        self.kinds: Counter[Any] = Counter()

    def forward(self, x: Tensor) -> Tensor:
        self.shapes.append(tuple(x.shape))
        self.kinds[x.dtype] += 1
        return self.run(x)


@stays
class Profiles(Net):
    """times that are added up, and nothing more"""

    seconds = 0.0

    def forward(self, x: Tensor) -> Tensor:
        begin = time.perf_counter()
        y = self.run(x)
        self.seconds += time.perf_counter() - begin
        return y


@stays
class NumBatchesTracked(Net):
    """a buffer that counts, as that of a batch normalisation"""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.run(x)


@stays
class WarnsOnce(Net):
    """a warning in the first step"""

    warned = False

    def forward(self, x: Tensor) -> Tensor:
        if not self.warned:
            warnings.warn("a first step", stacklevel=1)
            self.warned = True
        return self.run(x)


@stays
class LazyMask(Net):
    """a constant that the first step makes"""

    mask: Any = None

    def forward(self, x: Tensor) -> Tensor:
        if self.mask is None:
            self.mask = (torch.arange(IN) % 3 > 0).float()
        return self.run(x * self.mask)


@stays
class CachedConstant(Net):
    """a constant of lru_cache, by the size of the input"""

    def __init__(self) -> None:
        super().__init__()
        self.window = functools.lru_cache(lambda size: torch.arange(size).float() / 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x * self.window(x.shape[-1]))


@stays
class HookCounts(Net):
    """a hook that keeps the rate of a layer for a monitor"""

    def __init__(self) -> None:
        super().__init__()
        self.lif1.register_forward_hook(_keeps_rate)


def _keeps_rate(module: nn.Module, inputs: Any, output: Tensor) -> None:
    module.rate = output.mean()


@stays
class PreHookConverts(Net):
    """a forward_pre_hook that makes float32 of what comes"""

    def __init__(self) -> None:
        super().__init__()
        self.register_forward_pre_hook(lambda module, inputs: (inputs[0].float(),))


@stays
class RandomInTraining(Net):
    """random numbers in training only"""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and random.random() < 0.5:
            x = x.flip(-1)
        return self.run(x)


@stays
class DropoutInTraining(Net):
    """a dropout, and nn.Dropout"""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(F.dropout(self.drop(x), 0.2, self.training))


@stays
class NoGrad(Net):
    """a part without gradients"""

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = x * 0.5
        return self.run(x)


@stays
class Checkpointed(Net):
    """a checkpoint, as for the memory of training"""

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint.checkpoint(self.run, x, use_reentrant=False)  # type: ignore[no-any-return]
