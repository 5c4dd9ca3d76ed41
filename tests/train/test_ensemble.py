"""plif_train.ensemble: several networks as one, whose output is the mean of theirs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import plif_train
from plif_train import ensemble, load, save
from plif_train.network.network import Network
from plif_train.network.presets import build
from runtime.base.errors import PlifError

NOTATION = "c4k3s1-BN-PLIF-MPk2s2-c6k3s1-BN-PLIF-MPk2s2-DP-FC20-PLIF-DP-FC20-PLIF-APk10s10"


def member(seed: int, conv1: Network | None = None, tau: str = "channel", **options: object) -> Network:
    """Weights are multiples of 1/64, so that their sums are exact in any order."""
    torch.manual_seed(seed)
    net = build(NOTATION, shape=(2, 8, 8), T=6, tau=tau, bias=True, **options)
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if name.endswith((".weight", ".bias")) and "_bn" not in name:
                value.copy_(torch.randint(-28, 40, value.shape) / 64)
            elif value.is_floating_point():
                value.copy_(torch.rand(value.shape) + 0.5)
        if conv1 is not None:
            for name, value in conv1.state_dict().items():
                if name.startswith("conv1"):
                    net.state_dict()[name].copy_(value)
    return net.eval()


def spikes_of(net: Network, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    seen: dict[str, Tensor] = {}
    with torch.no_grad(), net.watched(seen.__setitem__):
        return net(x), seen


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("share", [False, True])
def test_its_output_is_the_mean_of_the_networks(tmp_path: Path, count: int, share: bool) -> None:
    first = member(1)
    nets = [first] + [member(seed, first if share else None) for seed in range(2, count + 1)]
    save(ensemble(nets), tmp_path / "all.pt")
    together = load(tmp_path / "all.pt")
    x = (torch.rand(6, 3, 2, 8, 8) < 0.3).float()
    (y, seen), each = spikes_of(together, x), [spikes_of(net, x) for net in nets]
    torch.testing.assert_close(y, torch.stack([one for one, _ in each]).mean(0), rtol=0, atol=1e-6)
    assert 0.02 < float(y.mean()) < 0.98 and not torch.equal(each[0][0], each[1][0])
    assert torch.equal(seen["conv2"], torch.cat([layers["conv2"] for _, layers in each], 2))
    alike = [each[0]] if share else each  # what all have is there once
    assert torch.equal(seen["conv1"], torch.cat([layers["conv1"] for _, layers in alike], 2))
    channels = 4 if share else 4 * count
    assert str(together.notation).startswith(f"c{channels}k3s1-BN-PLIF-MPk2s2-c{6 * count}k3s1-")
    assert str(together.notation).endswith(f"FC{20 * count}-PLIF-APk{10 * count}s{10 * count}")


def test_what_is_not_alike_is_refused() -> None:
    net = member(1)
    for others, message in (
        ((), "expected two networks or more"),
        ((member(2, v_threshold=2.0),), "whose options differ"),
        (
            (build(NOTATION.replace("c6", "c7"), shape=(2, 8, 8), T=6, tau="channel", bias=True),),
            "whose notation differ",
        ),
    ):
        with pytest.raises(PlifError, match=message):
            ensemble([net, *others])
    other = member(2)
    other.meta = replace(other.meta, T=7)
    with pytest.raises(PlifError, match="whose input and classes differ"):
        ensemble([net, other])
    with pytest.raises(PlifError, match=r"conv1_neuron.w: one tau a layer"):
        ensemble([member(1, tau="layer"), member(2, tau="layer")])
    silent = build("c4k3s1-BN-PLIF-FC2", shape=(2, 8, 8), T=6)
    with pytest.raises(PlifError, match="has no vote at its end"):
        ensemble([silent, silent])


def test_it_is_a_name_of_the_package() -> None:
    assert "ensemble" in plif_train.__all__
