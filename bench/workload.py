"""The networks that the benches measure, and their inputs.

gesture   the paper's Gesture network with random weights. A default-initialised network emits no spikes, and an engine that
          skips zeros would seem infinitely fast. So every layer is tuned to a rate like those of trained networks (6-12 %,
          which 2x2 max-pooling turns into 16-37 % for the next layer). The input is a blob that moves through noise, about
          2 % of it nonzero
trained   a network that others trained on DVS128 Gesture (SpikingJelly, IF neurons, 32 channels), with real recordings of
          gestures as input. These files may not be published with the project; they are used if they are found beside it
PATH      a model.pt, with the moving blob as input
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import plif_train
from plif_train.core.network.network import Network
from plif_train.hooks.scaled_to_fire.firing import tune_block

GESTURE = "dvs128-gesture"
GESTURE_WORKLOAD = "gesture"
RATES = (0.06, 0.10, 0.10, 0.10, 0.12, 0.12, 0.12)
SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
CHECKPOINT = SHARED / "checkpoints" / "spikingjelly_if_dvs128gesture_T16.pth"
CLIPS = SHARED / "dvs128_gesture_clips"
CHECKPOINT_NOTATION = "{c32k3s1-BN-IF-c32k2s2-BN-IF}*5-DP-FC128-IF-DP-FC110-IF-APk10s10"
CHECKPOINT_FRAMING = "duration:131072us,T=16,value=binary"  # what its authors trained it on
# by default glibc returns large blocks to the kernel and gets them again, which makes PyTorch up to six times slower
MALLOC = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 35)}


@dataclass
class Workload:
    """A network, its input x float32 [T, 1, C, H, W], and a description of each."""

    net: Network
    x: np.ndarray
    weights: str
    source: str


def workload(name: str, steps: int, seed: int = 1) -> Workload:
    """gesture, trained, or the path of a model.pt. Exits with a line when the recordings are not there."""
    if name == "trained":
        return _trained(steps)
    model = None if name == GESTURE_WORKLOAD else Path(name)
    net = network(model)
    words = "random weights, tuned to fire" if model is None else model.name
    return Workload(net, moving_blob(steps, 1, net.meta.shape, seed), words, "a blob that moves through noise")


def is_there(name: str) -> bool:
    return name != "trained" or (CHECKPOINT.is_file() and CLIPS.is_dir())


def _trained(steps: int) -> Workload:
    from plif_export.core.options import CallerFacts
    from plif_export.readers.state_dict.reader import read
    from runtime.core.events import make_frames, read_events

    if not is_there("trained"):
        sys.exit(
            f"bench: the trained network and the recordings of gestures are not on this machine ({SHARED.name}/data)"
        )
    caller = CallerFacts(network=CHECKPOINT_NOTATION, framing=CHECKPOINT_FRAMING, kind="events")
    net = read(CHECKPOINT, caller).reference.net.eval()
    clips = [
        make_frames(read_events(path), CHECKPOINT_FRAMING, net.meta.shape, (128, 128))
        for path in sorted(CLIPS.glob("*.bs2"))
    ]
    whole = [clip[:11] for clip in clips]  # 1.45 s each; the frames after these repeat the last one
    x = np.concatenate(whole)[:, None]
    x = np.concatenate([x] * -(-steps // len(x)))[:steps]
    return Workload(net, x, f"trained by others ({CHECKPOINT.stem})", f"{len(clips)} real recordings of gestures")


def with_malloc_settings() -> None:
    """Restart this process with a malloc that keeps freed memory, unless it does so already: the peers are faster then."""
    if sys.platform.startswith("linux") and any(os.environ.get(key) != value for key, value in MALLOC.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **MALLOC})


def moving_blob(T: int, streams: int = 1, shape: tuple[int, int, int] = (2, 128, 128), seed: int = 1) -> np.ndarray:
    """Event counts float32 [T, streams, C, H, W], whole numbers: a blob on a straight path, and background noise."""
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
    """Return a trained model, or the Gesture network with random weights, tuned to these firing rates.

    The last rate repeats.
    """
    if model is not None:
        return plif_train.load(model).eval()
    torch.manual_seed(seed)
    net = plif_train.build(GESTURE).eval()
    x = torch.from_numpy(moving_blob(12, 2, net.meta.shape, seed))
    generator = torch.Generator().manual_seed(seed)
    targets = [*rates, *[rates[-1]] * len(net.neurons())]
    block = []
    for named in net.named_layers:
        block.append(named)
        if named.op == "Neuron":
            x = tune_block(net, block, x, targets.pop(0), generator)
            block = []
    net.reset()
    return net


def neurons(net: Network) -> int:
    return sum(int(np.prod(named.out_shape)) for named in net.named_layers if named.op == "Neuron")


def operations(net: Network) -> int:
    """Operations of a dense step: two for each multiplication of an input by a weight."""
    macs = 0
    for named in net.named_layers:
        if named.op in ("Conv", "Linear"):
            weight = net.get_submodule(named.name).weight
            macs += int(weight[0].numel()) * int(np.prod(named.out_shape))
    return 2 * macs


def weights(net: Network) -> int:
    return sum(
        int(net.get_submodule(named.name).weight.numel())
        for named in net.named_layers
        if named.op in ("Conv", "Linear")
    )


def measured_rates(net: Network, x: np.ndarray) -> dict[str, float]:
    """{layer: share of neurons that fire per step}, from reset, on x float32 [T, B, C, H, W]."""
    sums: dict[str, list[float]] = {}
    net.reset()
    net.watch = lambda layer, s: sums.setdefault(layer, []).append(float(s.mean()))
    with torch.no_grad():
        for x_t in x:
            net.step(torch.from_numpy(x_t))
    net.watch = None
    net.reset()
    return {layer: round(float(np.mean(values)), 4) for layer, values in sums.items()}
