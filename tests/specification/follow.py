"""The second picture of a frame with follow=on: a view that follows a small figure, found from events alone (docs/follow.md).

(C, h, w) is a picture of the frame, of 128 x 128 cells in the networks that ship; lengths are in cells. Of each step of 20 ms
let a(i, j) be 1 where cell (i, j) of the whole picture had an event of either polarity, else 0.

    m <- m - ceil(1311 m / 2^16) + 2^15 a       what was active lately: it fades with a time constant of a second
    S  = sum of m over 3 x 3 cells,             N = the middle one of all S, the noise
    B  = {S >= N + 103219 and 2 S >= 5 N}       the figure: what moves, and the outline that the sway of a body leaves. Each cell
                                                counts once a step, so a waving hand weighs no more than a shoulder
    y* = the middle one of the rows of B's cells, x* = that of the columns, of the cells in the lowest third of B
    d  = diagonal of the box from 1/20 to 19/20 of m over B, along both axes

The view shows c, 8/5 times as large, at (w / 2, 83/128 h). It begins with c there, takes c* when B first has 40 cells, and again
when 8/5 |c* - c| > 14 for 4 looks, which are every second step from the sixth on: it stands still within a gesture. Its row
counts while d <= 85. After a discontinuity nothing is known. What a step shows depends on the steps before it alone.

A pixel of the sensor lights the cells whose middles it covers: many where the sensor is small, at most one where it is large,
and that is then the nearest to the middle of the cell.
"""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from math import ceil

from tests.specification.framing import Framing
from tests.specification.view import Cell, Event, cut, turn

ZOOM, LOOKS, DEAD, LARGE, ENOUGH = Fraction(8, 5), 4, 14, 85, 40


class View:
    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.shape = shape
        self.place = (shape[2] // 2, 83 * shape[1] // 128)
        self.begin()

    def begin(self) -> None:
        """Nothing is known."""
        _, h, w = self.shape
        self.m = [[0] * w for _ in range(h)]
        self.c = (Fraction(self.place[0]), Fraction(self.place[1]))
        self.d2: int | None = None
        self.steps = self.moved = 0
        self.known = False

    @property
    def counts(self) -> bool:
        """d <= 85 in a picture of 128 x 128."""
        return self.d2 is not None and self.d2 * 128**2 <= LARGE**2 * self.shape[1] * self.shape[2]

    def cells(self, event: Event, framing: Framing, sensor: tuple[int, int], upright: str) -> list[Cell]:
        """The cells that an event lights; the channels of the view follow those of the whole picture."""
        W, H = (min(sensor), min(sensor)) if framing.shape == "square" else sensor
        left, top = cut(event.x, sensor[0], W), cut(event.y, sensor[1], H)
        if left is None or top is None:
            return []
        channels, h, w = self.shape
        x, y, W, H = turn(left, top, W, H, framing.orientation, upright)
        channel = channels + (int(event.on != (framing.polarity == "swapped")) if channels == 2 else 0)
        columns, rows = self.covered(x, W, w, 0), self.covered(y, H, h, 1)
        return [(channel, row, column) for row in rows for column in columns]

    def covered(self, at: int, side: int, target: int, axis: int) -> range:
        """The cells with  8/5 (at - c) + place <= middle < 8/5 (at + 1 - c) + place, of pixel `at` of a side, in cells."""
        edges = [
            ceil(ZOOM * (Fraction(pixel * target, side) - self.c[axis]) + self.place[axis] - Fraction(1, 2))
            for pixel in (at, at + 1)
        ]
        return range(max(edges[0], 0), min(edges[1], target))

    def see(self, whole: Counter[Cell]) -> None:
        """The end of a step, in which these cells of the whole picture had events."""
        active = {(row, column) for _, row, column in whole}
        for row, values in enumerate(self.m):
            for column, m in enumerate(values):
                values[column] = m - -(-1311 * m // 2**16) + 2**15 * ((row, column) in active)
        self.steps += 1
        if self.steps >= 6 and self.steps % 2 == 0:
            self.look()

    def look(self) -> None:
        _, h, w = self.shape
        S = {
            (y, x): sum(
                self.m[j][i] for j in range(max(y - 1, 0), min(y + 2, h)) for i in range(max(x - 1, 0), min(x + 2, w))
            )
            for y in range(h)
            for x in range(w)
        }
        N = sorted(S.values())[h * w // 2]
        B = sorted(place for place, s in S.items() if s >= N + 103219 and 2 * s >= 5 * N)
        if not B or len(B) * 128**2 < ENOUGH * h * w:
            return
        box = [self.extent(B, axis) for axis in (0, 1)]
        self.d2 = box[0] ** 2 + box[1] ** 2
        from_row = B[2 * len(B) // 3][0]
        low = sorted(column for row, column in B if row >= from_row)
        c = (low[len(low) // 2] + Fraction(1, 2), B[len(B) // 2][0] + Fraction(1, 2))
        apart = any(ZOOM * abs(new - old) * 128 > DEAD * w for new, old in zip(c, self.c, strict=True))
        self.moved = self.moved + 1 if apart else 0
        if not self.known or self.moved >= LOOKS:
            self.c, self.moved, self.known = c, 0, True

    def extent(self, B: list[tuple[int, int]], axis: int) -> int:
        """From the first place at which 1/20 of m over B is reached to that of 19/20."""
        along = Counter[int]()
        for place in B:
            along[place[axis]] += self.m[place[0]][place[1]]
        total, reached, ends = sum(along.values()), 0, {}
        for at in range(self.shape[1:][axis]):
            reached += along[at]
            for twentieths in (1, 19):
                if 20 * reached >= twentieths * total:
                    ends.setdefault(twentieths, at)
        return ends[19] - ends[1]
