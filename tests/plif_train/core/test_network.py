"""Networks: names, the two modes, chunks, state, dropout, static images, the presets' sizes."""

from __future__ import annotations

import pytest
import torch

from plif_train import Network, build, scale_to_fire
from plif_train.core.network.network import layer_of_neuron
from plif_train.core.network.presets import PRESETS
from runtime.core.base.errors import PlifError

PARAMETERS = {  # of the authors' code, as their logs print the networks
    "mnist": 13_198_980,
    "fashion-mnist": 13_198_980,
    "cifar10": 36_718_344,
    "nmnist": 17_132_292,
    "cifar10-dvs": 17_427_718,
    "dvs128-gesture": 1_698_311,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_preset_has_the_parameters_of_the_authors_code(name: str) -> None:
    with torch.device("meta"):
        net = build(name)
    assert sum(p.numel() for p in net.parameters()) == PARAMETERS[name]
    assert {"nmnist": 10, "cifar10-dvs": 20, "dvs128-gesture": 20}.get(name, 8) == net.T
    assert net.meta.kind == ("static" if name in ("mnist", "fashion-mnist", "cifar10") else "events")


def test_the_paper_variant_is_the_text_of_table_s1() -> None:
    with torch.device("meta"):
        texts = {name: str(build(f"{name}:paper").notation) for name in PRESETS}
        assert str(build("cifar10").notation) == "{{c256k3s1-BN-PLIF}*3-MPk2s2}*2-DP-FC2048-PLIF-FC100-PLIF-APk10s10"
    small = "{c128k3s1-BN-PLIF-MPk2s2}*2-DP-FC2048-PLIF-DP-FC100-PLIF-APk10s10"
    assert texts == {
        "mnist": small,
        "fashion-mnist": small,
        "nmnist": small,
        "cifar10": "{{c256k3s1-BN-PLIF}*3-MPk2s2}*2-DP-FC2048-PLIF-DP-FC100-PLIF-APk10s10",
        "cifar10-dvs": "{c128k3s1-BN-PLIF-MPk2s2}*4-DP-FC512-PLIF-DP-FC100-PLIF-APk10s10",
        "dvs128-gesture": "{c128k3s1-BN-PLIF-MPk2s2}*5-DP-FC512-PLIF-DP-FC110-PLIF-APk10s10",
    }


def test_keys_of_the_weights_are_names_of_the_layers() -> None:
    net = build("nmnist", channels=2, hidden=20)
    keys = list(net.state_dict())
    assert keys[:7] == [
        "conv1.weight",
        "conv1_bn.weight",
        "conv1_bn.bias",
        "conv1_bn.running_mean",
        "conv1_bn.running_var",
        "conv1_bn.num_batches_tracked",
        "conv1_neuron.w",
    ]
    assert keys[-4:] == ["fc1.weight", "fc1_neuron.w", "fc2.weight", "fc2_neuron.w"]
    assert list(net.neurons()) == ["conv1", "conv2", "fc1", "fc2"]
    assert layer_of_neuron("conv1_neuron") == "conv1" and layer_of_neuron("conv1_neuron2") == "conv1_2"


def firing(name: str = "nmnist", steps: int = 6, **options: object) -> tuple[Network, torch.Tensor]:
    torch.manual_seed(0)
    net = build(name, **{"channels": 4, "hidden": 40, "T": steps, **options}).eval()
    x = torch.poisson(torch.full((steps, 3, *net.meta.shape), 0.4))
    scale_to_fire(net, x)
    return net, x


@torch.no_grad()
def test_a_sequence_in_chunks_is_the_sequence_but_for_the_rounding_of_other_batch_shapes() -> None:
    net, x = firing()
    whole = net(x)
    end = net.state()
    net.reset()
    chunks = torch.cat([net(x[:3]), net(x[3:])])
    assert whole.sum() > 0 and float((whole - chunks).abs().mean()) < 0.01
    # A flip would show as a potential off by about 1; rounding as one off by about 1e-6.
    assert all(float(((v - end[name]).abs() > 1e-4).float().mean()) < 0.01 for name, v in net.state().items())


@torch.no_grad()
def test_steps_agree_with_the_sequence_but_for_the_rounding_of_other_batch_shapes() -> None:
    net, x = firing()
    whole = net(x)
    net.reset()
    steps = torch.stack([net.step(now) for now in x])
    assert whole.shape == (6, 3, 10)
    assert float((whole - steps).abs().mean()) < 0.01


@torch.no_grad()
def test_a_restored_state_continues_as_if_nothing_had_happened() -> None:
    net, x = firing()
    net(x[:4])
    snapshot = net.state()
    expected = net(x[4:])
    net(x)
    net.set_state(snapshot)
    assert torch.equal(net(x[4:]), expected)
    net.set_state(snapshot)
    snapshot["conv1"].zero_()  # copies in and out: the network is not touched through either
    net.state()["conv1"].zero_()
    assert float(net.state()["conv1"].abs().max()) > 0
    net.set_state({})
    assert net.state() == {}


@torch.no_grad()
def test_a_state_of_other_layers_or_shapes_is_refused() -> None:
    net, x = firing()
    net(x)
    state = net.state()
    with pytest.raises(PlifError, match="expected"):
        net.set_state({"conv1": state["conv1"]})
    with pytest.raises(PlifError, match=r"fc1: state of shape"):
        net.set_state({**state, "fc1": state["fc1"][:, :7]})
    with pytest.raises(PlifError, match="batch sizes"):
        net.set_state({**state, "fc1": state["fc1"][:2]})
    assert torch.equal(net.state()["fc1"], state["fc1"])


@torch.no_grad()
def test_another_batch_without_reset_is_refused() -> None:
    net, x = firing()
    net(x)
    with pytest.raises(PlifError, match=r"conv1_neuron.*reset"):
        net(x[:, :2])
    net.reset()
    net(x[:, :2])


@torch.no_grad()
def test_a_static_image_passes_the_first_layers_once_and_means_the_same() -> None:
    net, x = firing("mnist")
    seen = []
    net.get_submodule("conv1").register_forward_hook(lambda _m, _i, out: seen.append(len(out)))
    image = x[0]
    once = net(image)
    assert seen == [3] and once.shape == (6, 3, 10)
    net.reset()
    assert float((once - net(image.expand(6, *image.shape))).abs().mean()) < 0.01
    net.reset()
    assert net(image, T=2).shape[0] == 2
    assert seen == [3, 18, 3]


@torch.no_grad()
def test_one_dropout_mask_lasts_until_reset_and_none_is_used_in_eval() -> None:
    net, _ = firing()
    dropout = net.get_submodule("fc1_dropout")
    ones = torch.ones(5, 3, 256)
    assert torch.equal(dropout.forward_sequence(ones), ones)
    net.train()
    first = dropout.forward_sequence(ones)
    assert all(torch.equal(first[0], now) for now in first)
    assert set(first.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(dropout(ones[0]), first[0])
    net.reset()
    assert not torch.equal(dropout(ones[0]), first[0])


def test_options_reach_every_layer() -> None:
    net = build("nmnist", channels=2, hidden=20, bias="fc", v_reset=None, v_threshold=0.7, tau="channel", dropout=0.2)
    assert net.get_submodule("conv1").bias is None and net.get_submodule("fc1").bias is not None
    assert net.get_submodule("fc1_dropout").p == 0.2
    assert [tuple(n.w.shape) for n in net.neurons().values()] == [(2,), (2,), (20,), (100,)]
    assert all(n.v_reset is None and n.v_threshold == 0.7 for n in net.neurons().values())
    assert build("nmnist", channels=2, neuron="LIF", init_tau=3.0).neurons()["fc2"].tau() == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("network", "overrides", "message"),
    [
        ("mnits", {}, "not known"),
        ("mnist:papr", {}, "not known"),
        ("c4k3s1-PLIF-FC10-PLIF", {}, "input shape"),
        ("c4k3s1-PLIF", {"shape": (2, 8, 8)}, "ends with a map"),
        ("mnist", {"classes": ["a", "b"]}, "2 classes|20 outputs|10 outputs"),
        ("mnist", {"tua": "layer"}, "unknown tua"),
        ("mnist", {"v_reset": 1.0}, "v_reset"),
        ("mnist", {"init_tau": 0.5}, "init_tau"),
        ("nmnist", {"framing": "count:T=20", "T": 10}, "T=20"),
        ("nmnist", {"T": 0}, "at least one"),
        ("nmnist", {"framing": "counts:T=10"}, "framing"),
        ("mnist", {"framing": "count:T=8"}, "static images"),
    ],
)
def test_networks_that_cannot_be_are_refused_in_one_line(network: str, overrides: dict, message: str) -> None:
    with torch.device("meta"), pytest.raises(PlifError, match=message) as error:
        build(network, **overrides)
    assert "\n" not in str(error.value)


def test_framing_and_time_steps_follow_each_other() -> None:
    with torch.device("meta"):
        assert build("cifar10-dvs", T=12).framing == "count:T=12,orientation=paper"
        assert build("nmnist", framing="duration:10ms,T=16").T == 16
        assert build("mnist", T=4).framing is None


def test_wrong_inputs_are_refused_with_the_shape_that_was_expected() -> None:
    net = build("nmnist", channels=2, hidden=20)
    for x in (torch.zeros(3, 2, 34, 34), torch.zeros(3, 1, 2, 32, 32), torch.zeros(0, 1, 2, 34, 34)):
        with pytest.raises(PlifError, match=r"expected \[T, B, C, H, W\]"):
            net(x)
    with pytest.raises(PlifError, match=r"expected \[B, C, H, W\]"):
        net.step(torch.zeros(2, 34, 34))
