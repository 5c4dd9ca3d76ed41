"""The network and the input that bench/step.py and bench/density.py measure on: the paper's Gesture network, firing.

A default-initialised network emits no spikes, and an engine that skips zeros would look infinitely fast. Here every layer is
tuned to a rate like those of trained networks (6-12 %, which 2x2 max-pooling turns into 16-37 % for the next layer), on a
blob that moves through noise: about 2 % of the input is nonzero. Random weights all the same; `--model` takes trained ones.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

import plif_train
from plif_train.firing import _tune_block
from plif_train.network import Network

GESTURE = "dvs128-gesture"
RATES = (0.06, 0.10, 0.10, 0.10, 0.12, 0.12, 0.12)
PACKAGES = ("plif", "torch", "onnxruntime", "spikingjelly", "numpy")


def moving_blob(T: int, streams: int = 1, shape: tuple[int, int, int] = (2, 128, 128), seed: int = 1) -> np.ndarray:
    """Frames [T, streams, C, H, W] of whole event counts: a blob on a straight path, and background noise."""
    rng = np.random.default_rng(seed)
    c, h, w = shape
    y, x = np.mgrid[0:h, 0:w] * 1.0
    frames = np.zeros((T, streams, c, h, w), np.float32)
    for b in range(streams):
        at, speed = rng.uniform(0.27, 0.7, 2) * (h, w), rng.uniform(-2, 2, 2) * h / 128
        for t in range(T):
            distance = (y - at[0] - speed[0] * t) ** 2 + (x - at[1] - speed[1] * t) ** 2
            p = 0.005 + 0.16 * np.exp(-distance / (2 * (15.0 * h / 128) ** 2))
            frames[t, b] = (rng.random((c, h, w)) < p) * (1 + rng.poisson(0.6, (c, h, w)))
    return frames


@torch.no_grad()
def network(model: str | Path | None = None, rates: Sequence[float] = RATES, seed: int = 0) -> Network:
    """A trained model, or the Gesture network with random weights tuned to these firing rates (last one repeats)."""
    if model is not None:
        return plif_train.load(model).eval()
    torch.manual_seed(seed)
    net = plif_train.build(GESTURE).eval()
    x = torch.from_numpy(moving_blob(12, 2, net.meta.shape, seed))
    generator = torch.Generator().manual_seed(seed)
    targets = [*rates, *[rates[-1]] * len(net.neurons())]
    block = []
    for step in net.plan:
        block.append(step)
        if step.op == "Neuron":
            x = _tune_block(net, block, x, targets.pop(0), generator)
            block = []
    net.reset()
    return net


def measured_rates(net: Network, x: np.ndarray) -> dict[str, float]:
    """Share of neurons that fire per step, layer by layer, from reset on x [T, B, C, H, W]."""
    sums: dict[str, list[float]] = {}
    net.reset()
    net.watch = lambda layer, s: sums.setdefault(layer, []).append(float(s.mean()))
    with torch.no_grad():
        for x_t in x:
            net.step(torch.from_numpy(x_t))
    net.watch = None
    net.reset()
    return {layer: round(float(np.mean(values)), 4) for layer, values in sums.items()}


def machine() -> dict[str, str | int]:
    """What the numbers were measured on."""
    from runtime import native

    about: dict[str, str | int] = {
        "processor": platform.processor() or platform.machine(),
        "cores": torch.get_num_threads(),
    }
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                about["processor"] = line.split(":", 1)[1].strip()
            if line.startswith("flags"):
                flags = line.split(":", 1)[1].split()
                about["features"] = " ".join(f for f in flags if f.startswith(("avx", "amx", "fma")))
                break
    except OSError:
        pass
    about["event_path"] = native.paths()[-1] if native.is_built() else "not built"
    for package in PACKAGES:
        try:
            about[package] = version(package)
        except PackageNotFoundError:
            about[package] = "not installed"
    return about
