"""Our neurons and networks are SpikingJelly's, spike for spike: equal weights, equal input, equal batch shape.

Networks fire 2-30 % in every layer and begin in a state that is not the reset, so that agreement is not silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plif_train import Network, build, scale_to_fire
from plif_train.core.network.neuron import Neuron

pytest.importorskip("spikingjelly", reason="SpikingJelly, the peer to compare with, is not installed")
from spikingjelly.activation_based import functional, layer, surrogate
from spikingjelly.activation_based import neuron as sj_neuron
from spikingjelly.activation_based.model import parametric_lif_net as sj_nets

CHANNELS = 4
HEAD = "-DP-FC{hidden}-PLIF-DP-FC{outputs}-PLIF-APk10s10"
NETS = {  # SpikingJelly's widths, which differ from the authors' in one network
    "mnist": (sj_nets.MNISTNet, "{c4k3s1-BN-PLIF-MPk2s2}*2", 2048, 100, (1, 28, 28)),
    "fashion-mnist": (sj_nets.FashionMNISTNet, "{c4k3s1-BN-PLIF-MPk2s2}*2", 2048, 100, (1, 28, 28)),
    "nmnist": (sj_nets.NMNISTNet, "{c4k3s1-BN-PLIF-MPk2s2}*2", 2048, 100, (2, 34, 34)),
    "cifar10": (sj_nets.CIFAR10Net, "{{c4k3s1-BN-PLIF}*3-MPk2s2}*2", 2048, 100, (3, 32, 32)),
    "cifar10-dvs": (sj_nets.CIFAR10DVSNet, "{c4k3s1-BN-PLIF-MPk2s2}*4", 512, 100, (2, 128, 128)),
    "dvs128-gesture": (sj_nets.DVSGestureNet, "{c4k3s1-BN-PLIF-MPk2s2}*5", 512, 110, (2, 128, 128)),
}
NEURONS = [("IF", None), ("LIF", None), ("PLIF", None), ("PLIF", -0.53), ("PLIF", 2.15), ("PLIF", -4.09)]


def _peer(options: dict[str, Any]) -> nn.Module:
    common = {
        "v_threshold": options.get("v_threshold", 1.0),
        "v_reset": options["v_reset"],
        "surrogate_function": surrogate.ATan(),
        "detach_reset": True,
    }
    if options["kind"] == "IF":
        return sj_neuron.IFNode(**common)
    common["decay_input"] = options["decay_input"]
    if options["kind"] == "LIF":
        return sj_neuron.LIFNode(tau=options["init_tau"], **common)
    return sj_neuron.ParametricLIFNode(init_tau=options["init_tau"], **common)


@pytest.mark.parametrize("v_reset", [0.0, -0.3, None])
@pytest.mark.parametrize("decay_input", [True, False])
@pytest.mark.parametrize(("kind", "w"), NEURONS)
def test_single_neurons_agree_in_every_bit_over_50_steps(
    kind: str, w: float | None, decay_input: bool, v_reset: float | None
) -> None:
    """w from 2.15 to -4.09 are the extremes that the authors' training logs reach (tau 1.117 to 60.6)."""
    options = {"kind": kind, "init_tau": 2.0, "decay_input": decay_input, "v_reset": v_reset}
    ours, theirs = Neuron(**options).eval(), _peer(options).eval()
    if w is not None:
        ours.load_state_dict({"w": torch.tensor(w)})
        theirs.load_state_dict({"w": torch.tensor(w)})
    torch.manual_seed(1)
    x = torch.randn(50, 4, 250) * 2 + 1
    if kind != "IF" and decay_input:
        x *= max(1.0, float(ours.tau()) / 4)  # a slow neuron that divides its input needs more of it
    start = torch.randn(4, 250) * 0.4
    ours.v, theirs.v = start.clone(), start.clone()
    fired = 0.0
    for now in x:
        s = ours(now)
        assert torch.equal(s, theirs(now))
        assert torch.equal(ours.v, theirs.v)
        fired += float(s.detach().mean()) / len(x)
    assert 0.02 < fired < 0.95
    ours.reset()
    functional.reset_net(theirs)
    functional.set_step_mode(theirs, "m")
    assert torch.equal(ours.forward_sequence(x), theirs(x))


@pytest.mark.parametrize("v_reset", [0.0, -0.3, None])
@pytest.mark.parametrize("decay_input", [True, False])
@pytest.mark.parametrize("kind", ["IF", "LIF", "PLIF"])
def test_gradients_of_single_neurons_agree(kind: str, decay_input: bool, v_reset: float | None) -> None:
    options = {"kind": kind, "init_tau": 2.0, "decay_input": decay_input, "v_reset": v_reset}
    ours, theirs = Neuron(**options), _peer(options)
    functional.set_step_mode(theirs, "m")
    torch.manual_seed(2)
    x, weight = torch.randn(12, 3, 40) * 2 + 0.5, torch.randn(12, 3, 40)
    gradients = []
    for run in (ours.forward_sequence, theirs):
        current = x.clone().requires_grad_()
        (run(current) * weight).sum().backward()
        gradients.append(current.grad)
    assert _relative(gradients[0], gradients[1]) < 1e-5
    if kind == "PLIF":
        assert _relative(ours.w.grad, theirs.w.grad) < 1e-5


@pytest.fixture(params=list(NETS))
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[Network, nn.Module, Tensor]]:
    make, body, hidden, outputs, shape = NETS[request.param]
    notation = body + HEAD.format(hidden=hidden, outputs=outputs)
    torch.manual_seed(3)
    ours = build(notation, shape=shape, bias="fc", T=5)
    theirs = make(
        channels=CHANNELS,
        spiking_neuron=sj_neuron.ParametricLIFNode,
        surrogate_function=surrogate.ATan(),
        detach_reset=True,
    )
    x = torch.poisson(torch.full((5, 2, *shape), 0.4))
    scale_to_fire(ours, x)
    copy_weights(ours, theirs)
    yield ours, theirs, x


def copy_weights(ours: Network, theirs: nn.Module) -> None:
    """Both are the same layers in the same order, so weights go over one by one."""
    modules = list(theirs.conv_fc)
    assert len(modules) == len(ours.named_layers)
    for named, module in zip(ours.named_layers, modules, strict=True):
        module.load_state_dict(ours.get_submodule(named.name).state_dict(), strict=True)


def _spikes_of(theirs: nn.Module, run: Callable[[], Any]) -> tuple[list[Tensor], Any]:
    seen: list[Tensor] = []
    handles = [
        module.register_forward_hook(lambda _m, _i, out: seen.append(out))
        for module in theirs.conv_fc
        if isinstance(module, sj_neuron.ParametricLIFNode)
    ]
    result = run()
    for handle in handles:
        handle.remove()
    return seen, result


def _nodes(theirs: nn.Module) -> list[Any]:
    return [module for module in theirs.conv_fc if isinstance(module, sj_neuron.ParametricLIFNode)]


@torch.no_grad()
def test_networks_agree_in_every_spike_by_step_and_by_sequence(pair: tuple[Network, nn.Module, Tensor]) -> None:
    ours, theirs, x = pair
    ours.eval()
    theirs.eval()
    ours(x)
    start = ours.state()  # not the reset: what another sample left behind
    assert all(float(v.abs().max()) > 0 for v in start.values())

    def begin() -> None:
        ours.set_state(start)
        functional.reset_net(theirs)
        for node, v in zip(_nodes(theirs), start.values(), strict=True):
            node.v = v.clone()

    mine: list[Tensor] = []
    ours.watch = lambda _layer, spikes: mine.append(spikes)

    begin()
    functional.set_step_mode(theirs, "s")
    for now in x:
        mine.clear()
        y = ours.step(now)
        seen, expected = _spikes_of(theirs, lambda now=now: theirs(now))
        assert len(seen) == len(mine) == len(ours.neurons())
        for name, a, b in zip(ours.neurons(), mine, seen, strict=True):
            assert torch.equal(a, b), name
        assert torch.equal(y, expected)
    for name, node in zip(ours.neurons(), _nodes(theirs), strict=True):
        assert torch.equal(ours.state()[name], node.v), name

    begin()
    functional.set_step_mode(theirs, "m")
    mine.clear()
    y = ours(x)
    seen, expected = _spikes_of(theirs, lambda: theirs(x))
    for name, a, b in zip(ours.neurons(), mine, seen, strict=True):
        assert 0.02 <= float(a.mean()) <= 0.35, name
        assert torch.equal(a, b), name
    assert torch.equal(y, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_one_training_step_gives_equal_gradients_and_statistics(
    pair: tuple[Network, nn.Module, Tensor], dtype: torch.dtype
) -> None:
    """In float64 to 1e-12. In float32 to 1e-5, and to 1e-4 for w: one sum over all neurons, pixels and steps, of terms
    that nearly cancel, which the two programs add up in another order."""
    ours, theirs, x = pair
    ours.to(dtype)
    theirs.to(dtype)
    functional.set_step_mode(theirs, "m")
    functional.reset_net(theirs)
    labels = F.one_hot(torch.tensor([1, 7]), len(ours.classes)).to(dtype)
    for net in (ours, theirs):
        net.train()
        torch.manual_seed(4)  # dropout draws the same masks: the same numbers are asked for in the same order
        F.mse_loss(net(x.to(dtype)).mean(0), labels).backward()
    for named, module in zip(ours.named_layers, theirs.conv_fc, strict=True):
        mine = ours.get_submodule(named.name)
        for (name, a), b in zip(mine.named_parameters(), module.parameters(), strict=True):
            assert float(b.grad.abs().max()) > 0, f"{named.name}.{name}"
            tolerance = 1e-12 if dtype == torch.float64 else 1e-4 if name == "w" else 1e-5
            assert _relative(a.grad, b.grad) < tolerance, f"{named.name}.{name}"
        if named.op == "BatchNorm":
            for a, b in zip(mine.buffers(), module.buffers(), strict=True):  # the first conv sums in another order
                assert _relative(a, b) < (1e-12 if dtype == torch.float64 else 1e-6), named.name
        if isinstance(module, layer.Dropout):
            assert mine.mask is not None and torch.equal(mine.mask, module.mask)


def _relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max().clamp_min(1e-12))
