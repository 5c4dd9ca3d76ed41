"""Times one training step of plif and of SpikingJelly's multi-step mode: same network, number of weights, batch, semantics.

    python bench/train.py                                        Fashion-MNIST and N-MNIST on this machine's CPU
    python bench/train.py --presets all --device cuda --batch 64 --precision bf16

A step is forward, firing-rate MSE, backward, Adam, reset. Both sides run in one process with one allocator
(keep_freed_memory, which makes both faster), with statistics of batch normalisation over T x N, and in turn, so that
a busy machine slows both. `plif per-step` is the authors' batch normalisation, another algorithm, for comparison. The networks
have seen a few steps only, and some spike far more often than when they are trained: `spikes` is the share of the inputs of
plif's later convolutions that are not zero, on which its cost depends, and `--threshold 2`
makes it smaller, on both sides.

SpikingJelly's widths (512 hidden neurons for CIFAR10-DVS,
two dropouts for CIFAR-10, biases in fully connected layers) are used for both. Static images: plif computes the first
convolution once for all T, as the authors' code did; SpikingJelly's multi-step networks can only repeat it.

`floor` is dense convolutions and products alone, PyTorch's own, forward and backward, on tensors of the sizes that plif hands
to its layers, without neurons, normalisation, pooling and Adam.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plif_train import Network, build
from plif_train.core.loop.training import PRECISIONS
from plif_train.core.network.presets import PRESETS
from plif_train.hooks.training_kernels.allocator import keep_freed_memory

PEERS = {
    "mnist": "MNISTNet",
    "fashion-mnist": "FashionMNISTNet",
    "cifar10": "CIFAR10Net",
    "nmnist": "NMNISTNet",
    "cifar10-dvs": "CIFAR10DVSNet",
    "dvs128-gesture": "DVSGestureNet",
}
BATCH = {
    "cifar10-dvs": 4,
    "dvs128-gesture": 4,
}  # so that both sides fit into 24 GB; the other sets take the authors' 16
Step = Callable[[], float]


def plif_network(name: str, x: Tensor, bn: str, threshold: float, pool: str) -> Network:
    net = build(f"{name}:paper", bias="fc", v_threshold=threshold, pool=pool).to(x.device).train()
    net.bn = bn
    return net


def spikes_in(net: Network, step: Step) -> float:
    """Return the share of non-zero inputs of all convolutions but the first, in one step."""
    seen, all_of_them = 0, 0

    def look(_: nn.Module, inputs: tuple[Tensor]) -> None:
        nonlocal seen, all_of_them
        seen += int(inputs[0].count_nonzero())
        all_of_them += inputs[0].numel()

    later = [module for module in net.children() if isinstance(module, nn.Conv2d)][1:]
    hooks = [module.register_forward_pre_hook(look) for module in later]
    step()
    for hook in hooks:
        hook.remove()
    return seen / all_of_them


def spikingjelly_step(
    name: str, x: Tensor, y: Tensor, dtype: torch.dtype | None, threshold: float, pool: str
) -> tuple[Step, int]:
    from spikingjelly.activation_based import functional, layer, neuron, surrogate
    from spikingjelly.activation_based.model import parametric_lif_net

    net = getattr(parametric_lif_net, PEERS[name])(
        spiking_neuron=neuron.ParametricLIFNode, surrogate_function=surrogate.ATan(), detach_reset=True,
        v_threshold=threshold,
    )  # fmt: skip
    for place, module in enumerate(net.conv_fc):
        if pool == "AP" and isinstance(module, nn.MaxPool2d):
            net.conv_fc[place] = layer.AvgPool2d(module.kernel_size, module.stride)
    net = net.to(x.device).train()
    functional.set_step_mode(net, "m")
    sequence = x if x.dim() == 5 else x.expand(PRESETS[name].meta.T, *x.shape)
    return _stepper(net, lambda: functional.reset_net(net), sequence, y, dtype)


def floor_step(name: str, x: Tensor, dtype: torch.dtype | None) -> tuple[Step, int]:
    net = build(f"{name}:paper", bias="fc")
    batch = len(x) if net.meta.kind == "static" else x.shape[1]
    images, before = batch * (1 if net.meta.kind == "static" else net.T), net.meta.shape
    bare: list[tuple[nn.Module, Tensor]] = []
    for named in net.named_layers:
        module = net.get_submodule(named.name)
        if named.op in ("Conv", "Linear"):
            first = not bare  # nothing learns before it, so its input needs no gradient
            spikes = torch.bernoulli(torch.full((images, *before), 0.1)).to(x.device).requires_grad_(not first)
            bare.append((_bare(module).to(x.device), spikes))
        elif named.op == "Neuron":
            images = batch * net.T
        before = named.out_shape

    def step() -> float:
        begun = time.perf_counter()
        for module, spikes in bare:
            spikes.grad = None
            module.zero_grad(set_to_none=True)
            with torch.autocast(x.device.type, dtype=dtype, enabled=dtype is not None):
                out = module(spikes)
            out.backward(torch.ones_like(out))
        if x.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - begun

    return step, sum(p.numel() for module, _ in bare for p in module.parameters())


def _bare(module: nn.Module) -> nn.Module:
    """PyTorch's own layer of the same sizes."""
    bias = module.bias is not None
    if isinstance(module, nn.Conv2d):
        sizes = (module.in_channels, module.out_channels, module.kernel_size, module.stride, module.padding)
        return nn.Conv2d(*sizes, bias=bias)  # type: ignore[arg-type]
    assert isinstance(module, nn.Linear)
    return nn.Linear(module.in_features, module.out_features, bias=bias)


def _stepper(
    net: nn.Module, reset: Callable[[], None], x: Tensor, y: Tensor, dtype: torch.dtype | None
) -> tuple[Step, int]:
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
    cuda = x.device.type == "cuda"

    def step() -> float:
        if cuda:
            torch.cuda.synchronize()
        begun = time.perf_counter()
        reset()
        with torch.autocast(x.device.type, dtype=dtype, enabled=dtype is not None):
            out = net(x)
        loss = F.mse_loss(out.float().mean(0), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - begun

    return step, sum(p.numel() for p in net.parameters())


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    meta = PRESETS[name].meta
    torch.manual_seed(0)
    batch = options.batch or BATCH.get(name, 16)
    shape = (batch, *meta.shape) if meta.kind == "static" else (meta.T, batch, *meta.shape)
    x = torch.rand(shape) if meta.kind == "static" else torch.poisson(torch.full(shape, 0.3))
    x = x.to(options.device)
    y = F.one_hot(torch.arange(batch) % len(meta.classes), len(meta.classes)).float().to(options.device)
    dtype = PRECISIONS[options.precision]
    threshold, pool = options.threshold, options.pool
    joint, per_step = (plif_network(name, x, bn, threshold, pool) for bn in ("joint", "per-step"))
    sides = {
        "plif": _stepper(joint, joint.reset, x, y, dtype),
        "plif per-step": _stepper(per_step, per_step.reset, x, y, dtype),
        "spikingjelly": spikingjelly_step(name, x, y, dtype, threshold, pool),
        "floor": floor_step(name, x, dtype),
    }
    assert sides["plif"][1] == sides["spikingjelly"][1], "the two networks differ in size"
    for step, _ in sides.values():  # the second step still allocates memory that the first one did not need
        for _ in range(3):
            step()
    share = spikes_in(joint, sides["plif"][0])
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(options.rounds):
        for side, (step, _) in sides.items():
            seconds[side].append(step())
    medians = {side: statistics.median(times) for side, times in seconds.items()}

    def ratio(one: str, other: str) -> float:  # of each round, which a busy machine slows as a whole
        return statistics.median([a / b for a, b in zip(seconds[one], seconds[other], strict=True)])

    return {
        "preset": name,
        "batch": batch,
        "precision": options.precision,
        "threshold": threshold,
        "pool": pool,
        "spikes": share,
        "parameters": sides["plif"][1],
        "median_s": medians,
        "faster": ratio("spikingjelly", "plif"),
        "of_floor": ratio("plif", "floor"),
        "per_step_of_floor": ratio("plif per-step", "floor"),
        "rounds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", default="fashion-mnist,nmnist", help="names, or all")
    parser.add_argument("--batch", type=int, help="16, or 4 where a sample is large")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=list(PRECISIONS), default="fp32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threshold", type=float, default=1.0, help="of all neurons; a higher one, fewer spikes")
    parser.add_argument("--pool", choices=("MP", "AP"), default="MP", help="max- or average pooling")
    parser.add_argument("--threads", type=int, default=0, help="of the CPU; default: PyTorch's choice")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    kept = keep_freed_memory()
    if options.threads:
        torch.set_num_threads(options.threads)
    cuda = options.device.startswith("cuda")
    where = (
        torch.cuda.get_device_name(options.device)
        if cuda
        else f"{platform.machine()}, {torch.get_num_threads()} threads"
    )
    names = list(PRESETS) if options.presets == "all" else options.presets.split(",")
    rows = []
    if not options.json:
        print(f"{where}, PyTorch {torch.__version__}, {options.precision}, memory kept: {kept}")
        heads = f"{'preset':<16}{'batch':>6}{'plif':>9}{'per-step BN':>13}{'SpikingJelly':>14}{'faster':>8}"
        print(f"{heads}{'floor':>9}{'plif/floor':>12}{'per-step/floor':>16}{'spikes':>8}")
    for name in names:
        row = measure(name, options)
        rows.append(row)
        if not options.json:
            a, b, c, d = (row["median_s"][side] for side in ("plif", "plif per-step", "spikingjelly", "floor"))
            line = f"{name:<16}{row['batch']:>6}{a:>7.3f} s{b:>11.3f} s{c:>12.3f} s{row['faster']:>7.2f}x"
            ratios = f"{row['of_floor']:>11.2f}x{row['per_step_of_floor']:>15.2f}x"
            print(f"{line}{d:>7.3f} s{ratios}{row['spikes']:>8.1%}", flush=True)
    if options.json:
        threads = None if cuda else torch.get_num_threads()
        json.dump(
            {"where": where, "threads": threads, "torch": torch.__version__, "memory_kept": kept, "rows": rows},
            sys.stdout,
        )
        print()


if __name__ == "__main__":
    main()
