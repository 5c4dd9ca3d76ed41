"""A model.pt and its log as a training of the paper leaves them, without the training."""

from __future__ import annotations

import csv
import gzip
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from plif_train import build, save
from plif_train.core.recipe import Recipe
from plif_train.hooks.kept_epochs.log import EPOCHS

FASHION = "A-FashionMNIST-PLIF-tau2-max-T8"
# What a card says of a training like the authors' on Fashion-MNIST.
TRAINING = {
    "dataset": "fashion-mnist", "train_samples": 60000, "test_samples": 10000, "protocol": "A", "objective": "rate-mse",
    "augmentation": None, "lr": 1e-3, "batch_size": 16, "t_max": 64, "bn": "per-step", "rate_penalty": 0.0,
    "test_accuracy": 0.91, "epoch": 2, "epochs": 10,
}  # fmt: skip


def make_run(
    folder: Path,
    name: str,
    accuracies: Sequence[float],
    taus: bool = True,
    net: Any = None,
    first: int = 1,
    **training: Any,
) -> Path:
    """Small tensors would be another network, so the network is the paper's. The log begins with epoch `first`; the card keeps
    the last of the best."""
    with torch.random.fork_rng():
        net = net or build("fashion-mnist")
    best = max(accuracies)
    kept = {"test_accuracy": best, "epoch": first + len(accuracies) - 1 - [*accuracies][::-1].index(best)}
    if training.get("protocol") == "B":
        kept["val_accuracy"] = best
    save(net, folder / f"{name}.pt", training={**TRAINING, **kept, **training})
    layers = list(net.neurons())
    with open(folder / f"{name}.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*EPOCHS, *(f"tau:{layer}" for layer in layers if taus)])
        for epoch, accuracy in enumerate(accuracies, first):
            judged = ["", accuracy] if training.get("protocol") != "B" else [accuracy, ""]
            lr = Recipe(t_max=TRAINING["t_max"]).lr_at(epoch - 1)  # type: ignore[arg-type]
            writer.writerow([epoch, lr, 0.1, accuracy, *judged, *([1.5] * len(layers) if taus else [])])
    return folder / f"{name}.pt"


def few_pictures(folder: Path) -> str:
    """Fashion-MNIST with 32 pictures instead of 60,000, and what --data calls it."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 32), ("t10k", 8)):
        images = rng.integers(0, 256, (count, 28, 28), np.uint8)
        head = struct.pack(">IIII", 0x803, count, 28, 28)
        (folder / f"{split}-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + images.tobytes()))
        labels = struct.pack(">II", 0x801, count) + bytes(i % 10 for i in range(count))
        (folder / f"{split}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    return f"fashion-mnist:{folder}"
