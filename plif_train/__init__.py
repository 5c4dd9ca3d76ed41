"""Training of networks of IF, LIF and PLIF neurons in PyTorch.

    core/network   neuron: the equations; network: a notation string as a torch module; presets: the six networks of the
                   paper; losses, surrogate gradients, batch normalisation
    core/data      sets: the samples of a split in memory
    core/recipe    the keys of a recipe, and its files (recipes/)
    core/loop      job: one training, of epochs (training); checkpoint: model.pt
    core/api       train: `plif train` as a function;  core/cli: the command
    hooks          parts that change a training: windows of recordings, mixtures, augmentation, the cache, kernels
    commands       the paper's rows and the authors' logs; the paper's figures of trained models
    engines        a model.pt as an engine of the runtime

The names below are imported on first use: the command line lists this package's commands without loading torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import runtime  # noqa: F401  # first: it switches off the telemetry of libraries (runtime/core/base/telemetry.py)
from runtime.core.parts import load_from_parts

if TYPE_CHECKING:
    from plif_train.core.api import train
    from plif_train.core.data.sets import Samples, load_samples
    from plif_train.core.loop.checkpoint import load, save
    from plif_train.core.network.network import Network, Options
    from plif_train.core.network.presets import build
    from plif_train.core.recipe import Recipe

_MODULE_OF = {
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

# The commands of the core: (name, function, help); runtime/__init__.py has the same table
COMMANDS = (
    (
        "train", "core.cli:train",
        "Train a network and keep its best epoch. Ctrl-C is safe: run the same command with --resume.",
    ),
)  # fmt: skip
REQUIRES, EXTRA = ("torch",), "train"

__all__ = ["Network", "Options", "Recipe", "Samples", "build", "load", "load_samples", "save", "train"]


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(import_module(f"plif_train.core.{_MODULE_OF[name]}"), name)
    if (value := load_from_parts("hooks", name)) is not None:
        return value
    raise AttributeError(f"module 'plif_train' has no attribute '{name}'")
