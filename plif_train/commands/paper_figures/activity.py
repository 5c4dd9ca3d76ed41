"""The spikes of the first spiking layer, S_t(c), and its firing rates F_Ts(c) = 1/T_s sum_{t < T_s} S_t(c).

(The supplement counts layers so that the first PLIF layer is n = 2.)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from plif_train.commands.paper_figures.draw import MissingPart
from plif_train.core.network.network import Network
from runtime.core.engines.tensors import spiking_layers
from runtime.core.model.card import read_card
from runtime.observers.evaluation_report.activity import watch_layer


@dataclass
class FirstLayerSpikes:
    """x [T, N, C, H, W] as the network saw it, spikes [T, N, C', H', W'] of its first layer; both cut to T_s steps."""

    x: np.ndarray
    spikes: np.ndarray
    names: list[str]  # of the samples
    layer: str

    @property
    def rates(self) -> np.ndarray:
        """F_Ts, [N, C', H', W']."""
        return self.spikes.mean(0)

    @property
    def steps(self) -> int:
        return len(self.spikes)


@torch.no_grad()
def record(net: Network, x: np.ndarray, names: list[str], steps: int | None = None) -> FirstLayerSpikes:
    """Runs samples x [N, T, C, H, W] or [N, C, H, W] from reset. MissingPart when the first layer has no maps or is silent."""
    seen: list[torch.Tensor] = []
    first = next(iter(net.neurons()))
    batch = torch.from_numpy(x).float()
    with net.watched(lambda layer, spikes: seen.append(spikes) if layer == first else None):
        net(batch.transpose(0, 1) if batch.dim() == 5 else batch)
    return _activity(seen[0].numpy(), first, x, names, steps)


def record_artifact(path: Path, x: np.ndarray, names: list[str], steps: int | None = None) -> FirstLayerSpikes:
    """The same of an exported network: an ONNX artifact in the step form."""
    first = next(iter(spiking_layers(read_card(path))))
    return _activity(watch_layer(path, first, x).astype(np.float32), first, x, names, steps)


def _activity(spikes: np.ndarray, first: str, x: np.ndarray, names: list[str], steps: int | None) -> FirstLayerSpikes:
    if spikes.ndim != 5:
        raise MissingPart(f"layer {first} is fully connected and has no maps to draw")
    if not spikes.any():
        raise MissingPart(f"layer {first} does not fire on these samples: is the model trained, and on such data?")
    frames = x.swapaxes(0, 1) if x.ndim == 5 else np.broadcast_to(x, (len(spikes), *x.shape))
    T_s = len(spikes) if steps is None else min(steps, len(spikes))
    return FirstLayerSpikes(frames[:T_s], spikes[:T_s], names, first)


def choose(activity: FirstLayerSpikes, count: int = 3) -> tuple[int, ...]:
    """The two channels whose rates follow the edges of the input most closely, and those that tell samples apart most.

    edge-like   correlation over pixels of F(c) with the size of the gradient of the mean input, averaged over samples
    selective   standard deviation over samples of the mean rate, against its mean
    """
    rates = activity.rates  # [N, C, H, W]
    picture = np.abs(activity.x).mean((0, 2))  # [N, H, W]
    gy, gx = np.gradient(picture, axis=(1, 2))
    edges = _centred(_resized(np.hypot(gx, gy), rates.shape[2:]))[:, None]
    flat = _centred(rates)
    norms = np.sqrt((flat**2).sum((2, 3)) * (edges**2).sum((2, 3)))
    edge_like = ((flat * edges).sum((2, 3)) / np.maximum(norms, 1e-12)).mean(0)  # [C]
    means = rates.mean((2, 3))
    selective = means.std(0) / np.maximum(means.mean(0), 1e-12)
    selective[means.mean(0) < np.median(means.mean(0))] = 0  # a channel that hardly fires is selective by chance
    best = list(np.argsort(-edge_like, kind="stable")[: min(2, count)])
    best += [c for c in np.argsort(-selective, kind="stable") if c not in best][: count - len(best)]
    return tuple(int(c) for c in best)


def _centred(maps: np.ndarray) -> np.ndarray:
    return maps - maps.mean((-2, -1), keepdims=True)


def _resized(maps: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Nearest pixel: a first layer with a stride has smaller maps than its input."""
    rows = np.arange(size[0]) * maps.shape[1] // size[0]
    columns = np.arange(size[1]) * maps.shape[2] // size[1]
    return maps[:, rows][:, :, columns]
