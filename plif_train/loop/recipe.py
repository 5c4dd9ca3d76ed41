"""How a network is trained, as numbers: what the command line asks for and a model's card records.

The authors' code and the paper's text are not the same recipe; RECIPES has what they differ in. The published accuracies
came from the code, as the authors' logs show, so that is the default.

    authors   rate-mse; MNIST turned, moved and scaled, CIFAR-10 cropped and mirrored
    paper     step-mse (section 3.7); MNIST and CIFAR-10 cropped and mirrored (supplement, section 5)
    live      ours, for networks that answer at every step of a stream: step-mse; recordings cut, moved, thickened, thinned
              out, with noise (augment.random_shift_drop)

All: Adam, lr 1e-3, batches of 16, a cosine stepped once per epoch (the authors' T_max 64 with --t-max 64, else the number
of epochs), statistics of BN per time-step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from plif_train.data.augment import random_affine, random_crop_flip, random_shift_drop
from plif_train.network.layers import MODES
from plif_train.network.losses import LOSSES
from runtime.base.errors import PlifError

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Method:
    """What a named recipe has besides numbers: its loss, and the augmentation of each data set by name."""

    loss: str
    augmentation: Mapping[str, Callable[[Tensor], Tensor]]

    def augments(self, data: str, varied: bool) -> Callable[[Tensor], Tensor] | None:
        """The augmentation of NAME:DIR, where there is one; sets that are `varied` as events (--vary) have none."""
        return None if varied else self.augmentation.get(data.partition(":")[0])


RECIPES: dict[str, Method] = {
    "authors": Method("rate-mse", {"mnist": random_affine, "cifar10": random_crop_flip}),
    "paper": Method("step-mse", {"mnist": random_crop_flip, "cifar10": random_crop_flip}),
    "live": Method("step-mse", dict.fromkeys(("dvs128-gesture", "cifar10-dvs", "folder"), random_shift_drop)),
}


def method_named(name: str) -> Method:
    """PlifError names the others."""
    if name not in RECIPES:
        raise PlifError(f"recipe '{name}' is not known, expected {' or '.join(RECIPES)}")
    return RECIPES[name]


@dataclass(frozen=True)
class Recipe:
    """How to train.

    t_max         half period of the cosine, in epochs; None is the number of epochs
    protocol      "A": keep the epoch with the best test accuracy; "B": the best on 15 % of each class held back;
                  "C": keep the last epoch, whatever the test says
    precision     "fp32", or autocast to "bf16" or "fp16" (membranes stay float32)
    loss          a name of plif_train.network.losses
    bn            "per-step", "joint" or "frozen" (plif_train.network.layers)
    rate_penalty  times the firing rate, averaged over layers, is added to the loss: fewer spikes for less accuracy
    accumulate    the number of parts in which each batch is computed, in less memory (BN sees parts, not batches)
    patience      stop after this many epochs without a better accuracy; None never stops early
    clip_norm     a gradient that is longer is shortened to this length; None: never
    bias_limit    folded biases are kept at or below it after each step (plif_train.loop.projection); None: they are free
    compile       torch.compile fuses a neuron layer's T steps; where the native kernels run (CPU) there is nothing to gain
    """

    epochs: int = 64
    batch_size: int = 16
    lr: float = 1e-3
    t_max: int | None = None
    seed: int = 2020
    protocol: str = "A"
    precision: str = "fp32"
    device: str = "cpu"
    loss: str = "rate-mse"
    bn: str = "per-step"
    rate_penalty: float = 0.0
    accumulate: int = 1
    patience: int | None = None
    compile: bool = False
    clip_norm: float | None = None
    bias_limit: float | None = None

    def __post_init__(self) -> None:
        rules = [
            ("epochs", self.epochs >= 1, "at least 1"),
            ("batch size", self.batch_size >= 1, "at least 1"),
            ("lr", 0 < self.lr < math.inf, "a positive number"),
            ("t-max", self.t_max is None or self.t_max >= 1, "at least 1"),
            ("seed", 0 <= self.seed < 2**31, "0 to 2147483647"),
            ("protocol", self.protocol in ("A", "B", "C"), "A, B or C"),
            ("precision", self.precision in PRECISIONS, ", ".join(PRECISIONS)),
            ("loss", self.loss in LOSSES, ", ".join(LOSSES)),
            ("bn", self.bn in MODES, ", ".join(MODES)),
            ("rate penalty", 0 <= self.rate_penalty < math.inf, "0 or a positive number"),
            ("accumulate", 1 <= self.accumulate <= self.batch_size, "1 to the batch size"),
            ("clip norm", self.clip_norm is None or 0 < self.clip_norm < math.inf, "a positive number"),
            ("bias limit", self.bias_limit is None or 0 < self.bias_limit < math.inf, "a positive number"),
            ("patience", self.patience is None or self.patience >= 1, "at least 1"),
        ]
        for name, holds, expected in rules:
            if not holds:
                found = getattr(self, name.replace(" ", "_").replace("-", "_"))
                raise PlifError(f"{name} {found}: expected {expected}")
        if self.precision == "fp16" and not self.device.startswith("cuda"):
            raise PlifError(f"precision fp16 trains on a GPU only, not on {self.device}; use bf16 or fp32")

    def lr_at(self, epoch: int) -> float:
        """The learning rate in an epoch, counted from 0."""
        return self.lr * (1 + math.cos(math.pi * epoch / (self.t_max or self.epochs))) / 2
