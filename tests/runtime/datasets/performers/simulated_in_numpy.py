"""The equations of the simulated camera, in NumPy, one operation after the other: what scene.c must give, bit by bit."""

from __future__ import annotations

import numpy as np

from runtime.core.events.array import EVENT_DTYPE

TEXELS = (32, 8)


def paint(image, limbs, textures, at, scale, depth, girth) -> None:
    """As runtime.datasets.simulated_camera.native.paint_limbs."""
    f = np.float32
    for ax, ay, az, bx, by, bz, radius_a, radius_b, tone, texture, hand in limbs.tolist():
        near_a, near_b = scale / (1 - min(az / depth, 0.8)), scale / (1 - min(bz / depth, 0.8))
        ra, rb = radius_a * near_a * girth, radius_b * near_b * girth
        ax, ay, bx, by = at[0] + near_a * ax, at[1] + near_a * ay, at[0] + near_b * bx, at[1] + near_b * by
        rim = max(ra, rb) + 1
        height, width = image.shape
        left, right = max(0, int(min(ax, bx) - rim)), min(width, int(max(ax, bx) + rim) + 2)
        top, bottom = max(0, int(min(ay, by) - rim)), min(height, int(max(ay, by) + rim) + 2)
        if left >= right or top >= bottom:
            continue
        x, y = np.arange(left, right, dtype=f) - f(ax), np.arange(top, bottom, dtype=f)[:, None] - f(ay)
        ex, ey = bx - ax, by - ay
        length2 = ex * ex + ey * ey + 1e-3
        length = length2**0.5
        u = np.clip(x * f(ex / length2) + y * f(ey / length2), f(0), f(1))
        v = y * f(ex / length) - x * f(ey / length)
        px, py = x - u * f(ex), y - u * f(ey)
        radius = f(ra) + u * f(rb - ra)
        cover = np.clip(radius - np.sqrt(px * px + py * py) + f(0.5), f(0), f(1))
        across = np.clip(v / radius, f(-1), f(1))
        index = (u * f(TEXELS[0] - 0.01)).astype(np.int32) * TEXELS[1]
        index += ((across + f(1)) * f(TEXELS[1] / 2 - 0.01)).astype(np.int32)
        value = textures[int(texture)].take(index)
        if hand:
            cover *= np.where((u > f(0.5)) & (value < f(0.75)), f(0.25), f(1))
        value *= (f(1) - f(0.35) * across * across) * f(tone)
        box = image[top:bottom, left:right]
        box += cover * (value - box)


def see(times_us, levels, on, off, refractory_us, leak) -> np.ndarray:
    """Log intensities float32 [T, pixels] -> pixel, time in us and whether ON, a row each, in the order in which they fire."""
    reference, last_us, fired = levels[0].copy(), np.full(levels.shape[1], -np.inf), []
    for t0, t1, before, level in zip(times_us[:-1], times_us[1:], levels[:-1], levels[1:], strict=True):
        reference -= leak * np.float32(t1 - t0)
        difference = level - reference
        at = np.flatnonzero((difference >= on) | (difference <= -off))
        up = difference[at] > 0
        size = np.where(up, on[at], off[at])
        crossings = np.maximum(np.floor(np.abs(difference[at]) / size).astype(np.int64), 1)
        signed, start, slope = np.where(up, size, -size), before[at], level[at] - before[at]
        slope = np.where(slope == 0, np.float32(1), slope)
        since = reference[at]
        for k in range(1, int(crossings.max(initial=0)) + 1):
            more = crossings >= k
            pixel, step = at[more], k * signed[more]
            fraction = np.clip((since[more] + step - start[more]) / slope[more], 0, 1).astype(np.float64)
            t = t0 + (t1 - t0) * fraction
            heard = t - last_us[pixel] >= refractory_us[pixel]
            last_us[pixel[heard]] = t[heard]
            fired.append(np.stack([pixel[heard], t[heard], up[more][heard]]))
            reference[pixel] = since[more] + step
    return np.concatenate(fired, 1) if fired else np.empty((3, 0))


def as_events(fired: np.ndarray, width: int) -> np.ndarray:
    """Rows of `see` as EVENT_DTYPE [N], sorted by time in whole microseconds."""
    found = np.empty(fired.shape[1], EVENT_DTYPE)
    found["t"] = np.rint(fired[1])
    found["y"], found["x"] = np.divmod(fired[0].astype(int), width)
    found["p"] = fired[2] > 0
    return found[np.argsort(found["t"], kind="stable")]
