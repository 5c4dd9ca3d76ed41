"""SpikingJelly 2.0: every network of activation_based.model, and every neuron that can be used by itself.

Networks get the smallest input that all their layers take, ten classes, and `step_mode` "s" where they have it; those that need
all steps at once get a sequence [T, B, ...].
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from spikingjelly.activation_based.model import (
    masnn,
    maxformer,
    ms_resnet,
    parametric_lif_net,
    qkformer,
    sew_resnet,
    snas_net,
    spike_dhs,
    spike_driven_transformer,
    spikformer,
    spiking_resnet,
    spiking_vgg,
    spiking_vggws_ottt,
)
from torch import nn

from tests.peers import Maker, Peer, counts, liven, settle, strong

LIF: dict[str, Any] = {"spiking_neuron": neuron.LIFNode, "surrogate_function": surrogate.ATan(), "detach_reset": True}


def _settled(net: nn.Module, *shape: int, mode: str = "s", steps: int = 4, alive: bool = False) -> Peer:
    """One step [B, *shape], or in mode "m" a sequence [steps, B, *shape]. alive: scale weights, where no batch norm does."""
    x = counts(steps, 2, *shape)

    def run() -> None:
        functional.reset_net(net)
        if mode == "m":
            net(x)
        else:
            for x_t in x:
                net(x_t)

    functional.set_step_mode(net, mode)
    if alive:
        liven(net, run)
    settle(net, run)
    functional.reset_net(net)
    return Peer(net, x if mode == "m" else x[0], 0 if mode == "m" else None, lines=2 if mode == "m" else 1)


def _parametric(name: str, *shape: int) -> Maker:
    def make() -> Peer:
        cls = getattr(parametric_lif_net, name)
        net = cls(channels=8, spiking_neuron=neuron.ParametricLIFNode, surrogate_function=surrogate.ATan())
        return _settled(net, *shape)

    return make


def _residual(module: Any, name: str, **options: Any) -> Maker:
    return lambda: _settled(getattr(module, name)(num_classes=10, **options, **LIF), 3, 32, 32)


def _vgg(name: str) -> Maker:
    return lambda: _settled(getattr(spiking_vgg, name)(num_classes=10, **LIF), 3, 32, 32, alive=True)


def _ottt(name: str) -> Maker:
    def make() -> Peer:
        net = getattr(spiking_vggws_ottt, name)(num_classes=10, spiking_neuron=neuron.OTTTLIFNode)
        return _settled(net, 3, 32, 32, alive=True)

    return make


def _many_steps(function: Callable[..., nn.Module], *shape: int, T: int = 4, **options: Any) -> Maker:
    return lambda: _settled(function(T=T, **options), *shape, mode="m", steps=T)


def _image(net: nn.Module) -> Peer:
    """A network that takes one image [B, 3, 32, 32], and loops over its T inside forward."""
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))

    def run() -> None:
        functional.reset_net(net)
        net(x)

    settle(net, run)
    functional.reset_net(net)
    return Peer(net, x)


def _snas(celltype: str) -> Peer:
    """The operations between the four nodes of a cell: 0 nothing, 1 itself, 2 and 3 convolutions, 4 pooling."""
    between = torch.tensor([[0, 2, 3, 4], [2, 0, 1, 2], [0, 3, 0, 3], [1, 4, 2, 0]])
    args = SimpleNamespace(
        threshold=1.0, tau=4 / 3, timestep=4, second_avgpooling=4, dataset="cifar100", celltype=celltype
    )
    return _image(snas_net.SNASNet(args, between))


def _dhs() -> Peer:
    args = SimpleNamespace(fea_step=3, fea_num_layers=8, fea_block_multiplier=3, fea_filter_multiplier=48)
    net = spike_dhs.SpikeDHS(args=args)
    functional.set_step_mode(net, "m")
    return _image(net)


NETWORKS: dict[str, Maker] = {
    "MNISTNet": _parametric("MNISTNet", 1, 28, 28),
    "FashionMNISTNet": _parametric("FashionMNISTNet", 1, 28, 28),
    "NMNISTNet": _parametric("NMNISTNet", 2, 34, 34),
    "CIFAR10Net": _parametric("CIFAR10Net", 3, 32, 32),
    "CIFAR10DVSNet": _parametric("CIFAR10DVSNet", 2, 128, 128),
    "DVSGestureNet": _parametric("DVSGestureNet", 2, 128, 128),
    **{f"sew_{size}": _residual(sew_resnet, f"sew_{size}", cnf="ADD") for size in (
        "resnet18", "resnet34", "resnet50", "resnet101", "resnet152",
        "resnext50_32x4d", "resnext101_32x8d", "wide_resnet50_2", "wide_resnet101_2",
    )},
    **{f"spiking_{size}": _residual(spiking_resnet, f"spiking_{size}") for size in (
        "resnet18", "resnet34", "resnet50", "resnet101", "resnet152",
        "resnext50_32x4d", "resnext101_32x8d", "wide_resnet50_2", "wide_resnet101_2",
    )},
    **{f"spiking_vgg{n}{bn}": _vgg(f"spiking_vgg{n}{bn}") for n in (11, 13, 16, 19) for bn in ("", "_bn")},
    **{f"ottt_spiking_vgg{n}{ws}": _ottt(f"ottt_spiking_vgg{n}{ws}") for n in (11, 13, 16, 19) for ws in ("", "_ws")},
    "ms_resnet18": _many_steps(ms_resnet.ms_resnet18, 3, 32, 32, num_classes=10),
    "ms_resnet34": _many_steps(ms_resnet.ms_resnet34, 3, 32, 32, num_classes=10),
    "max_resnet18": _many_steps(ms_resnet.max_resnet18, 3, 32, 32),
    "att_ms_resnet18": _many_steps(masnn.att_ms_resnet18, 3, 32, 32, num_classes=10, spiking_neuron=neuron.LIFNode),
    "masnn_dvs128_gesture": _many_steps(
        masnn.masnn_dvs128_gesture, 2, 32, 32, T=16, spiking_neuron=neuron.LIFNode
    ),
    "spikformer_ti": _many_steps(spikformer.spikformer_ti, 3, 32, 32, img_size_h=32, img_size_w=32, num_classes=10),
    "spikformer_s": _many_steps(spikformer.spikformer_s, 3, 32, 32, img_size_h=32, img_size_w=32, num_classes=10),
    "spikformer_cifar10": _many_steps(spikformer.spikformer_cifar10, 3, 32, 32),
    "sdt_8_384": _many_steps(spike_driven_transformer.sdt_8_384, 3, 64, 64, num_classes=10),
    "qkformer_10_384": _many_steps(qkformer.qkformer_10_384, 3, 64, 64, num_classes=10),
    "maxformer_10_384": _many_steps(maxformer.maxformer_10_384, 3, 64, 64, num_classes=10),
    "maxformer_cifar": _many_steps(maxformer.maxformer_cifar, 3, 32, 32, num_classes=10),
    "SNASNet": partial(_snas, "forward"),
    "SpikeDHS": _dhs,
}  # fmt: skip


# --- neurons, each between two linear layers -----------------------------------------------------------------------------


def _between(part: Callable[[], nn.Module], mode: str = "s", gain: float = 4.0) -> Maker:
    def make() -> Peer:
        net = nn.Sequential(
            strong(layer.Linear(10, 16), gain), part(), strong(layer.Linear(16, 5), gain), neuron.IFNode()
        ).eval()
        functional.set_step_mode(net, mode)
        x = counts(8, 2, 10)
        return Peer(net, x if mode == "m" else x[0], 0 if mode == "m" else None)

    return make


def _decay(core_x: Any, v: Any) -> tuple[Any, Any]:
    """A neuron of one's own for FlexSN: x, v -> spikes, v."""
    v = 0.5 * v + core_x
    s = surrogate.ATan()(v - 1.0)
    return s, v - s


NEURONS: dict[str, Maker] = {
    name: _between(partial(getattr(neuron, name), **options)) for name, options in {
        "IFNode": {}, "LIFNode": {"tau": 3.0}, "ParametricLIFNode": {"init_tau": 3.0}, "KLIFNode": {}, "QIFNode": {},
        "EIFNode": {}, "IzhikevichNode": {"a": 0.02, "b": 0.2}, "LIAFNode": {"act": torch.relu, "threshold_related": True},
        "CUBALIFNode": {}, "ComplementaryLIFNode": {}, "ILIFNode": {}, "RAFNode": {}, "SimpleIFNode": {},
        "SimpleLIFNode": {"tau": 2.0, "decay_input": True}, "ActivationAwareIFNode": {}, "HalfThresholdIFNode": {},
        "TernaryIFNode": {}, "TernaryLIFNode": {}, "STBIFNode": {"q_threshold": torch.tensor(1.0), "level": 8},
        "MPBNLIFNode": {"out_features": 16}, "OTTTLIFNode": {}, "SLTTLIFNode": {},
        "MaskedPSN": {"k": 2, "T": 8, "lambda_init": 1.0}, "SlidingPSN": {"k": 2},
    }.items()
} | {
    "DSRIFNode": _between(partial(neuron.DSRIFNode, T=8), "m"),
    "DSRLIFNode": _between(partial(neuron.DSRLIFNode, T=8), "m"),
    "GatedLIFNode": _between(partial(neuron.GatedLIFNode, T=8), "m"),
    "FlexSN": _between(partial(neuron.FlexSN, core=_decay, num_states=1), "m"),
}  # fmt: skip

MAKERS: dict[str, Maker] = {**NETWORKS, **NEURONS}
