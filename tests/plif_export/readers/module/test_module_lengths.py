"""A live module does what was read of it for as long as it will run, in batches of any size, and in every layer; else it is
refused, or what was not tried is named.

Each module that does something else later has a twin with so small weights that nothing fires by itself.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn

import plif_train
from plif_export import check, export, verify
from plif_export.core.options import CallerFacts
from plif_export.core.readers import read_model
from plif_train.core.network.neuron import Neuron
from runtime.core.base.errors import PlifError
from runtime.core.model.card import read_card
from tests.networks import firing

STEP, SEQUENCE = torch.zeros(1, 8), torch.zeros(4, 1, 8)


class Step(nn.Module):
    """One step a call."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc, self.lif, self.n = nn.Linear(8, 5), neuron.LIFNode(tau=20.0), 0

    def forward(self, x: Tensor) -> Tensor:
        self.n += 1
        return self.lif(self.fc(x))  # type: ignore[no-any-return]


class Resets(Step):
    def __init__(self, every: int) -> None:
        super().__init__()
        self.every = every

    def forward(self, x: Tensor) -> Tensor:
        if self.n % self.every == 0:
            functional.reset_net(self)
        return super().forward(x)


class ResetsByABuffer(Step):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        if self.count.item() % 20 == 0:
            functional.reset_net(self)
        self.count += 1
        return super().forward(x)


class WarmsUp(Step):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if self.n > 20 else x * 0.5)


class Loop(nn.Module):
    """All steps of a sequence, with a neuron written by hand."""

    first = 1000  # so many steps count

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc = nn.Linear(8, 5)

    def decay(self, t: int) -> float:
        return 0.9

    def forward(self, x: Tensor) -> Tensor:
        v, total = torch.zeros(x.shape[1], 5), torch.zeros(x.shape[1], 5)
        for t, x_t in enumerate(x):
            v = v * self.decay(t) + self.fc(x_t)
            s = (v >= 1).float()
            v, total = v - s, total + s if t < self.first else total
        return total


class DecaysLater(Loop):
    def decay(self, t: int) -> float:
        return 0.9 if t < 9 else 0.5


class UsesTheFirst(Loop):
    first = 12


class OfEvenLength(Loop):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if len(x) < 6 or len(x) % 2 == 0 else x * 2)


class AnImage(nn.Module):
    """Loops over a number of its own, and leaks more from the tenth step on."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc, self.T = nn.Linear(8, 5), 4

    def forward(self, x: Tensor) -> Tensor:
        v, total = torch.zeros(len(x), 5), torch.zeros(len(x), 5)
        for t in range(self.T):
            v = v * (0.9 if t < 9 else 0.5) + self.fc(x)
            s = (v >= 1).float()
            v, total = v - s, total + s
        return total / self.T


class TwoLoops(nn.Module):
    """Two layers that only their weights tell apart, one loop after the other; the second leaks more later."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.w = nn.ParameterList([nn.Parameter(torch.randn(8, 8)) for _ in range(2)])

    def forward(self, x: Tensor) -> Tensor:
        for decays, w in zip(((0.9, 0.9), (0.9, 0.7)), self.w, strict=True):
            v, fired = torch.zeros_like(x[0]), []
            for t, x_t in enumerate(x):
                v = v * decays[t >= 14] + nn.functional.linear(x_t, w)
                s = (v > 1).float()
                v = v - s
                fired.append(s)
            x = torch.stack(fired)
        return x


class ManyRows(Step):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * 2 if len(x) >= 32 else x)


class ManyRowsFireLess(Step):
    def forward(self, x: Tensor) -> Tensor:
        self.lif.v_threshold = 2.0 if len(x) >= 32 else 1.0
        return super().forward(x)


class RowsFromTheThird(Step):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(torch.cat((x[:2], x[2:] * 0)) if len(x) > 20 else x)


class RowsOfOthers(Step):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.roll(1, 0) if 1 < len(x) < 5 else x)


WRONG: dict[str, tuple[Callable[[], nn.Module], Tensor, str]] = {
    **{f"resets-{n}": (lambda n=n: Resets(n), STEP, f"step {n} of the module.*in lif|self.n .*counts") for n in (8, 16, 20)},
    "resets-by-a-buffer": (ResetsByABuffer, STEP, "step 20 of the module.*first in lif|self.count .* counts"),
    "warms-up": (WarmsUp, STEP, "step 2. of the module|self.n .* counts"),
    "decays-later": (DecaysLater, SEQUENCE, "step 9 of the module.*first in neurons"),
    "decays-later-20": (DecaysLater, torch.zeros(20, 1, 8), "step 9 of the module.*first in neurons"),
    "uses-the-first": (UsesTheFirst, SEQUENCE, "not what its layers make|steps call"),
    "uses-the-first-20": (UsesTheFirst, torch.zeros(20, 1, 8), "20 steps call|not what its layers make"),
    "of-even-length": (OfEvenLength, SEQUENCE, "not what its layers make"),
    "an-image": (AnImage, STEP, "step 9 of the module.*first in neurons"),
    "two-loops": (TwoLoops, SEQUENCE, "step 14 of the module.*first in neurons"),
    "many-rows": (ManyRows, STEP, "row 0 of a batch of 33 is not what it is alone"),
    "many-rows-fire-less": (ManyRowsFireLess, STEP, "row 0 of a batch of 33 is not what it is alone"),
    "rows-from-the-third": (RowsFromTheThird, STEP, "row 2 of a batch of 33 is not what it is alone"),
    "rows-of-others": (RowsOfOthers, STEP, "row . of a batch of 2 is not what it is alone"),
}  # fmt: skip


def silent(net: nn.Module, factor: float = 1e-3) -> nn.Module:
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(factor)
    return net


@pytest.mark.parametrize("quiet", (False, True), ids=("lively", "silent"))
@pytest.mark.parametrize("case", WRONG)
def test_what_a_module_does_later_or_in_a_batch_is_refused(tmp_path: Path, case: str, quiet: bool) -> None:
    make, example, message = WRONG[case]
    net = silent(make()) if quiet else make()
    with pytest.raises(PlifError, match=message) as refused:
        export(net.eval(), tmp_path / "m.onnx", example)
    assert "\n" not in str(refused.value) and list(tmp_path.iterdir()) == []


class Delayed(Step):
    """Its own spikes come back a step later."""

    before: Any = None

    def forward(self, x: Tensor) -> Tensor:
        current = self.fc(x)
        back = torch.zeros_like(current) if self.before is None else self.before
        self.before = self.lif(current - 0.5 * back)
        return self.before  # type: ignore[no-any-return]


class TimeInTheBatch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc, self.bn, self.lif = nn.Linear(8, 5), nn.BatchNorm1d(5), neuron.LIFNode(step_mode="m")
        self.out = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn(self.fc(x.flatten(0, 1))).unflatten(0, x.shape[:2])
        return self.out(self.lif(y)).mean(0)  # type: ignore[no-any-return]


def linear(size: int = 8) -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(size, 5)


def trained(*parts: nn.Module) -> nn.Module:
    """With batch norms that have seen something."""
    net = nn.Sequential(*parts).train()
    for _ in range(3):
        net(torch.randn(16, 8) + 1)
        functional.reset_net(net)
    return net


RIGHT: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "a counter that nothing reads": (Step, STEP),
    "a loop": (Loop, SEQUENCE),
    "an example of one step in a sequence": (Loop, torch.zeros(1, 1, 8)),
    "dropout and batch norm": (
        lambda: trained(nn.Linear(8, 9), nn.BatchNorm1d(9), neuron.IFNode(), nn.Dropout(), nn.Linear(9, 3), neuron.IFNode()),
        STEP,
    ),
    "time in the batch": (TimeInTheBatch, SEQUENCE),
    "a delay": (Delayed, STEP),
    "a window over steps": (lambda: nn.Sequential(linear(), neuron.SlidingPSN(k=5), linear(5), neuron.IFNode()), STEP),
}  # fmt: skip


@pytest.mark.parametrize(
    ("case", "quiet"), [(case, quiet) for case in RIGHT for quiet in (False, True) if "window" not in case or not quiet]
)
def test_a_module_that_does_the_same_for_ever_is_read_and_each_layer_fires(case: str, quiet: bool) -> None:
    make, example = RIGHT[case]
    net = silent(make().eval()) if quiet else make().eval()
    model = read_model(net, example)
    assert model.untested == [] and not any("never fired" in note for note in model.notes)


def test_how_long_it_was_tried_is_said_in_the_report_and_in_the_card(tmp_path: Path) -> None:
    added = "that the outputs of all steps are added up"
    result = export(net := silent(Step(), 20.0), tmp_path / "step.onnx", STEP)
    assert result.verify is not None and result.verify.not_proved[-2:] == ["more than 64 steps in a row", added]
    assert "more than 64 steps in a row" in result.verify.sentence()
    assert read_card(result.path)["parity"]["not_proved"] == result.verify.not_proved
    assert verify(result.path, net).not_proved == result.verify.not_proved
    assert "more than 80 steps in a row" in verify(result.path, net, prove_steps=80).not_proved
    lengths = "sequences of other lengths than"
    assert read_model(Loop(), SEQUENCE).not_proved == [f"{lengths} 4, 32 and 33"]
    assert read_model(Loop(), torch.zeros(40, 1, 8)).not_proved == [f"{lengths} 40 and 41"]
    assert read_model(Loop(), SEQUENCE, CallerFacts(T=20)).not_proved == [f"{lengths} 20, 32 and 33"]
    assert read_model(Loop(), SEQUENCE, CallerFacts(framing="count:T=10")).not_proved == [f"{lengths} 10, 32 and 33"]


def test_a_network_of_ours_was_proved_for_any_number_of_steps(tmp_path: Path) -> None:
    net = firing("c4k3s1-BN-PLIF-MPk2s2-FC3-PLIF")
    plif_train.save(net, tmp_path / "m.pt")
    for model in (net, tmp_path / "m.pt"):
        report = export(model, tmp_path / "m.onnx").verify
        assert report is not None and report.not_proved == []


def test_more_steps_are_proved_where_that_is_asked_for() -> None:
    assert read_model(Step(), STEP).not_proved[0] == "more than 64 steps in a row"
    assert read_model(Step(), STEP, CallerFacts(prove_steps=128)).not_proved[0] == "more than 128 steps in a row"
    assert read_model(Loop(), SEQUENCE, CallerFacts(prove_steps=50)).not_proved[0].endswith("4, 50 and 51")


class Deaf(nn.Module):
    """Its second neuron fires for nobody; the first is given no current of its own: what it reads is the input."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.fc, self.second = Neuron("IF"), nn.Linear(8, 3), Neuron("LIF", init_tau=1e6)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.fc(self.first(x)))  # type: ignore[no-any-return]


def test_a_layer_that_never_fired_is_untested_in_the_report(tmp_path: Path) -> None:
    model = read_model(Deaf(), STEP)
    assert model.untested == ["second"]
    (note,) = model.notes
    assert note.startswith("second: never fired, whatever current it was given (up to 512 thresholds)")
    assert check(Deaf(), STEP).supported
    report = export(Deaf(), tmp_path / "m.onnx", STEP).verify
    assert report is not None and report.untested == ["second"] and "untested: second" in report.sentence()


def test_a_note_names_a_layer_as_the_report_and_the_file_do() -> None:
    """Not as PyTorch does: inner.second"""

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Deaf()

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x)  # type: ignore[no-any-return]

    model = read_model(Outer(), STEP)
    assert model.untested == ["inner_second"] and model.notes[0].startswith("inner_second: never fired")
    assert "inner_second" in {layer.attrs["layer"] for layer in model.graph.neurons}


class ByItself(nn.Module):
    """Neurons over all steps, whose currents are rounded otherwise than those of one step, and which are silent by themselves."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc, self.lif = layer.Linear(1000, 64), neuron.LIFNode(step_mode="m")
        self.fc2, self.lif2 = layer.Linear(64, 3, bias=False), neuron.LIFNode(step_mode="m")

    def forward(self, x: Tensor) -> Tensor:
        return self.lif2(self.fc2(self.lif(self.fc(x) * 1e-3)))  # type: ignore[no-any-return]


def test_a_layer_of_all_steps_is_given_a_current_of_its_own() -> None:
    model = read_model(ByItself(), torch.zeros(4, 1, 1000))
    assert model.untested == [] and not any("never fired" in note for note in model.notes)


BIG = """
import resource, tempfile
from pathlib import Path
import plif_export.readers.module.reader
from tests.peers import make
peer = make("spikingjelly", "sew_resnet50")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with tempfile.TemporaryDirectory() as folder:
    assert plif_export.export(peer.model, Path(folder) / "m.onnx", peer.example).passed
weights = sum(p.numel() * 4 for p in peer.model.parameters())
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / weights)
"""


@pytest.mark.large
def test_a_network_of_the_size_of_resnet_50_needs_twelve_times_its_weights() -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", BIG], capture_output=True, text=True, check=True)
    assert float(done.stdout.splitlines()[-1]) < 12
