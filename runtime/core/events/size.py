"""Sensor sizes: their text form WIDTHxHEIGHT, their limit, and the guess for a recording without one.

The sensor of a recording comes from the first of these that is known (sources/file.py):

    the recording itself     the user     the sensor of the network's training, if it holds the events     a guess

Of N events, outside(S) lie outside a sensor S. The guess is the smallest usual sensor with

    outside(S) <= N / FEW        these events are damage, and count as invalid

A sensor with N / FEW < outside(S) <= N / DOUBT might belong to a damaged recording, or be too small: nothing is
guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.base.grammar import MAX_SIDE
from runtime.core.events.array import SENSORS

FEW, DOUBT = 1000, 50  # one event in so many
FROM_ONE = 100  # events; a recording with fewer must have no event outside its sensor


def is_size(size: object) -> bool:
    """Return whether a value is a pair (width, height) that a sensor can have."""
    return (
        isinstance(size, tuple | list)
        and len(size) == 2
        and all(
            type(side) is not bool and isinstance(side, int | np.integer) and 1 <= side <= MAX_SIDE for side in size
        )
    )


def candidate_sizes(trained: tuple[int, int] | None, usual: Sequence[tuple[int, int]]) -> Sequence[tuple[int, int]]:
    """List the sensor sizes to try in a guess: the training sensor, then the usual sizes not within it."""
    if trained is None:
        return usual
    return (trained, *(size for size in usual if size[0] > trained[0] or size[1] > trained[1]))


def guess_sensor(
    context: str, parts: Iterable[np.ndarray], sensors: Sequence[tuple[int, int]] = SENSORS
) -> tuple[tuple[int, int], int]:
    """Guess the sensor (width, height) of events; also return how many of them lie outside it.

    `parts` yields the events in arrays [N]; `sensors` grow. Beyond the last size, the guess is exactly the extent of
    the events. Raise PlifError with the sizes in doubt; `context` begins its message.
    """
    outside = np.zeros(len(sensors), np.int64)
    total, width, height = 0, 1, 1
    for events in parts:
        if not len(events):
            continue
        x, y = events["x"], events["y"]
        widest, highest = int(x.max()) + 1, int(y.max()) + 1
        width, height, total = max(width, widest), max(height, highest), total + len(events)
        for i, (w, h) in enumerate(sensors):
            if widest > w or highest > h:
                outside[i] += np.count_nonzero((x >= w) | (y >= h))
    for (w, h), out in zip(sensors, outside.tolist(), strict=True):
        if out == 0 or (total >= FROM_ONE and out <= max(1, total // FEW)):
            return (w, h), out
        if total >= FROM_ONE and out <= total // DOUBT:
            raise PlifError(
                f"{context}: does not say its sensor, and {out} of {total} events lie outside {w}x{h}, which holds the others: "
                f"too many for damage, too few for a larger sensor; say it: --sensor {w}x{h} (in a data set ?sensor=)"
            )
    return (width, height), 0


def explain_mismatch(sensor: tuple[int, int], shape: Sequence[int]) -> str | None:
    """Explain why a guessed sensor (width, height) is unlikely for a network with an input (C, H, W).

    Return half a line, or None for a likely sensor. The sensor of the network's training is unknown.
    """
    height, width = shape[-2:]
    if sensor[0] < width or sensor[1] < height:
        return f"smaller than the network's input of {width}x{height}"
    if not 0.8 < sensor[0] * height / (sensor[1] * width) < 1.25:
        return f"not as wide for its height as the network's input of {width}x{height}"
    return None
