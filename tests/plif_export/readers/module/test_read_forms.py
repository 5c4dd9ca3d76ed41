"""What forward may take: batch and time in one axis, time behind the channels, weights that it writes itself; one
input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from spikingjelly.activation_based.neuron import LIFNode
from torch import Tensor, nn

from plif_export import check, export
from plif_export.core.options import CallerFacts
from plif_export.core.readers import read_model
from plif_export.readers.step_program.reading import ModuleReading
from runtime.core.base.errors import PlifError
from tests.plif_export.readers.module.test_read_loops import lively


def reading_of(net: nn.Module, example: Tensor, **said: Any) -> ModuleReading:
    found: ModuleReading = read_model(net, example, CallerFacts(**said)).reference.reading  # type: ignore[attr-defined]
    return found


# --- batch and time in one axis -------------------------------------------------------------------------------------------


def fires(x: Tensor, axis: int) -> Tensor:
    """The spikes of neurons that integrate, over all steps of an axis."""
    v, out = torch.zeros_like(x.select(axis, 0)), []
    for x_t in x.unbind(axis):
        v = v + x_t
        out.append((v >= 1.0).float())
        v = v - out[-1]
    return torch.stack(out, axis)


class Squeezed(nn.Module):
    """A layer of neurons that takes batch and time in one axis, as sinabs's IAFSqueeze: one of the two is said, or both."""

    def __init__(self, batch_size: int = -1, num_timesteps: int = -1) -> None:
        super().__init__()
        self.batch_size, self.num_timesteps = batch_size, num_timesteps

    def forward(self, x: Tensor) -> Tensor:
        return fires(x.reshape(self.batch_size, self.num_timesteps, *x.shape[1:]), 1).flatten(0, 1)


class TimeFirst(nn.Module):
    """The same with time before the batch."""

    def __init__(self, T: int) -> None:
        super().__init__()
        self.T = T

    def forward(self, x: Tensor) -> Tensor:
        return fires(x.view(self.T, -1, *x.shape[1:]), 0).flatten(0, 1)


SAID: dict[str, tuple[type[nn.Module], dict[str, int]]] = {
    "batch": (Squeezed, {"batch_size": 2}),
    "time": (Squeezed, {"num_timesteps": 3}),
    "both": (Squeezed, {"batch_size": 2, "num_timesteps": 3}),
    "time-first": (TimeFirst, {"T": 3}),
}


@pytest.mark.parametrize("case", SAID)
def test_batch_and_time_may_be_one_axis_that_the_parts_take_apart(tmp_path: Path, case: str) -> None:
    part, said = SAID[case]
    net = lively(nn.Sequential(nn.Conv2d(2, 4, 3), part(**said), nn.Flatten(), nn.Linear(64, 5), part(**said)))
    report = export(net, tmp_path / "m.onnx", torch.zeros(2 * 3, 2, 6, 6)).verify
    assert report is not None and report.passed
    form = reading_of(net, torch.zeros(2 * 3, 2, 6, 6)).form
    assert (form.kind, form.T, form.shape) == ("sequence", 3, (2, 6, 6))
    assert {name: getattr(net[1], name) for name in said} == said  # the module itself is as it was


def test_a_network_that_sinabs_converted_is_read_whether_it_has_run_or_not(tmp_path: Path) -> None:
    pytest.importorskip("sinabs")
    from sinabs.from_torch import from_model

    layers = (nn.Conv2d(2, 4, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16, 5), nn.ReLU())
    net = lively(from_model(nn.Sequential(*layers), num_timesteps=3).spiking_model)
    for path in (tmp_path / "new.onnx", tmp_path / "used.onnx"):
        report = export(net, path, torch.zeros(6, 2, 6, 6)).verify
        assert report is not None and report.passed
        net(torch.rand(12, 2, 6, 6))


# --- time behind the channels ---------------------------------------------------------------------------------------------


class TimeThird(nn.Module):
    """Video as conv3d has it, [B, C, T, H, W]: a convolution of each frame, neurons, and the mean over T."""

    def __init__(self, kept: bool) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv3d(2, 4, (1, 3, 3)), nn.Linear(64, 5)
        self.lif = LIFNode() if kept else None

    def forward(self, x: Tensor) -> Tensor:
        y, lif = self.conv(x), self.lif
        s = fires(y, 2) if lif is None else torch.stack([lif(y[:, :, t]) for t in range(y.shape[2])], dim=2)
        return self.fc(s.movedim(2, 1).flatten(2)).mean(1)  # type: ignore[no-any-return]


@pytest.mark.parametrize("kept", [False, True], ids=("own-neuron", "library"))
def test_time_may_stand_behind_the_channels(tmp_path: Path, kept: bool) -> None:
    net, example = lively(TimeThird(kept)), torch.zeros(1, 2, 3, 6, 6)
    report = export(net, tmp_path / "m.onnx", example).verify
    assert report is not None and report.passed
    form = reading_of(net, example).form
    assert (form.kind, form.axis, form.T, form.shape) == ("sequence", 2, 3, (2, 6, 6))


class Fire(nn.Module):
    """A squeezed map, expanded by two convolutions side by side, of all steps [T, B, C, H, W] or [T * B, C, H, W]."""

    def __init__(self, apart: bool) -> None:
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(8, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, padding=1)])
        self.pool, self.apart = nn.MaxPool2d(3, 2, ceil_mode=True), apart

    def layer(self, conv: nn.Module, x: Tensor) -> Tensor:
        if not self.apart:
            return fires(conv(x), 0)
        return fires(conv(x.flatten(0, 1)).unflatten(0, x.shape[:2]), 0)

    def forward(self, x: Tensor) -> Tensor:
        squeeze, *expand = self.convs
        s = self.layer(squeeze, x)
        y = torch.cat([self.layer(conv, s) for conv in expand], -3)
        return self.pool(y.flatten(0, -4)).unflatten(0, y.shape[:-3])


class Squeeze(nn.Module):
    """apart: neurons have T and B in two axes; else a row of the batch is one step more to them."""

    def __init__(self, apart: bool) -> None:
        super().__init__()
        self.conv, self.fires, self.fc = nn.Conv2d(2, 8, 3), nn.Sequential(Fire(apart), Fire(apart)), nn.Linear(32, 5)
        self.apart = apart

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x.flatten(0, 1))
        y = self.fires(y.unflatten(0, x.shape[:2])).flatten(0, 1) if self.apart else self.fires(y)
        return self.fc(y.flatten(1)).unflatten(0, x.shape[:2]).mean(0)  # type: ignore[no-any-return]


def test_a_network_whose_neurons_take_the_batch_for_steps_is_told_so() -> None:
    example = torch.zeros(3, 1, 2, 13, 13)
    assert reading_of(lively(Squeeze(apart=True)), example).form.kind == "sequence"
    with pytest.raises(
        PlifError, match=r"each row of a batch adds operations .* give neurons .* \[T, B, \.\.\.\], not"
    ):
        read_model(lively(Squeeze(apart=False)), example)


# --- weights that forward writes itself -----------------------------------------------------------------------------------


class Recurrent(nn.Module):
    """Spikes come back through a matrix that forward keeps in a shape: writes says how."""

    def __init__(self, writes: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.fc, self.recurrent, self.lif, self.writes = nn.Linear(8, 5), nn.Linear(5, 5, bias=False), LIFNode(), writes
        self.fired: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.writes(self.recurrent.weight.data)
        s = torch.zeros(x.shape[0], 5) if self.fired is None else self.fired
        self.fired = self.lif(self.fc(x) + self.recurrent(s))
        return self.fired


WRITES: dict[str, Callable[[Tensor], Any]] = {
    "diagonal": lambda w: w.fill_diagonal_(0),
    "view-of-the-diagonal": lambda w: w.diagonal().zero_(),
    "places": lambda w: w.__setitem__((range(5), range(5)), 0),
    "mask": lambda w: w.mul_(1 - torch.eye(5)),
}


@pytest.mark.parametrize("case", WRITES)
def test_a_weight_that_forward_keeps_in_a_shape_is_read_as_it_keeps_it(tmp_path: Path, case: str) -> None:
    net = lively(Recurrent(WRITES[case]))
    before = net.recurrent.weight.clone()
    report = export(net, tmp_path / "m.onnx", torch.zeros(1, 8)).verify
    assert report is not None and report.passed
    model = read_model(net, torch.zeros(1, 8))
    weights = [node.params["weight"] for node in model.graph if node.op == "Linear"]
    expected = before.detach().clone().fill_diagonal_(0)
    assert any(torch.equal(torch.from_numpy(w), expected) for w in weights)
    assert torch.equal(net.recurrent.weight, before)  # the module itself is not changed


def test_a_weight_that_is_another_one_in_each_step_is_refused() -> None:
    with pytest.raises(PlifError, match=r"recurrent \(Linear\): .* a number that depends on t cannot be exported"):
        read_model(lively(Recurrent(lambda w: w.mul_(0.9))), torch.zeros(1, 8))


# --- two inputs -----------------------------------------------------------------------------------------------------------


class FrameAndFlow(nn.Module):
    """Two tensors of one step."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.lif, self.fc = nn.Conv2d(2, 3, 3), LIFNode(), nn.Linear(48, 5)

    def forward(self, frame: Tensor, flow: Tensor) -> Tensor:
        return self.fc(self.lif(self.conv(frame) + flow).flatten(1))  # type: ignore[no-any-return]


class Joined(FrameAndFlow):
    """What the refusal says to write."""

    def forward(self, x: Tensor, flow: None = None) -> Tensor:
        return super().forward(x[:, :2], x[:, 2:, 1:-1, 1:-1])


FRAME, FLOW = torch.zeros(1, 2, 6, 6), torch.zeros(1, 3, 4, 4)


@pytest.mark.parametrize(
    ("example", "what"),
    [
        (
            (FRAME, FLOW),
            "it takes a tuple of 2, and a file has one tensor as input; join them along the channels and split them in forward",
        ),
        (FRAME, "forward asks for 'flow' too, and a file has one input; join them along the channels"),
        ("2,6,6", "its example is a str; give a tensor of one step"),
    ],
    ids=("both", "one", "text"),
)
def test_a_second_input_is_refused_and_never_left_out(tmp_path: Path, example: Any, what: str) -> None:
    net = lively(FrameAndFlow())
    with pytest.raises(PlifError) as refused:
        export(net, tmp_path / "m.onnx", example)
    assert what in str(refused.value) and "\n" not in str(refused.value) and list(tmp_path.iterdir()) == []
    assert check(net, example).problems == [str(refused.value)]


def test_two_inputs_that_are_joined_along_the_channels_are_one(tmp_path: Path) -> None:
    report = export(lively(Joined()), tmp_path / "m.onnx", torch.zeros(1, 5, 6, 6)).verify
    assert report is not None and report.passed
