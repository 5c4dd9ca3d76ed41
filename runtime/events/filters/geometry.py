"""Filters that move events: region of interest, coarser pixels, mirror, rotation, polarity. They remember nothing."""

from __future__ import annotations

import re

import numpy as np

from runtime.base.errors import PlifError
from runtime.events.filters.base import Filter, FilterSpec, Selection


class Roi(Filter):
    """Events [N] with x in [x0, x1) and y in [y0, y1) -> (x - x0, y - y0); the others are filtered."""

    def __init__(self, request: FilterSpec) -> None:
        super().__init__(request)
        width, height = request.sensor
        if request.argument == "square":
            side = min(width, height)
            x0, y0 = (width - side) // 2, (height - side) // 2
            corners = (x0, y0, x0 + side, y0 + side)
        else:
            match = re.fullmatch(r"(\d{1,5}):(\d{1,5}):(\d{1,5}):(\d{1,5})", request.argument or "")
            if not match:
                raise PlifError(f"{request.where}: expected roi:X0:Y0:X1:Y1 or roi:square")
            corners = (int(match[1]), int(match[2]), int(match[3]), int(match[4]))
        self.x0, self.y0, self.x1, self.y1 = corners
        if not (self.x0 < self.x1 <= width and self.y0 < self.y1 <= height):
            raise PlifError(
                f"{request.where}: is not inside the {width}x{height} sensor; expected X0 < X1 <= {width} and Y0 < Y1 <= {height}"
            )
        self.sensor = self.x1 - self.x0, self.y1 - self.y0

    def __call__(self, events: np.ndarray) -> Selection:
        x, y = events["x"], events["y"]
        kept = (x >= self.x0) & (x < self.x1) & (y >= self.y0) & (y < self.y1)
        moved = events[kept]
        moved["x"] -= self.x0
        moved["y"] -= self.y0
        return moved, kept


class Down(Filter):
    """Events [N] -> (x // K, y // K). No event is removed: use refractory after it if counts must not grow by K * K."""

    def __init__(self, request: FilterSpec) -> None:
        if not re.fullmatch(r"[1-9]\d{0,3}", request.argument or ""):
            raise PlifError(f"{request.where}: expected down:K with a whole number K, as down:2")
        super().__init__(request)
        self.k = int(request.argument or 1)
        width, height = request.sensor
        self.sensor = -(-width // self.k), -(-height // self.k)

    def __call__(self, events: np.ndarray) -> Selection:
        events = events.copy()
        events["x"] //= self.k
        events["y"] //= self.k
        return events, None


class Flip(Filter):
    """Events [N] mirrored: flip:x exchanges left and right, flip:y top and bottom."""

    def __init__(self, request: FilterSpec) -> None:
        if request.argument not in ("x", "y"):
            raise PlifError(f"{request.where}: expected flip:x or flip:y")
        super().__init__(request)
        self.axis = request.argument
        self.last = request.sensor["xy".index(self.axis)] - 1

    def __call__(self, events: np.ndarray) -> Selection:
        events = events.copy()
        events[self.axis] = self.last - events[self.axis]
        return events, None


class Rotate(Filter):
    """Events [N] turned clockwise as a person sees it (x to the right, y down): 90 is (x, y) -> (H-1-y, x) of a picture H x W."""

    def __init__(self, request: FilterSpec) -> None:
        if request.argument not in ("90", "180", "270"):
            raise PlifError(f"{request.where}: expected rotate:90, rotate:180 or rotate:270")
        super().__init__(request)
        self.degrees = int(request.argument)
        self.width, self.height = request.sensor
        if self.degrees != 180:
            self.sensor = self.height, self.width

    def __call__(self, events: np.ndarray) -> Selection:
        turned = events.copy()
        x, y = events["x"], events["y"]
        if self.degrees == 90:
            turned["x"], turned["y"] = self.height - 1 - y, x
        elif self.degrees == 180:
            turned["x"], turned["y"] = self.width - 1 - x, self.height - 1 - y
        else:
            turned["x"], turned["y"] = y, self.width - 1 - x
        return turned, None


class Swap(Filter):
    """Events [N] with ON and OFF exchanged."""

    def __init__(self, request: FilterSpec) -> None:
        super().__init__(request)
        request.refuse_argument()

    def __call__(self, events: np.ndarray) -> Selection:
        events = events.copy()
        events["p"] = ~events["p"]
        return events, None
