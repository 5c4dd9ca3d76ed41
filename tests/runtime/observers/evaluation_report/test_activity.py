"""Rates, dead and saturated neurons, synaptic operations: equal to what can be counted by hand, and by PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import plif_train
import runtime
from plif_export import export
from runtime.core.base.errors import PlifError
from runtime.observers.evaluation_report.activity import measure_activity
from runtime.observers.evaluation_report.synops import count_fan_out
from tests.networks import digits_network, firing, frames


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1 x 3 x 3 pixels; a convolution with two weights, 4 in the middle and 4 to its left; a linear layer of two outputs of
    which the first does not see the pixel in the middle, and the second always fires for its bias alone."""
    net = plif_train.build("c1k3s1-PLIF-FC2-PLIF", shape=(1, 3, 3), T=2, classes=("a", "b"), framing="count:T=2")
    layers = [module for module in net.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        layers[0].weight.zero_()
        layers[0].weight[0, 0, 1, 0] = layers[0].weight[0, 0, 1, 1] = 4.0
        layers[1].weight.fill_(0.25)
        layers[1].weight[0, 4] = 0.0
    path = tmp_path_factory.mktemp("by_hand") / "m.onnx"
    return export(net.eval(), path, verify=False).path


def test_operations_equal_a_count_by_hand(by_hand: Path) -> None:
    x = np.zeros((2, 1, 3, 3), np.float32)
    x[:, 0, 1, 1] = 1  # an event in the middle, in both steps
    found = measure_activity(by_hand, [x, 0 * x])
    conv, linear = found.operations
    # the pixel reaches two outputs in each of two steps; half of the samples are empty
    assert (conv.kind, conv.effective) == ("AC", 4 / 2)
    # 4 outputs at the corners see 4 pixels, 4 at the edges 6, one all 9: 49 products in each step of both samples
    assert conv.dense == 2 * 49
    # both neurons that saw it fire in both steps, and one of the four weights behind them is zero
    assert (linear.kind, linear.effective, linear.dense) == ("AC", 2 * 3 / 2, 2 * 18)
    first = found.layers[0]
    assert first.rate == 4 / (4 * 9) and first.dead == 7 and first.saturated == 0 and first.channels == [first.rate]
    assert found.to_dict()["energy_estimate"]["nanojoules"] == pytest.approx((2 + 3) * 0.9 / 1e3)
    assert found.synops == 5


def test_a_count_that_is_not_0_or_1_is_multiplied(by_hand: Path) -> None:
    x = np.zeros((2, 1, 3, 3), np.float32)
    x[0, 0, 0, 0] = 3
    conv = measure_activity(by_hand, [x]).operations[0]
    assert (conv.kind, conv.effective) == ("MAC", 2) and conv.picojoules == pytest.approx(2 * 4.6)


@pytest.mark.parametrize(
    ("layer", "shape"),
    (
        (nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), (4, 9, 7)),
        (nn.Conv2d(2, 3, (3, 2), padding=(2, 0), dilation=(2, 1)), (2, 8, 6)),
        (nn.Conv1d(3, 5, 4, stride=3), (3, 17)),
        (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2), (4, 5, 6)),
        (nn.Linear(7, 5), (3, 7)),
    ),
)
def test_fan_out_is_what_the_layer_does_with_ones(layer: nn.Module, shape: tuple[int, ...]) -> None:
    """As NeuroBench counts: ones for what is not zero, in the weights and in the input, through the layer itself."""
    torch.manual_seed(1)
    mask = (torch.rand(layer.weight.shape) < 0.7).float()
    layer.weight.data = mask
    layer.bias.data.zero_()
    x = (torch.rand(2, *shape) < 0.3).float()
    y = layer(x)
    linear = isinstance(layer, nn.Linear)
    names = ("stride", "padding", "dilation", "groups", "output_padding")
    attrs = {} if linear else {key: getattr(layer, key) for key in names}
    record = {"op": type(layer).__name__.rstrip("12d"), "shape": list(y.shape[1:]), "attrs": attrs}
    counted = (x.numpy() != 0).sum(0) * count_fan_out(record, shape, mask.numpy() != 0)
    assert counted.sum() == int(y.sum().item()) > 0


@pytest.mark.parametrize("precision", ("fp32", "fp16", "int8"))
def test_a_network_is_counted_as_pytorch_counts_it(precision: str, tmp_path: Path) -> None:
    net = firing("c8k3s1-BN-PLIF-MPk2s2-c8k3s1-BN-PLIF-APk2s2-FC40-PLIF-FC30-PLIF-APk10s10")
    path = export(net, tmp_path / "m.onnx", precision=precision, verify=False).path
    x = frames(net, np.random.default_rng(3), T=4, streams=2)
    found = measure_activity(path, x.transpose(1, 0, 2, 3, 4))
    expected, handles = [], []
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            at = len(expected)
            expected.append(0.0)

            def count(module: nn.Module, args: tuple[torch.Tensor, ...], y: torch.Tensor, at: int = at) -> None:
                x, weight = (args[0] != 0).float(), (module.weight != 0).float()
                if isinstance(module, nn.Linear):
                    expected[at] += nn.functional.linear(x, weight).sum().item() / 2
                else:
                    expected[at] += (
                        nn.functional.conv2d(x, weight, None, module.stride, module.padding).sum().item() / 2
                    )

            handles.append(module.register_forward_hook(count))
    rates = dict.fromkeys(net.neurons(), 0.0)
    net.watch = lambda layer, s: rates.__setitem__(layer, rates[layer] + float(s.mean()) / 4)
    with torch.no_grad():
        net.reset()
        for x_t in torch.from_numpy(x):
            net.step(x_t)
    kinds = [ops.kind for ops in found.operations]
    assert kinds == ["MAC", "AC", "MAC", "AC"]  # event counts, spikes, averages of spikes, spikes
    if precision == "int8":  # more weights are zero
        assert all(ops.effective <= n for ops, n in zip(found.operations, expected, strict=True))
    else:
        assert [ops.effective for ops in found.operations] == expected
        for layer in found.layers:
            assert layer.rate == pytest.approx(rates[layer.layer], rel=1e-6)


def test_rates_are_those_of_the_session(digits_onnx: Path) -> None:
    x = frames(digits_network(), np.random.default_rng(0), T=5, streams=1)
    session = runtime.load(digits_onnx, "onnxruntime", rates=True).session()
    sums: dict[str, float] = {}
    for x_t in x:
        session.step(x_t)
        for layer, rate in session.rates.items():
            sums[layer] = sums.get(layer, 0.0) + rate / len(x)
    found = measure_activity(digits_onnx, [x[:, 0]])
    assert {layer.layer: layer.rate for layer in found.layers} == pytest.approx(sums, rel=1e-5)
    assert all(np.mean(layer.channels) == pytest.approx(layer.rate) for layer in found.layers)


def test_neurons_that_always_or_never_fire_are_counted_and_those_that_need_no_input(tmp_path: Path) -> None:
    net = plif_train.build("c4k3s1-BN-PLIF-FC4-PLIF", shape=(1, 4, 4), T=3, classes=tuple("abcd"), framing="count:T=3")
    norm = next(module for module in net.modules() if isinstance(module, nn.BatchNorm2d))
    with torch.no_grad():
        norm.weight.zero_()
        norm.bias.copy_(torch.tensor([100.0, 0.0, -1.0, 1.5]))  # always, never, never, every other step
    path = export(net.eval(), tmp_path / "m.onnx", verify=False).path
    layer = measure_activity(path, [np.ones((4, 1, 4, 4), np.float32)]).layers[0]
    assert (layer.neurons, layer.dead, layer.saturated, layer.bias_driven) == (64, 32, 16, 32)
    assert layer.channels == [1.0, 0.0, 0.0, 0.5]


def test_other_forms_are_refused_in_one_line(tmp_path: Path) -> None:
    path = export(firing(), tmp_path / "m.onnx", form="unrolled", verify=False).path
    with pytest.raises(PlifError, match="is unrolled; neurons are watched one by one in the step form"):
        measure_activity(path, [])
