"""Small random networks in which every layer fires, for tests of export and runtime.

A network at PyTorch's default initialisation emits no spikes, and a comparison of nothing with nothing always passes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import plif_train
from plif_train.core.network.network import Network
from runtime.core.engines.session import Session
from runtime.core.events.stimulus import make_event_frames, make_images

SMALL = "{c8k3s1-BN-PLIF-MPk2s2}*2-DP-FC40-PLIF-DP-FC30-PLIF-APk10s10"
TEN_CLASSES = SMALL.replace("FC30", "FC100")


def firing(notation: str = SMALL, shape: tuple[int, int, int] = (2, 16, 16), seed: int = 0, **options: Any) -> Network:
    """A network of this notation on events, scaled so that each layer fires in 2-30 % of its neuron-steps."""
    torch.manual_seed(seed)
    options = {"T": 5, "classes": ("a", "b", "c"), "framing": "count:T=5", **options}
    net = plif_train.build(notation, shape=shape, **options)
    return scaled(net, seed)


def digits_network(framing: str = "duration:20ms", **options: Any) -> Network:
    """`firing` for the ten digits on 34 x 34 pixels: what `sim:digits` and recordings of N-MNIST show."""
    options = {"T": 8, "classes": tuple("0123456789"), "framing": framing, **options}
    return firing(TEN_CLASSES, (2, 34, 34), **options)


def scaled(net: Network, seed: int = 0) -> Network:
    rng = np.random.default_rng(seed)
    rates = plif_train.scale_to_fire(net, torch.from_numpy(frames(net, rng)), seed=seed)
    assert all(0.02 <= rate <= 0.30 for rate in rates.values()), rates
    return net.eval()


def frames(net: Network, rng: np.random.Generator, T: int = 6, streams: int = 2) -> np.ndarray:
    """Input for a network: float32 [T, streams, C, H, W]."""
    shape = net.meta.shape
    if net.meta.kind == "static":
        image = make_images(streams, shape, net.normalisation, rng)
        return np.broadcast_to(image, (T, *image.shape)).copy()
    return make_event_frames(T, streams, shape, None, rng)


def same_steps(session: Session, expected: Session, x: np.ndarray) -> list[np.ndarray]:
    """Steps two sessions of three streams over frames x [10, 3, C, H, W], with a reset and a step of two streams between; asserts
    equal outputs, and gives the session's membranes as they were before the last four steps."""
    y = session.run(x[:5])
    assert y.sum() > 1
    np.testing.assert_array_equal(y, expected.run(x[:5]))
    for both in (session, expected):
        both.reset(rows=[1])
        both.step(x[5, [0, 2]], rows=[0, 2])
    snapshot = session.snapshot()
    np.testing.assert_array_equal(session.run(x[6:]), expected.run(x[6:]))
    return snapshot
