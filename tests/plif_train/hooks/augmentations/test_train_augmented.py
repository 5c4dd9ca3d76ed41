"""Images are varied as the authors' code does."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from plif_train.hooks.augmentations.augment import random_affine, random_crop_flip
from tests.plif_train.core.small import TrainingRun


def test_augmentation_moves_images_and_invents_nothing() -> None:
    torch.manual_seed(0)
    x = torch.rand(64, 3, 32, 32)
    y = random_crop_flip(x)
    assert y.shape == x.shape and not torch.equal(x, y)
    assert set(y.unique().tolist()) <= {0.0, *x.unique().tolist()}
    centre = y[:, :, 8:24, 8:24]
    assert float((centre > 0).float().mean()) == 1.0
    image = torch.zeros(200, 1, 28, 28)
    image[:, :, 10:18, 12:16] = 1.0
    turned = random_affine(image)
    assert set(turned.unique().tolist()) == {0.0, 1.0}
    area = turned.sum((1, 2, 3)) / image.sum((1, 2, 3))  # the square of the scale, 0.85 to 1.11
    assert float(area.min()) > 0.6 and float(area.max()) < 1.4 and abs(float(area.mean()) - 0.97) < 0.06
    rows = (turned * torch.arange(28.0)[:, None]).sum((1, 2, 3)) / turned.sum((1, 2, 3)) - 13.5
    assert 3 < float(rows.abs().max()) < 5  # moved by up to 15 % of 28 pixels
    still = random_affine(image, degrees=0, shift=0, scale=(1, 1))
    assert torch.equal(still, image)


def test_a_recipe_sets_loss_and_augmentation_and_options_override_it(plif: TrainingRun, tmp_path: Path) -> None:
    from tests.runtime.core.test_data import write_mnist

    write_mnist(tmp_path / "mnist")
    small = [
        "train",
        "mnist",
        "--data",
        f"mnist:{tmp_path / 'mnist'}",
        "--set",
        "channels=2",
        "--set",
        "hidden=20",
        "--T",
        "2",
    ]
    found = {}
    for name, extra in (
        ("authors", []), ("paper", ["paper"]), ("own", ["paper", "--set", "loss=ce", "--set", "augment=none"]),
    ):  # fmt: skip
        extra = [*extra, "--out", f"{name}.pt", "--json"]
        code, out, err = plif(*small, "--epochs", "1", "--batch-size", "4", *extra)
        assert code == 0, err
        result = json.loads(out)
        found[name] = (result["recipe"]["loss"], result["augmentation"], result["recipe"]["bn"])
    assert found == {
        "authors": ("rate-mse", "random_affine", "per-step"),
        "paper": ("step-mse", "random_crop_flip", "per-step"),
        "own": ("ce", None, "per-step"),
    }
