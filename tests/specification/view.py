"""Where an event lands (docs/events.md, Framing: shape, orientation, resize, polarity).

(W, H) is the sensor, (C, h, w) the frame, x goes to the right and y down.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.specification.framing import Framing

Cell = tuple[int, int, int]  # channel, row, column


class Event(NamedTuple):
    t: int  # microseconds
    x: int
    y: int
    on: bool  # the pixel became brighter


def is_valid(event: Event, sensor: tuple[int, int]) -> bool:
    """x < W, y < H, |t| < 2^61. What is outside the sensor or at no possible time is invalid, and time does not go on with it."""
    return event.x < sensor[0] and event.y < sensor[1] and abs(event.t) < 2**61


def cut(at: int, size: int, side: int) -> int | None:
    """at - floor((size - side) / 2), None where that is outside the side in the middle."""
    moved = at - (size - side) // 2
    return moved if 0 <= moved < side else None


def turn(x: int, y: int, W: int, H: int, orientation: str, upright: str) -> tuple[int, int, int, int]:
    """(x, y) in the turned picture, and the width and height of that.

    stored   (x, y)
    paper    (W-1-x, y)
    sj       (H-1-y, W-1-x), in a picture that is H wide and W high
    upright  as the recording's format or the user says: identity (x, y), rotate180 (W-1-x, H-1-y), flip_y (x, H-1-y),
             rotate90 (H-1-y, x), clockwise, and rotate270 (y, W-1-x), in a picture that is H wide and W high
    """
    how = upright if orientation == "upright" else orientation
    if how == "paper":
        return W - 1 - x, y, W, H
    if how == "sj":
        return H - 1 - y, W - 1 - x, H, W
    if how == "rotate180":
        return W - 1 - x, H - 1 - y, W, H
    if how == "flip_y":
        return x, H - 1 - y, W, H
    if how == "rotate90":
        return H - 1 - y, x, H, W
    if how == "rotate270":
        return y, W - 1 - x, H, W
    return x, y, W, H


def resize(at: int, size: int, target: int, how: str) -> int | None:
    """sum: floor(at target / size).   crop: at - floor((size - target) / 2), None where that is outside the frame.

    nearest: the cell i that shows this pixel, floor((2 i + 1) size / 2 target) = at, None where none does; where
    size <= target as sum. auto: as sum, where no network is known.
    """
    if how == "crop":
        return cut(at, size, target)
    if how == "nearest" and size > target:
        return next((i for i in range(target) if (2 * i + 1) * size // (2 * target) == at), None)
    return at * target // size


def cell_of(
    event: Event, framing: Framing, shape: tuple[int, int, int], sensor: tuple[int, int], upright: str = "identity"
) -> Cell | None:
    """shape=square takes the largest square in the middle, as the filter roi:square. Turned then, then resized. Channel 1 is ON,
    with polarity=swapped OFF; a frame of one channel takes both.

    None where the event is not shown.
    """
    channels, h, w = shape
    W, H = (min(sensor), min(sensor)) if framing.shape == "square" else sensor
    left, top = cut(event.x, sensor[0], W), cut(event.y, sensor[1], H)
    if left is None or top is None:
        return None
    x, y, W, H = turn(left, top, W, H, framing.orientation, upright)
    row, column = resize(y, H, h, framing.resize), resize(x, W, w, framing.resize)
    channel = int(event.on != (framing.polarity == "swapped")) if channels == 2 else 0
    return None if row is None or column is None else (channel, row, column)
