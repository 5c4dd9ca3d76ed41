"""What bench/people.py shows a network: gestures however they are seen, people and things that mean nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from bench.metamorphic import CHANGES, Change, Size, as_seen
from plif_train.hooks.mixed_windows.samples import clip_to_events
from plif_train.hooks.mixed_windows.variation import (
    HARD_NEGATIVES,
    SWAPS,
    Clip,
    merge_clips,
    reverse_time,
    swap_classes,
)
from runtime.core.api import Model
from runtime.core.data import open_dataset
from runtime.core.data.dataset import EventSet
from runtime.core.events.framing import Framing
from runtime.datasets.dvs128_gesture.set import CLASSES
from runtime.datasets.gesture_sim.lookalikes import list_kinds
from runtime.datasets.gesture_sim.simulate_gesture import record_performer
from runtime.datasets.gesture_sim.staging import Staging
from runtime.datasets.performers.figure import SENSOR
from runtime.datasets.performers.schedule import OTHER

SEED = 3636
SENSORS = ("128x128", "346x260", "640x480")
VIEWS = {
    "laws 1": Staging(),
    "laws 2": Staging(laws=2, view="whole"),
    "cut": Staging(laws=2, view="cut"),
    "near": Staging(laws=2, view="near"),
    "far": Staging(laws=2, view="far"),
    "faint": Staging(laws=2, view="whole", look="faint"),
}
LAMPS = {"lamps": Staging(laws=2, view="whole", look="lamps")}
DISTANCES = {f"{metres:g} m": Staging(laws=2, view="far", distance_m=metres) for metres in (2, 3, 4, 5, 6.5)}


def nearer(factor: float) -> Change:
    """Enlarge a recording about the centre of its motion.

    An event fills each pixel with a centre that its own enlarged pixel covers, so edges get no holes.
    """

    def change(clip: Clip, _: np.random.Generator, size: Size) -> Clip:
        first, last = [], []
        for places, side in ((clip.x, size[0]), (clip.y, size[1])):
            begins = side / 2 + factor * (places - np.median(places) - 0.5)
            first.append(np.ceil(begins - 0.5))
            last.append(np.ceil(begins + factor - 0.5))
        wide, high = (after - before for before, after in zip(first, last, strict=True))
        which = np.repeat(np.arange(len(clip)), (wide * high).astype(np.int64))
        at = np.arange(len(which)) - np.searchsorted(which, which)  # of the pixels that one event fills
        row, column = np.divmod(at, wide[which])
        return Clip(clip.t[which], first[0][which] + column, first[1][which] + row, clip.p[which])

    return change


def noise(hz: float) -> Change:
    """Add events at random places and times, `hz` a second and pixel."""

    def change(clip: Clip, rng: np.random.Generator, size: Size) -> Clip:
        begin_us, lasts_us = _span_of(clip)
        n = rng.poisson(hz * size[0] * size[1] * lasts_us / 1e6)
        t = begin_us + np.sort(rng.uniform(0, lasts_us, n))
        x, y = rng.integers(0, size[0], n) * 1.0, rng.integers(0, size[1], n) * 1.0
        return merge_clips([clip, Clip(t, x, y, rng.random(n) < 0.5)])

    return change


def hot_pixels(share: float, hz: float = 200.0) -> Change:
    """Let a share of the pixels fire all the time."""

    def change(clip: Clip, rng: np.random.Generator, size: Size) -> Clip:
        begin_us, lasts_us = _span_of(clip)
        count = max(1, round(share * size[0] * size[1]))
        which = rng.integers(0, (size[0], size[1]), (count, 2))
        n = int(hz * lasts_us / 1e6) * count
        at = which[rng.integers(0, count, n)]
        t = begin_us + np.sort(rng.uniform(0, lasts_us, n))
        return merge_clips([clip, Clip(t, at[:, 0] * 1.0, at[:, 1] * 1.0, rng.random(n) < 0.5)])

    return change


def _span_of(clip: Clip) -> tuple[float, float]:
    """Return when a clip begins, and how long it lasts, in us."""
    return (float(clip.t[0]), float(clip.t[-1] - clip.t[0])) if len(clip) else (0.0, 0.0)


def tilted(degrees: float) -> Change:
    """Turn the picture about its middle."""

    def change(clip: Clip, _: np.random.Generator, size: Size) -> Clip:
        cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        x, y = clip.x - (size[0] - 1) / 2, clip.y - (size[1] - 1) / 2
        return Clip(clip.t, cos * x - sin * y + (size[0] - 1) / 2, sin * x + cos * y + (size[1] - 1) / 2, clip.p)

    return change


def to_clip(events: np.ndarray) -> Clip:
    """Convert events [N] in an upright view to a clip, their times unchanged."""
    return Clip(events["t"].astype(float), events["x"].astype(float), events["y"].astype(float), events["p"])


def cut_windows(events: np.ndarray, rows: Sequence[tuple[int, int, int]]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the class of each row (class, start_us, end_us), and its events [N], whose times begin at its start."""
    for gesture, start_us, end_us in rows:
        mine = events[(events["t"] >= start_us) & (events["t"] < end_us)].copy()
        mine["t"] -= start_us
        yield gesture, mine


# Of whole people by laws 2, at each sensor.
CONDITIONS = {
    "noise of 0.1 Hz": noise(0.1), "noise of 1 Hz": noise(1.0), "noise of 5 Hz": noise(5.0),
    "0.1 % hot pixels": hot_pixels(0.001), "tilted by 15 degrees": tilted(15.0),
}  # fmt: skip
CHOSEN_BY = ("laws 2", "cut", "near", "far")  # the gestures of the curve
OF_BOTH = {
    "cut away": CHANGES["body cut away"],
    "1.5 times as near": nearer(1.5),
    "2 times as near": nearer(2.0),
    "0.7 times as large": CHANGES["0.7 times as large"],
    "left": CHANGES["16 pixels left"],
    "right": CHANGES["16 pixels right"],
    "half pace": lambda clip, *_: Clip(clip.t * 2, clip.x, clip.y, clip.p),
}
OF_CLIPS = {"whole": CHANGES["as it is"], "a tenth of the events": CHANGES["10 % of the events"], **OF_BOTH}
NEAR = "drawn, near"  # of one forearm alone hardly anything says whose it is
AT_SIZES = ("people", "moves", "raised")  # who means nothing, also before larger cameras
NO_MOTION = {"shuffled": HARD_NEGATIVES["shuffle"], "frozen": HARD_NEGATIVES["freeze"]}
SECONDS = {"people": 15, "moves": 12, "everyday": 8, "things": 12, "raised": 12, "swings": 12}  # of a recording
SESSION_S = 40


class Case(NamedTuple):
    """One window or clip: events [N] in an upright view, and the class that is right; None where none is."""

    group: str
    events: np.ndarray
    size: Size
    right: str | None


def at_size(size: Size) -> str:
    """Return the suffix of a sensor's rows: empty for the sensor of the training."""
    return "" if size == SENSOR else f" at {size[0]}x{size[1]}"


def changed(name: str, clip: Clip, label: str, size: Size, changes: dict[str, Change]) -> Iterator[Case]:
    """Return a recording under each change, and without motion, and backwards."""
    rng = np.random.default_rng(0)
    for change, make in changes.items():
        yield Case(f"{name}, {change}", clip_to_events(make(clip, rng, size), size), size, label)
    turned = CLASSES[swap_classes(list(CLASSES), SWAPS["reverse"])[CLASSES.index(label)]]
    yield Case(f"{name}, backwards", clip_to_events(reverse_time(clip) if len(clip) else clip, size), size, turned)
    for change, hard in NO_MOTION.items():
        yield Case(f"{name}, {change}", clip_to_events(hard(clip, rng), size), size, None)


AS_TRAINED = "laws 2, as those that trained"


def list_views(everything: bool = False) -> dict[str, Staging]:
    """Return how performers are seen; `everything`: also by distance, under lamps, and as those that trained."""
    return VIEWS | (LAMPS | DISTANCES | {AS_TRAINED: VIEWS["laws 2"]} if everything else {})


def drawn(
    performers: int, size: Size, everything: bool = False, seed: int = SEED, views: Sequence[str] | None = None
) -> Iterator[Case]:
    """Windows of held-out performers, before a camera of this size. `everything`: by distance, in noise, tilted, two people."""
    for name, staging in list_views(everything).items():
        if views is not None and name not in views:
            continue
        for number in range(performers):
            split = "train" if name == AS_TRAINED else "test"
            events, rows = record_performer(seed, split, number, "windows", replace(staging, size=size))
            for gesture, mine in cut_windows(events, rows):
                if gesture == OTHER:
                    continue
                yield Case(f"drawn, {name}{at_size(size)}", mine, size, CLASSES[gesture])
                if name == "laws 2" and size == SENSOR:
                    yield from changed("drawn", to_clip(mine), CLASSES[gesture], size, OF_BOTH)
                if name == "laws 2" and everything:
                    yield from in_conditions(mine, CLASSES[gesture], size, number, seed)


def in_conditions(events: np.ndarray, label: str, size: Size, number: int, seed: int = SEED) -> Iterator[Case]:
    """Return a gesture as bad cameras see it, and with somebody else in the picture. events [N] begin at 0 us."""
    clip = to_clip(events)
    rng = np.random.default_rng(number)
    for name, change in CONDITIONS.items():
        yield Case(f"drawn, {name}{at_size(size)}", clip_to_events(change(clip, rng, size), size), size, label)
    staging = Staging(laws=2, view="whole", size=size)
    beside = record_performer(seed + 1, "test", number, "moves", staging)[0]
    beside = beside[beside["t"] < (events["t"][-1] if len(events) else 0)]
    away = (1 if number % 2 else -1) * 0.42 * size[1]
    other = to_clip(beside)
    other = Clip(other.t + _span_of(clip)[0], other.x + away, other.y, other.p)
    yield Case(f"drawn, two people{at_size(size)}", clip_to_events(merge_clips([clip, other]), size), size, label)


def hands(performers: int, size: Size, seed: int = SEED) -> Iterator[Case]:
    """Bare hands before the lens, that gesture or not, of held-out performers."""
    for number in range(performers):
        events, rows = record_performer(seed, "test", number, "hands", Staging(size=size))
        for gesture, mine in cut_windows(events, rows):
            name, right = ("no gesture", None) if gesture == OTHER else ("gestures", CLASSES[gesture])
            yield Case(f"bare hand, {name}{at_size(size)}", mine, size, right)


def clips(spec: str, model: Model, framing: Framing) -> Iterator[Case]:
    """Return the recordings of a data set of gestures."""
    data = open_dataset(spec, framing=framing, shape=model.input_shape, classes=model.classes)
    if not isinstance(data, EventSet):
        raise SystemExit(f"{spec}: holds no events")
    for i in range(len(data)):
        label = model.classes[data.label(i)]
        if label != CLASSES[OTHER]:
            events, size, upright = data.recording(i)
            yield from changed("clips", as_seen(events, size, upright, framing), label, size, OF_CLIPS)


def people(minutes: float, motions: str | None, size: Size, seed: int = SEED) -> Iterator[tuple[str, np.ndarray]]:
    """(group, events) of people who mean nothing, and of things, before a camera of this size: so many minutes of each."""
    parts = {"moves": Staging(laws=2, view="mixed"), "everyday": Staging(), "things": Staging()}
    parts |= {"raised": Staging(laws=2, view="whole"), "swings": Staging()}
    if motions is not None:
        parts = {"people": Staging(motions=motions), **parts}
    for part, staging in parts.items():
        if size != SENSOR and part not in AT_SIZES:
            continue
        for number in range(max(1, round(60 * minutes / SECONDS[part]))):
            kinds = list_kinds(part, True) if part in ("raised", "swings") else ("",)
            kind = kinds[number % len(kinds)]
            group = f"{part}, {kind}" if kind else part
            yield group + at_size(size), record_performer(seed, "test", number, part, replace(staging, size=size))[0]


def sessions(count: int, size: Size, seed: int = SEED) -> Iterator[str]:
    """So many sources of each law."""
    sensor = "" if size == SENSOR else f"&sensor={size[0]}x{size[1]}"
    for laws in (1, 2):
        for i in range(count):
            yield f"sim:dvs128-gesture?seed={seed + i}&seconds={SESSION_S}&laws={laws}{sensor}"
