"""Random networks that fire in every layer, for tests that want breadth: layers, pools, kernels, neurons and options drawn.

`random_network(seed, hard, tau)` is the same network each time: its structure comes from the seed alone, so that the four
variants of one seed (hard or soft reset, one tau a layer or one a channel) differ in nothing else.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import plif_train
from plif_train.core.network.network import Network
from runtime.core.base.errors import PlifError
from tests.networks import scaled

SEEDS = 20
TRIES = 30


def random_network(seed: int, hard: bool, tau: str, T: int = 4) -> Network:
    """hard: hard reset, to a drawn v_reset; else soft. tau: "layer" or "channel". Each layer fires in 2-30 %."""
    for attempt in range(TRIES):
        rng = np.random.default_rng((seed, attempt))
        notation, options = structure(rng)
        if not hard:
            options["v_reset"] = None
        try:
            return scaled(plif_train.build(notation, T=T, tau=tau, **options), seed)
        except (PlifError, AssertionError):  # a map pooled away, or a layer that no scale makes fire: draw again
            continue
    raise AssertionError(f"seed {seed}: no network that fires in {TRIES} draws")


def structure(rng: np.random.Generator) -> tuple[str, dict[str, Any]]:
    """A notation string and the options that stand beside it."""
    layers, kernels = [], (1, 2, 3, 5)
    bias = bool(rng.integers(2))
    for _ in range(rng.integers(1, 4)):
        conv = f"c{rng.integers(3, 10)}k{rng.choice(kernels)}s{rng.choice((1, 1, 2))}"
        norm = ["BN"] if rng.integers(4) else []
        pool = [f"{rng.choice(('MP', 'AP'))}k2s2"] if rng.integers(2) else []
        spikes = [str(rng.choice(("PLIF", "PLIF", "PLIF", "LIF", "IF")))]
        pooled_current = rng.integers(4) == 0  # a pool between convolution and neuron instead of after it
        layers += [conv, *norm, *(pool + spikes if pooled_current else spikes + pool)]
    if rng.integers(2):
        layers += ["DP", f"FC{rng.integers(8, 40)}", "PLIF"]
    classes = int(rng.integers(2, 5))
    voters = int(rng.integers(2, 6))
    vote = [f"APk{voters}s{voters}"] if rng.integers(4) else []
    layers += [f"FC{classes * voters if vote else classes}", "PLIF", *vote]
    size = int(rng.integers(8, 14))
    options = {
        "shape": (int(rng.integers(1, 4)), size, size + int(rng.integers(0, 3))),
        "classes": tuple("abcd"[:classes]),
        "bias": bias,
        "v_threshold": float(rng.choice((1.0, 1.0, 0.5))),
        "v_reset": float(rng.choice((0.0, 0.0, -0.25, 0.125))),
        "decay_input": bool(rng.integers(4)),
    }
    return "-".join(layers), options
