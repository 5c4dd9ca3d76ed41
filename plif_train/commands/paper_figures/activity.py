"""Spikes of the first spiking layer, S_t(c), and its firing rates F_Ts(c) = 1/T_s sum_{t < T_s} S_t(c).

(The supplement counts layers so that the first PLIF layer is n = 2.)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from plif_train.commands.paper_figures.draw import MissingData
from plif_train.core.network.network import Network
from runtime.core.engines.tensors import spiking_layers
from runtime.core.model.card import read_card
from runtime.observers.evaluation_report.activity import record_layer_spikes


@dataclass
class FirstLayerSpikes:
    """The spikes [T, N, C', H', W'] of the first layer of a network, and its input x [T, N, C, H, W].

    Both are cut to T_s steps.
    """

    x: np.ndarray
    spikes: np.ndarray
    names: list[str]  # of the samples
    layer: str

    @property
    def rates(self) -> np.ndarray:
        """The firing rates of a network's first layer, averaged over the time-steps, [N, C', H', W']."""
        return self.spikes.mean(0)

    @property
    def steps(self) -> int:
        return len(self.spikes)


@torch.no_grad()
def record_spikes(net: Network, x: np.ndarray, names: list[str], steps: int | None = None) -> FirstLayerSpikes:
    """Record the spikes of a network's first layer on samples x [N, T, C, H, W] or [N, C, H, W].

    Raises MissingData when the first layer has no maps or is silent.
    """
    recorded: list[torch.Tensor] = []
    first = next(iter(net.neurons()))
    batch = torch.from_numpy(x).float()
    with net.watch_spikes(lambda layer, spikes: recorded.append(spikes) if layer == first else None):
        net(batch.transpose(0, 1) if batch.dim() == 5 else batch)
    return _select_steps(recorded[0].numpy(), first, x, names, steps)


def record_artifact_spikes(path: Path, x: np.ndarray, names: list[str], steps: int | None = None) -> FirstLayerSpikes:
    """Record the first layer's spikes of an exported ONNX artifact (one step a call) on x [N, T, C, H, W].

    Static samples are x [N, C, H, W].
    """
    first = next(iter(spiking_layers(read_card(path))))
    return _select_steps(record_layer_spikes(path, first, x).astype(np.float32), first, x, names, steps)


def _select_steps(
    spikes: np.ndarray, first: str, x: np.ndarray, names: list[str], steps: int | None
) -> FirstLayerSpikes:
    if spikes.ndim != 5:
        raise MissingData(f"layer {first} is fully connected and has no maps to draw")
    if not spikes.any():
        raise MissingData(f"layer {first} does not fire on these samples: is the model trained, and on such data?")
    frames = x.swapaxes(0, 1) if x.ndim == 5 else np.broadcast_to(x, (len(spikes), *x.shape))
    T_s = len(spikes) if steps is None else min(steps, len(spikes))
    return FirstLayerSpikes(frames[:T_s], spikes[:T_s], names, first)


def choose_channels(activity: FirstLayerSpikes, count: int = 3) -> tuple[int, ...]:
    """Choose the channels that a figure shows: two that follow the input's edges, and those that tell samples apart.

    edge-like    correlation over pixels of F(c) with the size of the gradient of the mean input, averaged over samples
    selective    standard deviation over samples of the mean rate, against its mean
    """
    rates = activity.rates  # [N, C, H, W]
    picture = np.abs(activity.x).mean((0, 2))  # [N, H, W]
    gy, gx = np.gradient(picture, axis=(1, 2))
    edges = _centre(_resize(np.hypot(gx, gy), rates.shape[2:]))[:, None]
    flat = _centre(rates)
    norms = np.sqrt((flat**2).sum((2, 3)) * (edges**2).sum((2, 3)))
    edge_like = ((flat * edges).sum((2, 3)) / np.maximum(norms, 1e-12)).mean(0)  # [C]
    means = rates.mean((2, 3))
    selective = means.std(0) / np.maximum(means.mean(0), 1e-12)
    selective[means.mean(0) < np.median(means.mean(0))] = 0  # a channel that hardly fires is selective by chance
    best = list(np.argsort(-edge_like, kind="stable")[: min(2, count)])
    best += [c for c in np.argsort(-selective, kind="stable") if c not in best][: count - len(best)]
    return tuple(int(c) for c in best)


def _centre(maps: np.ndarray) -> np.ndarray:
    return maps - maps.mean((-2, -1), keepdims=True)


def _resize(maps: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Resize images or maps [N, H, W] to `size` by taking the nearest pixel.

    A first layer with a stride has smaller maps than its input.
    """
    rows = np.arange(size[0]) * maps.shape[1] // size[0]
    columns = np.arange(size[1]) * maps.shape[2] // size[1]
    return maps[:, rows][:, :, columns]
