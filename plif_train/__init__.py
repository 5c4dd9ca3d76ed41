"""Training networks of IF, LIF and PLIF neurons in PyTorch.

    neuron      the equations
    network     a notation string as a torch module; Options
    presets     the six networks of the paper; build
    checkpoint  model.pt: save, load
    recipe      how to train, as numbers; losses, surrogate, batchnorm, augment belong to it
    api         train: `plif train` as a function
    training    the loop; data, gather, cache, evaluate, log, resume and parallel belong to it
    encoders    the supplement's encoders of a pixel
    figures     the paper's figures of one's own models
    firing      random networks in which every layer fires, for tests and measurements
    cli         plif train, plif figures; network_choice reads its options, job is one training

The names below are imported when first used: the command line lists this package's commands without loading torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import runtime  # noqa: F401  # first: it switches off what libraries would report (runtime/base/telemetry.py)

if TYPE_CHECKING:
    from plif_train.api import train
    from plif_train.checkpoint import load, save
    from plif_train.data import Samples, load_samples
    from plif_train.firing import scale_to_fire
    from plif_train.network import Network, Options
    from plif_train.presets import build
    from plif_train.recipe import Recipe

_HOME = {
    "build": "presets",
    "load": "checkpoint",
    "save": "checkpoint",
    "Network": "network",
    "Options": "network",
    "Recipe": "recipe",
    "Samples": "data",
    "load_samples": "data",
    "scale_to_fire": "firing",
    "train": "api",
}

__all__ = ["Network", "Options", "Recipe", "Samples", "build", "load", "load_samples", "save", "scale_to_fire", "train"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"plif_train.{_HOME[name]}"), name)
    raise AttributeError(f"module 'plif_train' has no attribute '{name}'")
