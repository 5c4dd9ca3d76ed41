"""scale_to_fire leaves no layer silent and none saturated."""

from __future__ import annotations

import pytest
import torch

from plif_train import build, scale_to_fire
from plif_train.core.network.presets import PRESETS
from runtime.core.base.errors import PlifError


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize(
    "options",
    [{}, {"v_reset": None, "tau": "channel"}, {"v_reset": -0.3, "decay_input": False, "bias": True}, {"neuron": "IF"}],
    ids=str,
)
def test_every_layer_of_every_preset_fires_between_2_and_30_percent(name: str, options: dict) -> None:
    torch.manual_seed(0)
    net = build(name, channels=3, hidden=64, T=6, **options)
    static = net.meta.kind == "static"
    x = torch.randn(2, *net.meta.shape) if static else torch.poisson(torch.full((6, 1, *net.meta.shape), 0.3))
    rates = scale_to_fire(net, x, seed=5)
    assert list(rates) == list(net.neurons())
    assert all(0.02 <= rate <= 0.30 for rate in rates.values())
    assert net.training and net.state() == {}


def test_the_same_seed_gives_the_same_network_and_another_seed_another() -> None:
    x = torch.poisson(torch.full((4, 1, 2, 34, 34), 0.3), generator=torch.Generator().manual_seed(1))
    nets = [build("nmnist", channels=3, hidden=32) for _ in range(3)]
    for net, seed in zip(nets, (1, 1, 2), strict=True):
        scale_to_fire(net, x, seed=seed)
    a, b, c = (net.state_dict() for net in nets)
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not torch.equal(a["conv1.weight"], c["conv1.weight"])


def test_an_input_that_says_nothing_is_refused_by_the_layer_it_cannot_move() -> None:
    net = build("c4k3s1-PLIF-FC10-PLIF", shape=(2, 8, 8))
    with pytest.raises(PlifError, match="conv1: fires at 0"):
        scale_to_fire(net, torch.zeros(4, 1, 2, 8, 8))
