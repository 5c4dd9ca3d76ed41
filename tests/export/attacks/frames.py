"""Frames that the modules see: counts to 255, silence, bursts, hot pixels."""

from __future__ import annotations

import numpy as np

ROWS = (1, 5, 65)
STEPS = 200
STILL = 40  # steps of one frame that does not change
LENGTHS = (4, 32, 33, 200)  # of sequences
RECORDINGS = ("sparse", "busy", "quiet", "still")


def frames(recording: str, shape: tuple[int, ...], rows: int) -> np.ndarray:
    """Whole counts as float32 [steps, rows, *shape]; the same in every process."""
    seed = [20240517, RECORDINGS.index(recording), rows, *shape]
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
    steps = STILL if recording == "still" else STEPS
    x = np.zeros((steps, rows, int(np.prod(shape))), np.float64)
    pixels = x.shape[2]
    if recording == "sparse":
        x[:] = rng.poisson(0.2, x.shape)
        x[20:36] = 0  # nothing moves
        for t in range(30, 36):
            x[t, :, rng.integers(pixels)] = 1  # one event
        x[60:64] = rng.poisson(3.0, x[60:64].shape)
        x[90:110, :, rng.integers(pixels)] = 255  # a hot pixel
        x[150:153] = rng.poisson(60.0, x[150:153].shape)
    elif recording == "busy":
        scale = np.resize([1.0, 0.4, 4.0, 2.0, 30.0], rows)[None, :, None]
        x[:] = rng.poisson(scale, x.shape)
        half = pixels // 2  # one polarity, then the other
        for t in range(steps):
            later = t // 30 % 2
            dim = slice(later * half, (later + 1) * half)
            x[t, :, dim] = np.floor(x[t, :, dim] / 4)
        x[40:43] = 255  # a flash
        x[120:124] = 0
    elif recording == "quiet":
        x[:6] = rng.poisson(0.8, x[:6].shape)
        x[50, :, ::7] = 2
        x[185:190] = rng.poisson(20.0, x[185:190].shape)
        x[196] = 255
    else:
        x[:] = rng.poisson(0.7, x.shape[1:])[None]
    return np.clip(x, 0, 255).reshape(steps, rows, *shape).astype(np.float32)
