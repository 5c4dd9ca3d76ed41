"""Networks that others trained for weights of 8, 4 or 2 bits are exported as what they are: their numbers, their scales.

brevitas and torchao come from `make machines`, into .quantizers; what torch brings, and what is written by hand, runs always.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

import plif_train
from plif_export import check, export
from plif_export.core.passes import run_passes
from plif_export.core.readers import read_model
from runtime.core.cli.main import run
from runtime.core.model.grids import GRIDS
from tests.networks import firing
from tests.peers import strong

INSTALLED = Path(__file__).parents[4] / ".quantizers"
SHAPE = (2, 12, 12)
STEP = torch.zeros(1, *SHAPE)
Layer = Callable[..., nn.Module]

pytestmark = pytest.mark.filterwarnings("ignore")  # of their own deprecations


def network(conv: Layer, linear: Layer) -> nn.Sequential:
    """A convolution that reads events, and two layers of a library that read spikes."""
    torch.manual_seed(0)
    neuron = plif_train.core.network.neuron.Neuron
    layers = (
        strong(nn.Conv2d(2, 8, 3), 9.0),
        neuron("PLIF"),
        strong(conv(8, 10, 3), 9.0),
        neuron("PLIF"),
        nn.MaxPool2d(2),
    )
    return nn.Sequential(*layers, nn.Flatten(), strong(linear(160, 5), 9.0), neuron("IF"))


def exported(net: nn.Module, bits: int, folder: Path, layers: tuple[str, ...] = ("conv2d", "linear")) -> Any:
    """The graph of an export that was proved, and that changed nothing by rounding in `layers`."""
    (precision,) = (name for name, grid in GRIDS.items() if grid.bits == bits)
    said = check(net, STEP).notes[0]
    assert (
        said.startswith(f"weights of {', '.join(layers)}: {bits} bits a ") and f"--precision {precision} keeps" in said
    )
    report = export(net, folder / "m.onnx", STEP, precision=precision).verify
    assert report is not None and report.passed and report.spikes > 1_000
    assert all(layer.rate > 0 for layer in report.layers)
    assert report.rounding_mismatches == 0 or len(layers) < 2  # what is on no grid is rounded
    return run_passes(read_model(net, STEP).graph, "folded", False, precision)


class ByHand(nn.Module):
    """Weights in the forward pass are whole numbers of `most` at most times the largest one / most."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def forward(self, weight: Tensor) -> Tensor:
        scale = weight.abs().amax(tuple(range(1, weight.ndim)), keepdim=True) / self.most
        return weight + ((weight / scale).round().clamp(-self.most, self.most) * scale - weight).detach()


@pytest.mark.parametrize("bits", (4, 2))
def test_a_parametrization_written_by_hand_is_kept(bits: int, tmp_path: Path) -> None:
    def by_hand(kind: Layer) -> Layer:
        def make(*sizes: int) -> nn.Module:
            return parametrize.register_parametrization(
                strong(kind(*sizes), 9.0), "weight", ByHand((1 << bits - 1) - 1)
            )

        return make

    net = network(by_hand(nn.Conv2d), by_hand(nn.Linear))
    graph = exported(net.eval(), bits, tmp_path)
    weight = net[2].weight.detach().numpy()
    node = graph["conv2d"]
    found = node.params["weight"] * node.params["scale"].reshape(-1, 1, 1, 1)
    alpha = graph["3"].params["alpha"]  # folded into it
    np.testing.assert_allclose(found, weight * alpha, rtol=2.0**-22)


@pytest.mark.parametrize(
    "bits", (4, pytest.param(8, marks=pytest.mark.machines), pytest.param(2, marks=pytest.mark.machines))
)
def test_fake_quantisation_of_torch_is_kept(bits: int, tmp_path: Path) -> None:
    import torch.ao.nn.qat as qat
    import torch.ao.quantization as ao

    fake = ao.FakeQuantize.with_args(
        observer=ao.MovingAveragePerChannelMinMaxObserver, quant_min=-(1 << bits - 1), quant_max=(1 << bits - 1) - 1,
        dtype=torch.qint8, qscheme=torch.per_channel_symmetric, ch_axis=0,
    )  # fmt: skip
    asked = ao.QConfig(activation=nn.Identity, weight=fake)
    net = network(lambda *a: qat.Conv2d(*a, qconfig=asked), lambda *a: qat.Linear(*a, qconfig=asked)).train()
    net(torch.rand(2, *SHAPE))  # which the observers see
    net.apply(ao.disable_observer)
    graph = exported(net.eval(), bits, tmp_path)
    assert graph["linear"].attrs.get("bits", 8) == bits
    scale = net[6].weight_fake_quant.scale.numpy()
    np.testing.assert_array_equal(graph["linear"].params["scale"], scale)  # IF neurons: nothing is folded into it


@pytest.fixture
def quantizers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(INSTALLED)])  # behind the others: theirs bring a package `test`


@pytest.mark.machines
@pytest.mark.usefixtures("quantizers")
@pytest.mark.parametrize("channels", (True, False), ids=("channel", "tensor"))
@pytest.mark.parametrize("bits", (8, 4, 2))
def test_layers_of_brevitas_are_kept(bits: int, channels: bool, tmp_path: Path) -> None:
    layers = pytest.importorskip("brevitas.nn", reason="brevitas is not installed: make machines")
    how = {"weight_bit_width": bits, "weight_scaling_per_output_channel": channels}
    net = network(lambda *a: layers.QuantConv2d(*a, **how), lambda *a: layers.QuantLinear(*a, bias=True, **how)).eval()
    node = exported(net, bits, tmp_path)["linear"]
    theirs = net[6].quant_weight()
    np.testing.assert_array_equal(node.params["weight"], theirs.int().numpy())
    np.testing.assert_array_equal(node.params["scale"], np.broadcast_to(theirs.scale.detach().numpy().ravel(), 5))


@pytest.mark.machines
@pytest.mark.usefixtures("quantizers")
@pytest.mark.parametrize("bits", (8, 4, 2))
def test_linear_layers_of_torchao_are_kept(bits: int, tmp_path: Path) -> None:
    qat = pytest.importorskip("torchao.quantization.qat", reason="torchao is not installed: make machines")
    net = network(nn.Conv2d, nn.Linear)
    weights = qat.IntxFakeQuantizeConfig(getattr(torch, f"int{bits}"), "per_channel", is_symmetric=True)
    importlib.import_module("torchao.quantization").quantize_(net, qat.QATConfig(weight_config=weights, step="prepare"))
    node = exported(net.eval(), bits, tmp_path, ("linear",))["linear"]
    found = node.params["weight"] * node.params["scale"][:, None]
    np.testing.assert_array_equal(found, net[6].weight_fake_quantizer(net[6].weight).detach().numpy())


def test_check_names_the_bits_of_a_model_and_info_too_of_what_was_made_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = firing("c8k3s1-BN-PLIF-c8k3s1-BN-PLIF-MPk2s2-FC20-PLIF-FC30-PLIF-APk10s10")
    with torch.no_grad():
        weight = net.get_submodule("conv2").weight
        weight.copy_(ByHand(7)(weight))
    model = tmp_path / "m.pt"
    plif_train.save(net, model)
    assert run(["check", str(model)]) == 0
    assert "note: weights of conv2: 4 bits a channel; --precision int4" in capsys.readouterr().out
    made = export(model, precision="int8", verify=False).path
    for command in ("info", "check"):
        assert run([command, str(made)]) == 0
        out = capsys.readouterr().out
        assert "weights of conv2: 4 bits a channel" in out and "weights of fc1, fc2: 8 bits a channel" in out
