"""What no trace of a module can see is refused by name where it changes what a step does, and stays quiet where it does not."""

from __future__ import annotations

import collections
import functools
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from plif_export import check, export
from plif_export.core.readers import read_model
from runtime.core.base.errors import PlifError
from tests.plif_export.core import unseen_state
from tests.plif_export.core.unseen_state import BAD, Global, Hours, Iterates, Net, ReadsABuffer, settings


@pytest.mark.one_in(5)
@pytest.mark.parametrize("case", BAD)
def test_what_changes_a_step_unseen_is_refused_by_its_name_and_line(tmp_path: Path, case: str) -> None:
    make, message = BAD[case]
    with pytest.raises(PlifError, match=message) as refused:
        export(make(), tmp_path / "m.onnx", torch.zeros(1, 6))
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 300 and list(tmp_path.iterdir()) == []


# --- right ones that look dangerous --------------------------------------------------------------------------------------------


class LogsCalls(Net):
    def odd(self, x: Tensor) -> Tensor:
        self.n += 1
        if self.n % 100 == 0:
            print(f"step {self.n}")
        return x


class Records(Net):
    def seen(self, s: Tensor) -> Tensor:
        self.kept = self.kept or []
        self.kept.append(s)
        return s


class RecordsTheLast(Net):
    def __init__(self) -> None:
        super().__init__()
        self.kept = collections.deque(maxlen=5)

    def seen(self, s: Tensor) -> Tensor:
        self.kept.append(s)
        self.n = self.n % 8 + 1
        return s


class ThrowsAway(Net):
    def seen(self, s: Tensor) -> Tensor:
        self.kept = [*(self.kept or []), s]
        if len(self.kept) > 30:
            self.kept.pop(0)
        return s


class RecordsByStep(Net):
    def seen(self, s: Tensor) -> Tensor:
        self.kept = self.kept or {}
        self.kept[self.n] = s
        self.n += 1
        return s


class RecordsInARing(Net):
    def seen(self, s: Tensor) -> Tensor:
        self.kept = self.kept or [None] * 8
        self.kept[self.n % 8] = s.sum()
        self.n += 1
        return s


class CachesZeros(Net):
    def odd(self, x: Tensor) -> Tensor:
        if self.kept is None or self.kept.shape != x.shape:
            self.kept = torch.zeros_like(x)
        return x + self.kept


class StatesInADict(Net):
    def odd(self, x: Tensor) -> Tensor:
        self.kept = self.kept or {"v": torch.zeros_like(x)}
        self.kept["v"] = self.kept["v"] * 0.5 + x
        return self.kept["v"]  # type: ignore[no-any-return]


class StartsAtFirst(Net):
    """It knows its first step by a counter, which comes by zero only once."""

    def odd(self, x: Tensor) -> Tensor:
        if self.n == 0:
            self.kept = torch.zeros_like(x)
        self.n += 1
        self.kept = self.kept * 0.5 + x
        return self.kept  # type: ignore[no-any-return]


class Progress:
    def __init__(self) -> None:
        self.n, self.shown = 0, 0

    def update(self, by: int = 1) -> None:
        self.n += by
        if self.n - self.shown >= 50:
            self.shown = self.n


class Bar(Net):
    def __init__(self) -> None:
        super().__init__()
        self.bar = Progress()

    def odd(self, x: Tensor) -> Tensor:
        self.bar.update()
        return x


class Trains(Net):
    def odd(self, x: Tensor) -> Tensor:
        if self.training:
            self.n += 1
            return x + torch.from_numpy(np.random.randn(*x.shape).astype(np.float32))
        return x


class ConstantsOfNumPy(Net):
    def __init__(self) -> None:
        super().__init__()
        self.scale = np.float32(np.random.default_rng(0).random())
        self.mask = np.arange(12) % 3 > 0

    def odd(self, x: Tensor) -> Tensor:
        return x * float(self.scale) * torch.from_numpy(self.mask).float()


class CountsInABuffer(ReadsABuffer):
    def odd(self, x: Tensor) -> Tensor:
        self.count += 1
        return x


class SumsSpikes(Net):
    def seen(self, s: Tensor) -> Tensor:
        self.n = self.n + s.sum()
        return s


class MakesConstants(Net):
    """Tensors of plain numbers, which are the same in every step; a new memory for a weight with the same values."""

    def odd(self, x: Tensor) -> Tensor:
        numbers = [torch.tensor(0.75), x.new_tensor([1.25]), torch.as_tensor([1.5]), torch.Tensor([0.5])]
        numbers += [torch.from_numpy(np.ones(1, np.float32)), nn.Parameter(torch.zeros(1).fill_(self.fc1.weight.max()))]
        self.fc1.weight.data = self.fc1.weight.data.clamp(-9.0, 9.0)
        return x * torch.stack([number.reshape(()) for number in numbers]).mean() + 0 * self.fc1.weight.sum()


class ChoosesByAList(Net):
    """A condition among the indices of what is written to, which a number is made a tensor for."""

    def odd(self, x: Tensor) -> Tensor:
        y = x * 1.0
        y[(x > 5,)] = 0.5
        return y


class LooksAtAWeight(Net):
    def odd(self, x: Tensor) -> Tensor:
        return x * 2 if self.fc1.weight.max().item() > 0 and self.fc2.bias.numpy().size else x


class CountsGlobally(Net):
    def odd(self, x: Tensor) -> Tensor:
        unseen_state.calls += 1
        settings.calls += unseen_state.calls % 3 == 0
        return x


class BytesOfBools(Net):
    def odd(self, x: Tensor) -> Tensor:
        return x * (x > 0).to(torch.uint8).float()


class FailsWhenNegative(Net):
    def odd(self, x: Tensor) -> Tensor:
        self.n += 1
        assert self.n > 0
        return x


RIGHT: list[Callable[[], nn.Module]] = [
    LogsCalls, Records, RecordsTheLast, ThrowsAway, RecordsByStep, RecordsInARing, CachesZeros, StatesInADict, StartsAtFirst, Bar,
    Trains, ConstantsOfNumPy, MakesConstants, ChoosesByAList, CountsInABuffer, SumsSpikes, LooksAtAWeight, CountsGlobally,
    BytesOfBools, FailsWhenNegative,
]  # fmt: skip


@pytest.mark.one_in(3)
@pytest.mark.parametrize("make", RIGHT)
def test_what_changes_no_step_stays_quiet(make: Callable[[], nn.Module], capsys: pytest.CaptureFixture[str]) -> None:
    source = read_model(make(), torch.zeros(1, 6))
    assert (
        source.not_proved == read_model(Net(), torch.zeros(1, 6)).not_proved
        and capsys.readouterr().out.count("step") <= 1
    )


def test_a_module_and_the_world_around_it_are_put_back() -> None:
    class Touches(Global):
        def odd(self, x: Tensor, past: list[int] = [0]) -> Tensor:  # noqa: B006
            past[0] += 1
            settings.calls += 1
            self.kept = np.random.rand() + random.random()
            return super().odd(x)

    net = Touches()
    np.random.seed(3)
    random.seed(3)
    settings.calls = 7
    before = unseen_state.calls, np.random.get_state()[1].tolist(), random.getstate(), torch.get_rng_state().tolist()  # type: ignore[index]
    assert not check(net, torch.zeros(1, 6)).supported
    after = unseen_state.calls, np.random.get_state()[1].tolist(), random.getstate(), torch.get_rng_state().tolist()  # type: ignore[index]
    assert before == after and settings.calls == 7 and Touches.odd.__defaults__ == ([0],)
    assert (net.n, net.kept, net.training) == (0, None, True)


def test_a_state_that_cannot_be_set_is_followed_for_some_steps_and_they_are_said(tmp_path: Path) -> None:
    result = export(Iterates(5000), tmp_path / "m.onnx", torch.zeros(1, 6))
    assert result.verify is not None and "after step 67 (self.kept)" in result.verify.not_proved


@pytest.mark.large
def test_a_counter_that_is_counted_itself_is_followed_for_some_steps() -> None:
    assert read_model(Hours(10, 300), torch.zeros(1, 6)).not_proved[0] == "after step 67 (self.n, self.hours)"


def test_a_call_of_a_sequence_is_looked_at_as_a_step_is() -> None:
    class Sequence(Net):
        def forward(self, x: Tensor) -> Tensor:
            self.n += 1
            steps = [Net.forward(self, x_t) for x_t in x]
            return torch.stack(steps) if self.n < 77 else torch.stack(steps) * 0

    with pytest.raises(PlifError, match=r"self\.n \(forward line \d+ .*call 7\d\)"):
        read_model(functools.reduce(lambda net, _: net, [0], Sequence()), torch.zeros(5, 1, 6))
