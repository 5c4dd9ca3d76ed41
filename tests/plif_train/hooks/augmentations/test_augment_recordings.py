"""What the recipe `live` does to recordings keeps them recordings."""

from __future__ import annotations

import torch

from plif_train.core.loop.hooks import find_augmentation
from plif_train.core.recipe import list_recipes, read_recipe
from plif_train.hooks.augmentations.augment import random_shift_drop


def recordings(n: int = 4) -> torch.Tensor:
    """One pixel of ON that goes to the right, a step a frame."""
    x = torch.zeros(n, 10, 2, 32, 32, dtype=torch.uint8)
    for t in range(10):
        x[:, t, 1, 16, 10 + t] = 3
    return x


def test_all_steps_move_together_and_a_part_of_them_is_kept():
    torch.manual_seed(0)
    y = random_shift_drop(recordings(), drop=0, noise=0, thicken=0)
    assert y.shape == (4, 7, 2, 32, 32) and y.dtype == torch.uint8
    places = set()
    for recording in y:
        t, p, row, column = recording.nonzero(as_tuple=True)
        assert t.tolist() == list(range(7)) and (p == 1).all() and (recording[t, p, row, column] == 3).all()
        assert (column - column[0]).tolist() == list(range(7)) and (row == row[0]).all()
        places.add((int(row[0]), int(column[0])))
    assert len(places) > 1


def test_pixels_are_lost_and_noise_comes_as_often_as_said():
    torch.manual_seed(0)
    full = torch.ones(64, 2, 2, 64, 64, dtype=torch.uint8)
    lost = 1 - random_shift_drop(full, shift=0, drop=0.4, noise=0, keep=1, thicken=0).float().mean((1, 2, 3, 4))
    assert 0 <= lost.min() < 0.05 and 0.35 < lost.max() < 0.42 and 0.15 < lost.mean() < 0.25
    noisy = random_shift_drop(torch.zeros_like(full), shift=0, noise=0.02, keep=1, drop=0.4).float().mean((1, 2, 3, 4))
    assert 0.014 < noisy.max() <= 0.02 and noisy.min() < 0.004


def test_thick_recordings_hold_all_that_was_there_and_more():
    torch.manual_seed(0)
    x = recordings(16)
    y = random_shift_drop(x, shift=0, drop=0, noise=0, keep=1, thicken=1)
    assert (y >= x).all() and 1.5 * x.sum() < y.sum() < 8 * x.sum() and y.max() == 3


def test_the_same_seed_gives_the_same_samples_and_the_original_stays():
    x = recordings()
    before = x.clone()
    torch.manual_seed(3)
    first = random_shift_drop(x)
    torch.manual_seed(3)
    assert torch.equal(random_shift_drop(x), first) and torch.equal(x, before)


def test_only_the_recipe_for_streams_changes_recordings():
    for recordings in ("dvs128-gesture", "cifar10-dvs", "folder"):
        assert {name for name in list_recipes() if find_augmentation(read_recipe(name).augment, recordings)} == {"live"}


def test_what_is_thickened_at_one_edge_does_not_appear_at_the_other():
    torch.manual_seed(0)
    x = torch.zeros(64, 2, 2, 16, 16)
    x[..., 0], x[..., 0, :] = 1, 1
    y = random_shift_drop(x, shift=0, drop=0, noise=0, keep=1, thicken=1)
    assert y[..., 1:4].any() and y[..., 1:4, :].any() and not y[..., 8:, 8:].any()
