"""A live module must carry the state of every neuron from one call to the next, as the exported file does.

Each network that loses a state has a twin that keeps it: the one is refused, by the name of its neuron, the other exported.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import functional, neuron, surrogate
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

import runtime
from plif_export import check, export
from plif_export.core.readers import read_model
from plif_train.core.network.neuron import Neuron
from runtime.core.base.errors import PlifError
from tests.foreign import events

snn = pytest.importorskip("snntorch")
norse = pytest.importorskip("norse.torch")

STEPS = 50


def lif(cls: str = "LIFCell") -> nn.Module:
    parameters = {"LIFCell": norse.LIFParameters, "LIFBoxCell": norse.LIFBoxParameters}[cls]
    return getattr(norse, cls)(parameters(tau_mem_inv=torch.tensor(300.0), v_th=torch.tensor(0.5)))  # type: ignore[no-any-return]


class Two(nn.Module):
    """Two linear layers, each with a neuron."""

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.fc1, self.lif1, self.fc2, self.lif2 = nn.Linear(6, 20), make(), nn.Linear(20, 3), make()
        self.state: Any = None
        self.state1: Any = None
        self.state2: Any = None
        with torch.no_grad():
            self.fc1.weight.abs_().mul_(2)


class NorseDrops(Two):
    def forward(self, x: Tensor) -> Tensor:
        s, _ = self.lif1(self.fc1(x))
        s, _ = self.lif2(self.fc2(s))
        return s  # type: ignore[no-any-return]


class NorseDropsTheSecond(Two):
    def forward(self, x: Tensor) -> Tensor:
        s, self.state1 = self.lif1(self.fc1(x), self.state1)
        s, _ = self.lif2(self.fc2(s))
        return s  # type: ignore[no-any-return]


class NorseForgetsToPassIt(Two):
    """It keeps the states, and never reads them."""

    def forward(self, x: Tensor) -> Tensor:
        s, self.state1 = self.lif1(self.fc1(x))
        s, self.state2 = self.lif2(self.fc2(s), None)
        return s  # type: ignore[no-any-return]


class NorseSwaps(Two):
    """Both states are kept, in each other's place."""

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__(make)
        self.fc2 = nn.Linear(20, 20)

    def forward(self, x: Tensor) -> Tensor:
        state1, state2 = self.state2, self.state1
        s, self.state1 = self.lif1(self.fc1(x), state1)
        s, self.state2 = self.lif2(self.fc2(s), state2)
        return s  # type: ignore[no-any-return]


class NorseKeeps(Two):
    def forward(self, x: Tensor) -> Tensor:
        s, self.state1 = self.lif1(self.fc1(x), self.state1)
        s, self.state2 = self.lif2(self.fc2(s), self.state2)
        return s  # type: ignore[no-any-return]


class NorseReturns(Two):
    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        state1, state2 = (None, None) if state is None else state
        s, state1 = self.lif1(self.fc1(x), state1)
        s, state2 = self.lif2(self.fc2(s), state2)
        return s, (state1, state2)


class NorsePassed(Two):
    """States by hand, without a default, and returned in a tuple of their own."""

    def forward(self, x: Tensor, state1: Any, state2: Any) -> tuple[Tensor, Any]:
        s, state1 = self.lif1(self.fc1(x), state1)
        s, state2 = self.lif2(self.fc2(s), state2)
        return s, (state1, state2)


class NorseSeparate(Two):
    def forward(self, x: Tensor, state1: Any = None, state2: Any = None) -> tuple[Tensor, Any, Any]:
        s, state1 = self.lif1(self.fc1(x), state1)
        s, state2 = self.lif2(self.fc2(s), state2)
        return s, state1, state2


class NorseKeepsAList(Two):
    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__(make)
        self.states = [None, None]

    def forward(self, x: Tensor) -> Tensor:
        s, self.states[0] = self.lif1(self.fc1(x), self.states[0])
        s, self.states[1] = self.lif2(self.fc2(s), self.states[1])
        return s  # type: ignore[no-any-return]


class NorseReturnsOne(Two):
    """A state that is taken in, and not returned."""

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        s, after = self.lif1(self.fc1(x), state)
        s, _ = self.lif2(self.fc2(s))
        return s, after


def sequence(net: Two) -> nn.Module:
    return norse.SequentialState(net.fc1, net.lif1, net.fc2, net.lif2)  # type: ignore[no-any-return]


class SequenceDrops(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = sequence(Two(lif))
        self.state: Any = None

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.net(x)
        return y  # type: ignore[no-any-return]


class SequenceKeeps(SequenceDrops):
    def forward(self, x: Tensor) -> Tensor:
        y, self.state = self.net(x, self.state)
        return y  # type: ignore[no-any-return]


def leaky() -> nn.Module:
    return snn.Leaky(beta=0.8)  # type: ignore[no-any-return]


class LeakyStartsAgain(Two):
    """A step of snnTorch's tutorials with the start of its loop inside."""

    def forward(self, x: Tensor) -> Tensor:
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        s, mem1 = self.lif1(self.fc1(x), mem1)
        s, mem2 = self.lif2(self.fc2(s), mem2)
        return s  # type: ignore[no-any-return]


class LeakyStartsFromZeros(Two):
    def forward(self, x: Tensor) -> Tensor:
        current = self.fc1(x)
        s, _ = self.lif1(current, torch.zeros_like(current))
        s, _ = self.lif2(self.fc2(s), torch.zeros(1, 3))
        return s  # type: ignore[no-any-return]


class LeakyTakesAndDrops(Two):
    def forward(self, x: Tensor, mem1: Tensor, mem2: Tensor) -> tuple[Tensor, Tensor]:
        s, mem1 = self.lif1(self.fc1(x), mem1)
        s, _ = self.lif2(self.fc2(s), mem2)
        return s, mem1


class LeakyKeeps(Two):
    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__(make)
        self.mem1, self.mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()  # type: ignore[operator]

    def forward(self, x: Tensor) -> Tensor:
        s, self.mem1 = self.lif1(self.fc1(x), self.mem1)
        s, self.mem2 = self.lif2(self.fc2(s), self.mem2)
        return s  # type: ignore[no-any-return]


class LeakyPassed(Two):
    def forward(self, x: Tensor, mem1: Tensor, mem2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        s, mem1 = self.lif1(self.fc1(x), mem1)
        s, mem2 = self.lif2(self.fc2(s), mem2)
        return s, mem1, mem2


class ResetsFirst(Two):
    def forward(self, x: Tensor) -> Tensor:
        self.lif2.reset()  # type: ignore[operator]
        return self.lif2(self.fc2(self.lif1(self.fc1(x))))  # type: ignore[no-any-return]


class ResetsLast(Two):
    def forward(self, x: Tensor) -> Tensor:
        y = self.lif2(self.fc2(self.lif1(self.fc1(x))))
        functional.reset_net(self)
        return y  # type: ignore[no-any-return]


class Keeps(Two):
    def forward(self, x: Tensor) -> Tensor:
        return self.lif2(self.fc2(self.lif1(self.fc1(x))))  # type: ignore[no-any-return]


def plif() -> nn.Module:
    return Neuron("PLIF", init_tau=20.0)


def node() -> nn.Module:
    return neuron.LIFNode(tau=20.0, surrogate_function=surrogate.ATan())


LOSES: dict[str, tuple[Callable[[], nn.Module], list[str], str]] = {
    "norse": (lambda: NorseDrops(lif), ["lif1", "lif2"], "self.state = None"),
    "norse-box": (lambda: NorseDrops(lambda: lif("LIFBoxCell")), ["lif1", "lif2"], "self.state = lif(x, self.state)"),
    "norse-second": (lambda: NorseDropsTheSecond(lif), ["lif2"], "self.state = lif(x, self.state)"),
    "norse-not-passed": (lambda: NorseForgetsToPassIt(lif), ["lif1", "lif2"], "self.state = lif(x, self.state)"),
    "norse-not-returned": (lambda: NorseReturnsOne(lif), ["lif2"], "self.state = lif(x, self.state)"),
    "sequence": (SequenceDrops, ["net.1", "net.3"], "self.state = lif(x, self.state)"),
    "snntorch": (lambda: LeakyStartsAgain(leaky), ["lif1", "lif2"], "init_hidden=True"),
    "snntorch-zeros": (lambda: LeakyStartsFromZeros(leaky), ["lif1", "lif2"], "init_hidden=True"),
    "snntorch-not-returned": (lambda: LeakyTakesAndDrops(leaky), ["lif2"], "init_hidden=True"),
    "ours": (lambda: ResetsFirst(plif), ["lif2"], "do not reset it inside forward"),
    "ours-after": (lambda: ResetsLast(plif), ["lif1", "lif2"], "do not reset it inside forward"),
    "spikingjelly": (lambda: ResetsFirst(node), ["lif2"], "do not reset it inside forward"),
    "spikingjelly-after": (lambda: ResetsLast(node), ["lif1", "lif2"], "do not reset it inside forward"),
}


def silent(net: nn.Module) -> nn.Module:
    """So small weights that no layer fires: its output alone shows nothing."""
    with torch.no_grad():
        for part in net.modules():
            if isinstance(part, nn.Linear):
                part.weight.mul_(1e-3)
                part.bias.zero_()
    return net


@pytest.mark.one_in(3)
@pytest.mark.parametrize("quiet", (False, True), ids=("lively", "silent"))
@pytest.mark.parametrize("case", LOSES)
def test_a_module_that_loses_a_state_is_refused_by_the_name_of_its_neuron(
    tmp_path: Path, case: str, quiet: bool
) -> None:
    make, paths, advice = LOSES[case]
    net = silent(make()) if quiet else make()
    with pytest.raises(PlifError) as refused:
        export(net, tmp_path / "m.onnx", torch.zeros(1, 6))
    message = str(refused.value)
    kind = type(net.get_submodule(paths[0])).__name__
    assert message.startswith(f"{paths[0]} ({kind}): the module does not carry its state from one call to the next; ")
    assert advice in message and "\n" not in message and list(tmp_path.iterdir()) == []
    problems = check(net, torch.zeros(1, 6)).problems
    assert [problem.partition(" ")[0] for problem in problems] == paths  # all of them, and no other
    assert message.startswith(problems[0])


def awake(net: nn.Module) -> nn.Module:
    """So large biases that most neurons fire now and then, whatever they see."""
    with torch.no_grad():
        for part in net.modules():
            if isinstance(part, nn.Linear):
                part.bias.copy_(torch.linspace(0.1, 2.0, len(part.bias)))
    return net


KEEPS: dict[str, Callable[[], nn.Module]] = {
    "norse": lambda: NorseKeeps(lif),
    "norse-box": lambda: NorseKeeps(lambda: lif("LIFBoxCell")),
    "norse-returned": lambda: NorseReturns(lif),
    "norse-passed": lambda: NorsePassed(lif),
    "norse-separate": lambda: NorseSeparate(lif),
    "norse-list": lambda: NorseKeepsAList(lif),
    "sequence": SequenceKeeps,
    "snntorch": lambda: LeakyKeeps(leaky),
    "snntorch-passed": lambda: LeakyPassed(leaky),
    "ours": lambda: Keeps(plif),
    "spikingjelly": lambda: Keeps(node),
}


def own_forward(net: nn.Module, x: np.ndarray) -> np.ndarray:
    """The module over many steps, one call a step: y [T, B, 3]."""
    passed: list[Any] = [torch.zeros(1, 20), torch.zeros(1, 3)] if isinstance(net, LeakyPassed) else []
    if isinstance(net, NorseReturns | NorsePassed | NorseSeparate):
        passed = [None] if isinstance(net, NorseReturns) else [None, None]
    outputs = []
    with torch.no_grad():
        for x_t in torch.from_numpy(x):
            y = net(x_t, *passed)
            if passed:
                y, *passed = y
            if isinstance(net, NorsePassed):
                (passed,) = passed
            outputs.append(y.numpy())
    return np.stack(outputs)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("case", KEEPS)
def test_its_twin_that_keeps_the_state_is_exported_and_gives_the_same_spikes(tmp_path: Path, case: str) -> None:
    net = awake(KEEPS[case]()).eval()
    result = export(net, tmp_path / "m.onnx", torch.zeros(1, 6), T=STEPS)
    assert result.passed and not any("never fired" in note for note in result.notes)
    x = events(STEPS, 1, (6,))
    y = runtime.load(result.path).session(1).run(x)
    np.testing.assert_array_equal(y, own_forward(net, x))
    assert 0.01 < y.mean() < 0.99
    assert check(silent(KEEPS[case]()), torch.zeros(1, 6)).problems == []


def test_states_in_the_wrong_place_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PlifError, match=r"step 1 of the module is not what its layers make.*first in lif1"):
        export(NorseSwaps(lif), tmp_path / "m.onnx", torch.zeros(1, 6))


def test_a_state_left_by_an_earlier_use_is_told_from_one_that_is_lost(tmp_path: Path) -> None:
    net = NorseKeeps(lif).eval()
    with torch.no_grad():
        for _ in range(5):
            net(torch.ones(1, 6))
    with pytest.raises(PlifError, match=r"lif1 \(LIFCell\): it starts from a state that the module holds.*'state1'"):
        export(net, tmp_path / "m.onnx", torch.zeros(1, 6))
    net.state1 = net.state2 = None
    assert export(net, tmp_path / "m.onnx", torch.zeros(1, 6)).passed
    assert net.state1 is None  # the module itself was not touched


class Sums(Two):
    """It adds up its outputs, where no reset of a neuron sees it."""

    total: Any = 0.0

    def forward(self, x: Tensor) -> Tensor:
        self.seen = self.lif1(self.fc1(x))  # is no state
        self.total += self.fc2(self.seen)
        return self.total  # type: ignore[no-any-return]


class SumsAndResets(Sums):
    def reset(self) -> None:
        self.total = 0.0


class SumsWithoutReset(Sums):
    """No reset is there that could miss it."""

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__(make)
        self.lif1 = nn.ReLU()


def test_a_state_that_the_modules_own_reset_misses_is_said_and_the_file_resets_it(tmp_path: Path) -> None:
    for make, name in (
        (node, "functional.reset_net"),
        (plif, "reset()"),
        (lambda: snn.Leaky(beta=0.8, init_hidden=True), "utils.reset"),
    ):
        notes = " ".join(read_model(Sums(make), torch.zeros(1, 6)).notes)
        assert f"Sums: your {name} leaves total: PyTorch's second sample will differ" in notes and "seen" not in notes
    for silent in (SumsAndResets(node), SumsWithoutReset(node), Keeps(node), NorseKeeps(lif), LeakyKeeps(leaky)):
        assert not any("leaves" in note for note in read_model(silent, torch.zeros(1, 6)).notes)
    net, x = awake(Sums(node)).eval(), events(STEPS, 1, (6,))
    session = runtime.load(export(net, tmp_path / "m.onnx", torch.zeros(1, 6)).path).session(1)
    for first in (True, False):
        functional.reset_net(net)
        session.reset()
        with torch.no_grad():
            y = torch.stack([net(x_t).clone() for x_t in torch.from_numpy(x)])
        assert np.allclose(session.run(x), y.numpy(), atol=1e-4) is first


def test_a_spike_joined_in_place_is_still_a_spike(tmp_path: Path) -> None:
    class Adds(Keeps):
        def forward(self, x: Tensor) -> Tensor:
            s = self.lif1(self.fc1(x))
            s = s.add_(0.75)
            return self.lif2(self.fc2(s))  # type: ignore[no-any-return]

    assert export(Adds(plif), tmp_path / "m.onnx", torch.zeros(1, 6)).passed


def test_a_layer_that_nothing_makes_fire_is_named() -> None:
    net = Keeps(plif)
    net.lif1 = Neuron("LIF", init_tau=1e6)
    (note,) = read_model(net, torch.zeros(1, 6)).notes
    assert note.startswith("lif1: never fired, whatever current it was given")


def test_the_check_is_cheap() -> None:
    """A module is run for some tens of steps, not for hundreds."""
    calls = []
    counter = register_module_forward_hook(
        lambda part, x, y: calls.append(part) if isinstance(part, nn.Linear) else None
    )
    with counter:
        read_model(nn.Sequential(nn.Linear(6, 20), plif(), plif()), torch.zeros(1, 6))
    assert 0 < len(calls) < 200  # of copies, and 64 of the module itself
