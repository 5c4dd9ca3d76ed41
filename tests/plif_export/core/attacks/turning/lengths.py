"""Loops over T inside forward that do something else in a later step, or for another T. Drawn from outside."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tests.plif_export.core.attacks.modules import Net, turns


class Loops(Net):
    """x [T, B, IN] -> [T, B, OUT], from reset; `step` is one of its steps."""

    sequence, steps, often = 20, 120, 0.4

    def step(self, x: Tensor, t: int, T: int) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        self.forget()
        return torch.stack([self.step(x[t], t, len(x)) for t in range(len(x))])


@turns
class DecaysOtherwiseFrom9(Loops):
    """the decay is another one from step 9 on"""

    def step(self, x: Tensor, t: int, T: int) -> Tensor:
        self.lif1.decay = 0.75 if t < 9 else 0.9375
        return self.run(x)


@turns
class DecaysOtherwiseFrom40(Loops):
    """the decay is another one from step 40 on, longer than the example"""

    def step(self, x: Tensor, t: int, T: int) -> Tensor:
        self.lif1.decay = 0.75 if t < 40 else 0.9375
        return self.run(x)


@turns
class DecaysOtherwiseFrom100(Loops):
    """the decay is another one from step 100 on"""

    def step(self, x: Tensor, t: int, T: int) -> Tensor:
        self.lif1.decay = 0.75 if t < 100 else 0.9375
        return self.run(x)


@turns
class First12(Loops):
    """only the first 12 steps have an input"""

    def step(self, x: Tensor, t: int, T: int) -> Tensor:
        return self.run(x if t < 12 else x * 0)


@turns
class First50(Loops):
    """only the first 50 steps have an input"""

    def step(self, x: Tensor, t: int, T: int) -> Tensor:
        return self.run(x if t < 50 else x * 0)


@turns
class ResetsEvery25(Loops):
    """reset each 25 steps"""

    def step(self, x: Tensor, t: int, T: int) -> Tensor:
        if t % 25 == 0:
            self.forget()
        return self.run(x)


@turns
class ResetsEvery60(Loops):
    """reset each 60 steps"""

    def step(self, x: Tensor, t: int, T: int) -> Tensor:
        if t % 60 == 0:
            self.forget()
        return self.run(x)


@turns
class WarmsUp10(Loops):
    """the first ten outputs are nothing"""

    def step(self, x: Tensor, t: int, T: int) -> Tensor:
        return self.run(x) * float(t >= 10)


@turns
class LongSequencesAreOthers(Loops):
    """more than 70 steps are turned"""

    def step(self, x: Tensor, t: int, T: int) -> Tensor:
        return self.run(x if T <= 70 else x.flip(-1))


@turns
class OddSequencesAreOthers(Loops):
    """an odd number of steps beyond 50 is turned"""

    steps = 101

    def step(self, x: Tensor, t: int, T: int) -> Tensor:
        return self.run(x.flip(-1) if T % 2 and T > 50 else x)


@turns
class LastStepIsAnother(Loops):
    """the last step of a sequence is inverted"""

    def step(self, x: Tensor, t: int, T: int) -> Tensor:
        y = self.run(x)
        return 1 - y if t == T - 1 else y


@turns
class ScheduledThreshold(Loops):
    """a threshold from a list that is as long as the example, and then stays"""

    def step(self, x: Tensor, t: int, T: int) -> Tensor:
        schedule = [1.0] * 20 + [1.5] * 20 + [2.0]
        self.lif2.threshold = schedule[min(t, 40)]
        return self.run(x)


@turns
class WholeSequenceIsScaled(Loops):
    """all steps are divided by the largest number of any of them"""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x / x.amax((0, 2), keepdim=True).clamp(min=1) * 4)

    def step(self, x: Tensor, t: int, T: int) -> Tensor:
        return self.run(x)


@turns
class LaterFramesAreSeen(Loops):
    """a step sees the frame after it, from step 35 on"""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(torch.cat([x[:35], x[35:].roll(-1, 0)]))

    def step(self, x: Tensor, t: int, T: int) -> Tensor:
        return self.run(x)


@turns
class Chunks(Loops):
    """steps in chunks of 32, each from reset"""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([super(Chunks, self).forward(chunk) for chunk in x.split(32)])

    def step(self, x: Tensor, t: int, T: int) -> Tensor:
        return self.run(x)


@turns
class EveryThirdStep(Loops):
    """from step 30 on, each third frame is left out"""

    def step(self, x: Tensor, t: int, T: int) -> Tensor:
        return self.run(x * 0 if t > 30 and t % 3 == 0 else x)


@turns
class StopsEarly(Loops):
    """a loop that ends where nothing came for five steps: what follows is 0"""

    def forward(self, x: Tensor) -> Tensor:
        self.forget()
        outputs: list[Any] = []
        silent = 0
        for frame in x:
            silent = silent + 1 if not frame.numpy().any() else 0
            outputs.append(self.run(frame) if silent < 5 else outputs[-1] * 0)
        return torch.stack(outputs)
