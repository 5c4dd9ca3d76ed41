"""snnTorch and Norse networks as their users write them: one call each to a verified file, equal to their own forward."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import runtime
from plif_export import check, export, verify
from plif_export.core.readers import read_model
from runtime.core.base.errors import PlifError
from runtime.core.model.card import read_card
from tests.foreign import events, scale_to_threshold

snn = pytest.importorskip("snntorch")
norse = pytest.importorskip("norse.torch")

STEPS = 50


def own_forward(net: nn.Module, x: np.ndarray) -> np.ndarray:
    """The module over many steps, its own way: y [T, B, ...]."""
    state: Any = None
    outputs = []
    with torch.no_grad():
        for x_t in torch.from_numpy(x):
            if isinstance(net, norse.SequentialState):
                out, state = net(x_t, state)
            else:
                out = net(x_t)
            outputs.append((out[0] if isinstance(out, tuple) else out).numpy())
    return np.stack(outputs)


def conv_net(**options: Any) -> nn.Module:
    def leaky(**more: Any) -> nn.Module:
        return snn.Leaky(beta=0.9, init_hidden=True, **options, **more)  # type: ignore[no-any-return]

    return nn.Sequential(
        nn.Conv2d(2, 8, 5), nn.AvgPool2d(2), leaky(), nn.Conv2d(8, 8, 3), nn.MaxPool2d(2), leaky(threshold=0.7),
        nn.Flatten(), nn.Linear(8 * 2 * 2, 4), leaky(output=True),
    )  # fmt: skip


@pytest.mark.one_in(2)
@pytest.mark.parametrize("form", ("step", "unrolled"))
@pytest.mark.parametrize(
    "options",
    [{}, {"reset_delay": False}, {"reset_mechanism": "zero"}, {"learn_beta": True, "learn_threshold": True}],
    ids=str,
)
def test_a_snntorch_network_gives_the_spikes_of_its_own_forward(
    tmp_path: Path, options: dict[str, Any], form: str
) -> None:
    torch.manual_seed(0)
    net = scale_to_threshold(conv_net(**options), (2, 16, 16))
    result = export(net, tmp_path / "m.onnx", torch.zeros(1, 2, 16, 16), form=form, T=10)
    assert result.passed and result.verify is not None and result.verify.untested == []
    for part in net.modules():
        if isinstance(part, snn.Leaky):
            part.reset_mem()
    x = events(STEPS, 1, (2, 16, 16))
    y = runtime.load(result.path).session(1).run(x)
    np.testing.assert_array_equal(y, own_forward(net, x))
    assert 0.01 < y.mean() < 0.9
    assert read_card(result.path)["taus"]["2"] == pytest.approx(10.0, rel=1e-5)  # beta = 1 - 1/tau


class Explicit(nn.Module):
    """States passed by hand, as snnTorch's tutorials do it, one step a call."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(12, 30), nn.Linear(30, 3)
        self.lif1, self.lif2 = snn.Leaky(beta=0.8), snn.Leaky(beta=0.95, reset_mechanism="zero")

    def forward(self, x: Tensor, mem1: Tensor, mem2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        spk1, mem1 = self.lif1(self.fc1(x), mem1)
        spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
        return spk2, mem1, mem2


def test_states_passed_by_hand_become_states_of_the_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = scale_to_threshold(Explicit(), (12,))
    result = export(net, tmp_path / "m.onnx", torch.zeros(1, 12))
    assert result.passed and result.verify is not None and result.verify.untested == []
    x, session = events(STEPS, 1, (12,)), runtime.load(result.path).session(1)
    mem1, mem2 = torch.zeros(1, 30), torch.zeros(1, 3)
    wrong = 0
    for x_t in x:
        with torch.no_grad():
            spikes, mem1, mem2 = net(torch.from_numpy(x_t), mem1, mem2)
        wrong += int((session.step(x_t) != spikes.numpy()).sum())
    assert wrong == 0
    np.testing.assert_allclose(session.state["v.lif1"], mem1.numpy(), atol=1e-5)


def norse_net(cell: str) -> nn.Module:
    parameters = {
        "LIFBoxCell": norse.LIFBoxParameters(tau_mem_inv=torch.tensor(300.0), v_th=torch.tensor(0.5)),
        "LIFCell": norse.LIFParameters(tau_mem_inv=torch.tensor(300.0), v_th=torch.tensor(0.5)),
    }

    def neuron() -> nn.Module:
        return getattr(norse, cell)(parameters[cell])  # type: ignore[no-any-return]

    return norse.SequentialState(  # type: ignore[no-any-return]
        nn.Conv2d(2, 8, 3), neuron(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(8 * 3 * 3, 4), neuron()
    )


@pytest.mark.one_in(2)
@pytest.mark.parametrize("form", ("step", "unrolled"))
@pytest.mark.parametrize("cell", ("LIFBoxCell", "LIFCell"))
def test_a_norse_network_gives_the_spikes_of_its_own_forward(tmp_path: Path, cell: str, form: str) -> None:
    torch.manual_seed(0)
    net = scale_to_threshold(norse_net(cell), (2, 8, 8), gain=2.0)
    result = export(net, tmp_path / "m.onnx", torch.zeros(1, 2, 8, 8), form=form, T=10)
    assert result.passed and result.verify is not None and result.verify.untested == []
    states = [state["name"] for state in read_card(result.path)["states"]]
    assert states == (["v.1", "i.1", "v.5", "i.5"] if cell == "LIFCell" else ["v.1", "v.5"])
    x = events(STEPS, 1, (2, 8, 8))
    y = runtime.load(result.path).session(1).run(x)
    np.testing.assert_array_equal(y, own_forward(net, x))
    assert 0.01 < y.mean() < 0.9
    assert verify(result.path, net, x).passed


@pytest.mark.parametrize(
    ("make", "kinds"),
    [
        (lambda: snn.Synaptic(alpha=0.9, beta=0.8, init_hidden=True), ["Traced"]),
        (lambda: snn.Leaky(beta=0.9, init_hidden=True, threshold=torch.tensor([0.2, 0.5, 0.7])), ["Traced"]),
        (lambda: snn.Leaky(beta=0.9, init_hidden=True, graded_spikes_factor=2.0), ["Leaky"]),  # a layer behind it
    ],
    ids=("synaptic", "thresholds", "graded"),
)
def test_a_neuron_of_snntorch_that_no_equation_knows_is_exported_as_written(
    tmp_path: Path, make: Any, kinds: list[str]
) -> None:
    net = nn.Sequential(nn.Linear(4, 3), make())
    with torch.no_grad():
        net[0].weight.abs_().add_(0.3)
    result = export(net, tmp_path / "m.onnx", torch.zeros(1, 4))
    assert result.passed
    assert [n.attrs["kind"] for n in read_model(net, torch.zeros(1, 4)).graph.neurons] == kinds
    x = events(STEPS, 1, (4,))
    np.testing.assert_array_equal(runtime.load(result.path).session(1).run(x), own_forward(net, x))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: snn.Leaky(beta=0.9, init_hidden=True, inhibition=True), r"1 \(Leaky\): index_put\(\) at places"),
        (lambda: snn.Leaky(beta=torch.rand(7), init_hidden=True), "1 "),
    ],
    ids=("inhibition", "beta"),
)
@pytest.mark.filterwarnings("ignore:Inhibition is an unstable")
def test_what_snntorch_can_and_we_cannot_is_refused(tmp_path: Path, make: Any, message: str) -> None:
    net = nn.Sequential(nn.Linear(4, 3), make())
    with pytest.raises(PlifError, match=message) as refused:
        export(net, tmp_path / "m.onnx", torch.zeros(1, 4))
    assert str(refused.value).startswith(check(net, torch.zeros(1, 4)).problems[0])


def test_a_recurrent_norse_cell_reads_its_spikes_of_the_last_step(tmp_path: Path) -> None:
    torch.manual_seed(0)
    parameters = norse.LIFParameters(tau_mem_inv=torch.tensor(300.0), v_th=torch.tensor(0.3))
    net = norse.SequentialState(nn.Linear(4, 12), norse.LIFRecurrentCell(12, 12, parameters))
    with torch.no_grad():
        net[0].weight.abs_()
    result = export(net, tmp_path / "m.onnx", torch.zeros(1, 4))
    assert result.passed
    x = events(STEPS, 1, (4,))
    np.testing.assert_array_equal(runtime.load(result.path).session(1).run(x), own_forward(net, x))
