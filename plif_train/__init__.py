"""Training networks of IF, LIF and PLIF neurons in PyTorch.

    network   neuron: the equations; network: a notation string as a torch module; presets: the six networks of the paper;
              losses, surrogate gradients, batch normalisation
    data      sets in memory, windows of recordings, what varies them, mixtures, the cache
    recipe    how to train: the keys of a recipe, and its files (recipes/)
    loop      job: one training, of epochs (training); checkpoint: model.pt
    paper     the paper's rows and the authors' logs;  figures: the paper's figures of one's own models
    api       train: `plif train` as a function;  cli: the command;  engine: a model.pt as an engine of the runtime

The names below are imported when first used: the command line lists this package's commands without loading torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import runtime  # noqa: F401  # first: it switches off what libraries would report (runtime/core/base/telemetry.py)
from runtime.core.parts import given_by_parts

if TYPE_CHECKING:
    from plif_train.core.api import train
    from plif_train.core.data.sets import Samples, load_samples
    from plif_train.core.loop.checkpoint import load, save
    from plif_train.core.network.network import Network, Options
    from plif_train.core.network.presets import build
    from plif_train.core.recipe import Recipe

_HOME = {
    "build": "network.presets",
    "load": "loop.checkpoint",
    "save": "loop.checkpoint",
    "Network": "network.network",
    "Options": "network.network",
    "Recipe": "recipe",
    "Samples": "data.sets",
    "load_samples": "data.sets",
    "train": "api",
}

# The commands of the core, as in runtime/__init__.py
COMMANDS = (
    (
        "train", "core.cli:train",
        "Train a network and keep its best epoch. Ctrl-C is safe: run the same command with --resume.",
    ),
)  # fmt: skip
REQUIRES, EXTRA = ("torch",), "train"

__all__ = ["Network", "Options", "Recipe", "Samples", "build", "load", "load_samples", "save", "train"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"plif_train.core.{_HOME[name]}"), name)
    if (found := given_by_parts("hooks", name)) is not None:
        return found
    raise AttributeError(f"module 'plif_train' has no attribute '{name}'")
