"""Which events pass `--filter A,B,C`, and where they go (docs/live-rules.md, Filters).

Each filter works on what the one before it lets pass.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from tests.specification.text import match, require, time_us
from tests.specification.view import Event

Size = tuple[int, int]  # width, height
Passed = tuple[
    list[Event | None], Size
]  # None in the place of an event that does not pass, and the size of the new picture


def apply(text: str, sensor: Size, events: list[Event]) -> Passed:
    """What becomes of the valid events of a recording, and how large the picture is then."""
    left = dict(enumerate(events))
    for part in text.split(","):
        name, colon, argument = part.strip().partition(":")
        require(name in FILTERS, name)
        passed, sensor = FILTERS[name](argument if colon else None, sensor, list(left.values()))
        left = {i: event for i, event in zip(left, passed, strict=True) if event is not None}
    return [left.get(i) for i in range(len(events))], sensor


def around(x: int, y: int) -> list[Size]:
    """The 8 neighbours of a pixel."""
    return [(x + dx, y + dy) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dx or dy]


def hot(argument: str | None, sensor: Size, events: list[Event]) -> Passed:
    """n >= 20 a second  and  n > 10 (m + 1)     n: events of a pixel in the time of learning, m: the median of its 8 neighbours

    `hot` learns for 2 s from the first event, `hot:5s` for 5 s; until then every event passes, then none of a pixel that is hot.
    m is the fifth of the eight in order. A neighbour beyond the border is replaced by the one opposite. `hot:FILE` is a list of
    such pixels, one x,y a line, and # begins a comment.
    """
    (width, height), learn_us = sensor, 2_000_000
    require(width * height <= 2**24, "too many pixels")
    require(argument != "", "hot: needs a time or a file")
    if argument is not None and not re.fullmatch(r"[0-9.]+\s*(us|ms|s)", argument):
        require(Path(argument).is_file(), "no such file")
        lines = [line.partition("#")[0].strip() for line in Path(argument).read_text().splitlines()]
        named = {tuple(int(n) for n in match(r"([0-9]{1,5})\s*,\s*([0-9]{1,5})", line)) for line in lines if line}
        require(all(x < width and y < height for x, y in named), "a pixel outside the sensor")
        return [None if (e.x, e.y) in named else e for e in events], sensor
    learn_us = 2_000_000 if argument is None else time_us(argument)
    over = [i for i, e in enumerate(events) if abs(e.t - events[0].t) >= learn_us]
    learnt = over[0] if over else len(events)
    pixels = [(e.x, e.y) for e in events[:learnt]]

    def inside(at: int, size: int) -> int:
        return 1 if at < 0 else size - 2 if at >= size else at

    def is_hot(x: int, y: int) -> bool:
        n = pixels.count((x, y))
        beside = sorted(pixels.count((inside(a, width), inside(b, height))) for a, b in around(x, y))
        median = beside[4] if min(sensor) > 1 else 0
        return n >= 20 * learn_us / 1e6 and n > 10 * (median + 1)

    masked = {(x, y) for x, y in set(pixels) if is_hot(x, y)}
    return [e if i < learnt or (e.x, e.y) not in masked else None for i, e in enumerate(events)], sensor


def refractory(argument: str | None, sensor: Size, events: list[Event]) -> Passed:
    """|t - t_passed| >= time     t_passed: of the last event of the same pixel that passed"""
    us, passed, last = time_us(argument or ""), [], dict[Size, int]()
    require(sensor[0] * sensor[1] <= 2**24, "too many pixels")
    for e in events:
        passes = (e.x, e.y) not in last or abs(e.t - last[e.x, e.y]) >= us
        passed.append(e if passes else None)
        if passes:
            last[e.x, e.y] = e.t
    return passed, sensor


def background(argument: str | None, sensor: Size, events: list[Event]) -> Passed:
    """|t - t_q| <= time for a neighbour q     t_q: of the latest event of q, whether that passed or not"""
    us, passed, last = time_us(argument or ""), [], dict[Size, int]()
    require(sensor[0] * sensor[1] <= 2**24, "too many pixels")
    for e in events:
        passed.append(e if any(q in last and abs(e.t - last[q]) <= us for q in around(e.x, e.y)) else None)
        last[e.x, e.y] = e.t
    return passed, sensor


def roi(argument: str | None, sensor: Size, events: list[Event]) -> Passed:
    """X0 <= x < X1, Y0 <= y < Y1:  (x - X0, y - Y0).     square: the largest square in the middle, floor((W - side) / 2)"""
    (W, H), side = sensor, min(sensor)
    if argument == "square":
        x0, y0 = (W - side) // 2, (H - side) // 2
        x1, y1 = x0 + side, y0 + side
    else:
        x0, y0, x1, y1 = (int(n) for n in match(":".join([r"([0-9]{1,5})"] * 4), argument or ""))
    require(x0 < x1 <= W and y0 < y1 <= H, "it is not inside the sensor")
    inside = [e._replace(x=e.x - x0, y=e.y - y0) if x0 <= e.x < x1 and y0 <= e.y < y1 else None for e in events]
    return inside, (x1 - x0, y1 - y0)


def moves(pattern: str, where: Callable[..., Event], size: Callable[..., Size]) -> Callable[..., Passed]:
    """A filter that lets every event pass, and moves it; its argument follows the pattern."""

    def rule(argument: str | None, sensor: Size, events: list[Event]) -> Passed:
        require((argument is None) == (pattern == ""), "an argument is missing, or one too many")
        match(pattern, argument or "")
        return [where(e, argument, *sensor) for e in events], size(argument, *sensor)

    return rule


def down(e: Event, k: str, W: int, H: int) -> Event:
    """(floor(x / K), floor(y / K)), in a picture of ceil(W / K) x ceil(H / K)"""
    return e._replace(x=e.x // int(k), y=e.y // int(k))


def flip(e: Event, axis: str, W: int, H: int) -> Event:
    """flip:x  (W-1-x, y)     flip:y  (x, H-1-y)"""
    return e._replace(x=W - 1 - e.x) if axis == "x" else e._replace(y=H - 1 - e.y)


def rotate(e: Event, degrees: str, W: int, H: int) -> Event:
    """clockwise as a person sees it:  90  (H-1-y, x)     180  (W-1-x, H-1-y)     270  (y, W-1-x)"""
    x, y = {"90": (H - 1 - e.y, e.x), "180": (W - 1 - e.x, H - 1 - e.y), "270": (e.y, W - 1 - e.x)}[degrees]
    return e._replace(x=x, y=y)


def swap(e: Event, _: None, W: int, H: int) -> Event:
    """ON becomes OFF, OFF becomes ON."""
    return e._replace(on=not e.on)


FILTERS: dict[str, Callable[[str | None, Size, list[Event]], Passed]] = {
    "hot": hot,
    "refractory": refractory,
    "background": background,
    "roi": roi,
    "down": moves("[1-9][0-9]{0,3}", down, lambda k, W, H: (-(-W // int(k)), -(-H // int(k)))),
    "flip": moves("x|y", flip, lambda _, W, H: (W, H)),
    "rotate": moves("90|180|270", rotate, lambda degrees, W, H: (W, H) if degrees == "180" else (H, W)),
    "swap": moves("", swap, lambda _, W, H: (W, H)),
}
