"""Augmentation functions of training images (as in the authors' code) and of recordings.

MNIST is rotated, moved and scaled, CIFAR-10 is cropped and mirrored. Recordings are moved and thinned out, and get
noise.

Images are [B, C, H, W] in 0..1, before normalisation, recordings [B, T, C, H, W]; all randomness comes from torch's
global generator. To add one, write the function and enter it in AUGMENTATIONS; recipes name it with `augment`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def random_affine(
    x: Tensor, degrees: float = 30.0, shift: float = 0.15, scale: tuple[float, float] = (0.85, 1.11)
) -> Tensor:
    """Rotate, shift and scale each image of x [B, C, H, W], float32, at random.

    degrees    largest rotation
    shift      largest shift, as a share of the size, in whole pixels
    scale      range of the factor about the centre

    Pixels are the nearest ones, black outside.
    """
    n, _, height, width = x.shape

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(n) * (high - low) + low

    angle = uniform(-degrees, degrees) * (math.pi / 180)
    zoom = uniform(*scale)
    dx = (uniform(-shift, shift) * width).round() * (2 / width)  # grid units: the image spans -1..1
    dy = (uniform(-shift, shift) * height).round() * (2 / height)
    # affine_grid asks where an output pixel comes from: the inverse of move(turn(zoom(p))).
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    ratio = height / width
    theta = torch.stack(
        (
            torch.stack((cos, sin * ratio, -(cos * dx + sin * ratio * dy)), 1),
            torch.stack((-sin / ratio, cos, sin / ratio * dx - cos * dy), 1),
        ),
        1,
    )  # [B, 2, 3]
    grid = F.affine_grid(theta.to(x), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="nearest", padding_mode="zeros", align_corners=False)


def random_crop_flip(x: Tensor, padding: int = 4) -> Tensor:
    """Shift each image of x [B, C, H, W], float32, by up to `padding` pixels and mirror half of the images.

    The shift is along both axes, black outside.
    """
    n, _, height, width = x.shape
    padded = F.pad(x, [padding] * 4)
    rows = torch.randint(2 * padding + 1, (n, 1)) + torch.arange(height)  # [B, H]
    columns = torch.randint(2 * padding + 1, (n, 1)) + torch.arange(width)
    columns = torch.where(torch.rand(n, 1) < 0.5, columns.flip(1), columns)
    image = torch.arange(n)[:, None, None]
    return padded[image, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


def random_shift_drop(
    x: Tensor, shift: int = 8, drop: float = 0.5, noise: float = 0.012, keep: float = 0.7, thicken: float = 0.6
) -> Tensor:
    """Augment recordings x [B, T, C, H, W] of event counts at random: crop in time, shift, thicken and thin out.

    Returns [B, keep * T, C, H, W] of the same type; any type is accepted.

    Of each recording a part of `keep` of its steps is taken, from a random beginning, and moved by up to `shift`
    pixels, the same in all steps; zeros come in from outside. With the probability `thicken` each pixel then takes
    the largest count among itself and one to three neighbours in random directions, as if the camera were more
    sensitive. Finally each pixel of a step loses its events with a probability that is drawn from 0..`drop` for the
    recording, and gets one event with a probability from 0..`noise`.
    """
    n, steps, _, height, width = x.shape
    window_steps = max(1, round(keep * steps))
    padded = F.pad(x, [shift] * 4)
    moves = torch.randint(2 * shift + 1, (n, 2)).tolist()
    begins = torch.randint(steps - window_steps + 1, (n,)).tolist()
    moved = torch.stack(
        [
            padded[i, begin : begin + window_steps, :, dy : dy + height, dx : dx + width]
            for i, ((dy, dx), begin) in enumerate(zip(moves, begins, strict=True))
        ]
    )
    for recording in moved:
        for _ in range(int(torch.randint(1, 4, ())) if torch.rand(()) < thicken else 0):
            dy, dx = torch.randint(-1, 2, (2,)).tolist()
            neighbours = F.pad(recording, [1] * 4)[..., 1 - dy : 1 - dy + height, 1 - dx : 1 - dx + width]
            torch.maximum(recording, neighbours, out=recording)
    # One random byte a pixel and step is fine enough, and much cheaper than a float; eight of them are drawn at once.
    eights = torch.empty(-(-moved.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
    byte = eights.view(torch.uint8)[: moved.numel()].view(moved.shape)
    moved *= byte >= (256 * drop * torch.rand(n, 1, 1, 1, 1)).to(torch.uint8)
    for recording, share in zip(moved, torch.rand(n) * noise, strict=True):
        hit = torch.randint(recording.numel(), (int(share * recording.numel()),))
        flat = recording.view(-1)
        flat[hit] = flat[hit].clamp(min=1)
    return moved


AUGMENTATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    function.__name__: function for function in (random_affine, random_crop_flip, random_shift_drop)
}
