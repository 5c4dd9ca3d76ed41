"""Synthetic input for a parity check or a calibration without data: event-like counts, or smooth images.

Event-like: two blobs that move, with ON events in front of them and OFF events behind, on a floor of noise. The mean
is about 0.15 events per pixel, channel and step, as in recordings of N-MNIST (T=10) and DVS128 Gesture (T=20).

A parity check also needs extremes that a camera can send and a recording rarely holds (`make_stress_frames`): no
event, one pixel, every pixel, hot pixels, and counts up to MOST.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from runtime.core.events.framing import Framing

if TYPE_CHECKING:
    from runtime.core.model.card import Card

MEAN_COUNT = 0.15
MOST = 255  # events of a pixel in one frame: more than a camera sends in 40 ms, and what a byte holds
HOT = 0.01  # of the pixels
LONG_STRESS = 32  # steps, from which on there is a long silence
EVENTS_PER_PIXEL_S = 3.0  # a hand that moves in front of a DVS128: 50 thousand events a second, 128 x 128 pixels


def make_event_frames(
    T: int,
    streams: int,
    shape: tuple[int, ...],
    framing: str | None,
    rng: np.random.Generator,
    mean_count: float = MEAN_COUNT,
) -> np.ndarray:
    """Generate event counts of moving blobs, float32 [T, streams, *shape].

    Counts are 0 or 1 where the framing is binary; shape is (C, H, W), or any.
    """
    if len(shape) != 3:
        return make_event_frames(T, streams, _image_shape(shape), framing, rng, mean_count).reshape(T, streams, *shape)
    channels, height, width = shape
    y, x = np.mgrid[0:height, 0:width]
    frames = np.empty((T, streams, channels, height, width), np.float32)
    for b in range(streams):
        centre = rng.uniform(0.25, 0.75, (2, 2)) * (height, width)
        speed = rng.uniform(-1, 1, (2, 2)) * (height, width) / (2 * T)
        radius = rng.uniform(0.08, 0.2) * min(height, width)
        for t in range(T):
            density = np.full((channels, height, width), 0.02)
            for place, move in zip(centre, speed, strict=True):
                cy, cx = place + move * t
                blob = np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * radius**2))
                ahead = ((y - cy) * move[0] + (x - cx) * move[1]) >= 0
                for c in range(channels):
                    density[c] += blob * np.where(ahead, 1.0, 0.3) if c % 2 else blob * np.where(ahead, 0.3, 1.0)
            frames[t, b] = rng.poisson(density * (mean_count / density.mean()))
    return np.minimum(frames, 1) if _is_binary(framing) else frames


def make_stress_frames(
    T: int, streams: int, shape: tuple[int, ...], framing: str | None, rng: np.random.Generator
) -> np.ndarray:
    """Generate event counts float32 [T, streams, *shape] with the extremes that a camera can send.

    From 8 steps on every second stream has empty frames (the first, the last, and three in a row), and the last
    stream has one pixel, every pixel, hot pixels and the largest counts. From 32 steps on every second stream has a
    long silence, and a burst after it.
    """
    frames = make_event_frames(T, streams, shape, framing, rng)
    most = 1 if _is_binary(framing) else MOST
    if T >= 8:
        frames[[0, T // 2 - 1, T // 2, T // 2 + 1, T - 1], ::2] = 0
        single, lit, hot, largest = (frames[t, -1] for t in (T // 4, T // 4 + 1, T - T // 4, T - T // 4 + 1))
        single[...] = 0
        single.flat[rng.integers(single.size)] = most
        lit[...] = rng.integers(1, most + 1, shape)
        hot.flat[rng.permutation(hot.size)[: int(2 + HOT * hot.size)]] = most
        largest[...] = most
    if T >= LONG_STRESS:
        end = T // 2 + T // 8
        frames[T // 2 : end, ::2] = 0
        frames[end, ::2] = rng.integers(0, most + 1, frames[end, ::2].shape)
    return frames


def make_stress_images(
    count: int, streams: int, shape: tuple[int, ...], normalisation: dict[str, list[float]] | None,
    rng: np.random.Generator,
) -> np.ndarray:  # fmt: skip
    """Generate images [count, streams, *shape], some of them black and white, all black or all white."""
    shown = np.stack([make_images(streams, shape, None, rng) for _ in range(count)])
    for i, b in np.ndindex(count, streams):
        if kind := (i + b) % 4:
            shown[i, b] = (np.rint(rng.random(shape)), 0, 1)[kind - 1]
    return _normalise(shown, normalisation)


def _is_binary(framing: str | None) -> bool:
    return framing is not None and Framing.parse(framing).value == "binary"


def make_input(card: Card, steps: int, streams: int, rng: np.random.Generator) -> np.ndarray:
    """Generate typical input for the network of a card, float32 [steps, streams, ...].

    It is events at the card's framing, or one still image in all steps.
    """
    shape, framing = tuple(card["input"]["shape"]), card["framing"]
    if card["input"]["kind"] == "static":
        image = make_images(streams, shape, card["normalisation"], rng)
        return np.broadcast_to(image, (steps, *image.shape))
    return make_event_frames(steps, streams, shape, framing, rng, estimate_count(framing, shape))


def _image_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return a shape (C, H, W) with as many numbers as `shape`: the first axes of a volume become one."""
    *first, height, width = (1, 1, *shape)
    return int(np.prod(first)), height, width


def estimate_count(framing: str | None, shape: tuple[int, ...]) -> float:
    """Estimate the events per pixel, channel and step of a usual recording under a framing."""
    if framing is None or len(shape) != 3:
        return MEAN_COUNT
    parsed = Framing.parse(framing)
    cells, pixels = float(np.prod(shape)), float(shape[1] * shape[2])
    if parsed.duration_us is not None:
        return EVENTS_PER_PIXEL_S * pixels * parsed.duration_us / 1e6 / cells
    if parsed.n is not None and parsed.max_us is not None:
        return min(parsed.n, EVENTS_PER_PIXEL_S * pixels * parsed.max_us / 1e6) / cells
    return MEAN_COUNT


def make_images(
    streams: int, shape: tuple[int, ...], normalisation: dict[str, list[float]] | None, rng: np.random.Generator
) -> np.ndarray:
    """Generate smooth random images float32 [streams, *shape] in 0..1, normalised as the card says.

    shape is (C, H, W), or any.
    """
    if len(shape) != 3:
        return make_images(streams, _image_shape(shape), None, rng).reshape(streams, *shape)
    channels, height, width = shape
    coarse = rng.uniform(0, 1, (streams, channels, 6, 6))
    rows = np.linspace(0, 5, height)
    columns = np.linspace(0, 5, width)
    lower_r, lower_c = np.minimum(rows.astype(int), 4), np.minimum(columns.astype(int), 4)
    part_r, part_c = (rows - lower_r)[:, None], (columns - lower_c)[None, :]

    def widen(row: np.ndarray) -> np.ndarray:
        """Interpolate rows [H] of the coarse image [streams, C, 6, 6] along its columns, to [streams, C, H, W]."""
        wide: np.ndarray = coarse[:, :, row][..., lower_c] * (1 - part_c) + coarse[:, :, row][..., lower_c + 1] * part_c
        return wide

    return _normalise(widen(lower_r) * (1 - part_r) + widen(lower_r + 1) * part_r, normalisation)


def _normalise(image: np.ndarray, normalisation: dict[str, list[float]] | None) -> np.ndarray:
    """Normalise images [..., C, H, W] in 0..1 for the network, as float32."""
    if normalisation is not None:
        mean, std = (np.array(normalisation[key])[:, None, None] for key in ("mean", "std"))
        image = (image - mean) / std
    return np.asarray(image, np.float32)
