"""`sim:NAME?key=value&...`: a simulated camera as a source of events, for demonstrations and tests without a real one.

    sim:digits?seed=7&seconds=3&digit=3      drawn digits, one after the other, three saccades each, pauses between
    sim:dvs128-gesture?seed=7&seconds=30     a performer who does gestures: an open stream
    sim:motion?file=walk.bvh&yaw=30          a person who moves as in a motion capture file (BVH, or AMC with its ASF)

The same spec always gives the same events. Times start at 0. It is a recording, not live: it can be read again.

Options of a performer:

    seed      selects the person and the order of the gestures
    seconds   duration (3)
    gesture   always this one, by name or number 0 to 10; without it each one is drawn
    sensor    WIDTHxHEIGHT of the camera (128x128), 16 to 2048 pixels a side: the same person over the same part of the height
    split     test (held-out performers, the default) or train
    scene     gestures (the default), everyday (non-gesture motion), moves (stands up, sits down, raises an arm ...,
              from all sides) or things (bars and boxes that move)
    look      usual (the default), faint (weak contrast, far away), lamps (flicker), texture (scattered events) or plain (high
              thresholds, mostly noise)
    laws      1 (the default), or 2: gestures with the wider ranges of recorded people
    view      whole, far, cut or near; of people, not of things

Options of a motion, next to seed, sensor, split and look:

    file      the recording of the motion; %26 stands for an & in its name
    seconds   duration; the whole motion when not given. A longer time begins it again
    loops     or the number of repetitions
    yaw       degrees: 0 looks into the camera when the motion begins (the default), 90 towards the picture's right,
              -90 the left
    distance  metres from the camera to the middle of the path; the performer's (2 to 3.5) when not given
    mirror    no (the default) or yes: left and right are swapped

Gestures last 2 to 5 s, with 1.5 to 4 s of standing still before each. They are made while they are read, 20 ms at a time, so
that a paced stream does not halt for long.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from runtime.core.base.errors import PlifError
from runtime.core.base.grammar import Parser, choice_parser, integer_parser, parse_query, parse_scalar, parse_size
from runtime.core.events.array import EVENT_DTYPE
from runtime.core.events.sources.base import Source
from runtime.core.events.sources.usable import split_packets
from runtime.datasets.digits.drawing import draw_digit
from runtime.datasets.digits.saccades import DURATION_US, SENSOR_PX, record_digit
from runtime.datasets.motion.drawn import GestureMotion, MoveMotion, draw_painter
from runtime.datasets.motion.joints import read_motions
from runtime.datasets.motion.people import MotionClip, MotionPainter, MotionSequence, Viewpoint
from runtime.datasets.performers.figure import SENSOR
from runtime.datasets.performers.gestures import CLASSES
from runtime.datasets.performers.options import LOOKS, VIEWS
from runtime.datasets.performers.performance import Bout, record_bouts, record_scene
from runtime.datasets.performers.performer import draw_performer
from runtime.datasets.performers.schedule import draw_bouts, draw_everyday
from runtime.datasets.performers.things import ObjectPainter, draw_objects

SECONDS_LIMIT = 86_400
SEED_LIMIT = 2**63 - 1


def _parse_seconds(text: str) -> float:
    seconds = parse_scalar(text)
    if not isinstance(seconds, float) or not 0 < seconds <= SECONDS_LIMIT:
        raise ValueError(f"a number above 0, up to {SECONDS_LIMIT}")
    return seconds


COMMON_OPTIONS: Mapping[str, Parser] = {
    "seed": integer_parser(0, SEED_LIMIT),
    "seconds": _parse_seconds,
}  # options of every simulated source


class SimulatedSource(Source):
    """A simulated camera as a source of events; its recording is made while it is read.

    `options` has a reader for each option that the spec may have, and `values` the options that it has. Raises
    PlifError for any other option.
    """

    format = "sim"
    endless = True
    options: ClassVar[Mapping[str, Parser]]
    example: ClassVar[str]
    sensor: tuple[int, int]

    def __init__(self, spec: str, sensor: tuple[int, int] | None = None) -> None:
        super().__init__(spec)
        self.values = parse_query(spec, spec.partition("?")[2], self.options, self.example)
        self.sensor = self.values.get("sensor", self.sensor)
        if sensor is not None and tuple(sensor) != self.sensor:
            width, height = self.sensor
            remedy = "; ?sensor= draws another" if "sensor" in self.options else ""
            raise PlifError(f"{spec}: this simulated sensor is {width}x{height}, not {sensor[0]}x{sensor[1]}{remedy}")
        self._end_us, self._seed = round(self.values.get("seconds", 3.0) * 1e6), self.values.get("seed", 0)

    def _make_pieces(self) -> Iterator[npt.NDArray[np.void]]:
        """Yield the simulated events [N] of consecutive short times, so that only one piece is in memory."""
        raise NotImplementedError

    def packets(self, max_events: int = 65536) -> Iterator[npt.NDArray[np.void]]:
        """Yield the simulated events [N] in order, N <= max_events."""
        self.begin(max_events)
        for events in self._make_pieces():
            yield from split_packets(events, max_events)


PAUSE_US = 90_000
PERIOD_US = DURATION_US + PAUSE_US


class DigitSource(SimulatedSource):
    """A simulated source that shows drawn digits, one at a time; `truth` lists the digits with their times."""

    options: ClassVar = {**COMMON_OPTIONS, "digit": integer_parser(0, 9)}
    example = "sim:digits?seed=7&seconds=3&digit=3"
    sensor = (SENSOR_PX, SENSOR_PX)

    def __init__(self, spec: str, sensor: tuple[int, int] | None = None) -> None:
        super().__init__(spec, sensor)
        self._digit = self.values.get("digit")

    @property
    def truth(self) -> list[tuple[int, int, str]]:
        """The digits that the simulated source shows, as a list of (t_start_us, t_end_us, class)."""
        shown = []
        for start_us in range(0, self._end_us, PERIOD_US):
            digit, _ = self._draw_one(start_us // PERIOD_US)
            shown.append((start_us, min(start_us + DURATION_US, self._end_us), str(digit)))
        return shown

    def _draw_one(self, number: int) -> tuple[int, np.random.Generator]:
        rng = np.random.default_rng([self._seed, number])
        drawn = int(rng.integers(10))
        return (drawn if self._digit is None else self._digit), rng

    def _make_pieces(self) -> Iterator[npt.NDArray[np.void]]:
        for start_us in range(0, self._end_us, PERIOD_US):
            digit, rng = self._draw_one(start_us // PERIOD_US)
            events = record_digit(draw_digit(digit, rng), rng).astype(EVENT_DTYPE, copy=False)
            events["t"] += start_us
            yield events[events["t"] < self._end_us]


LEAST_PX, MOST_PX = 16, 2048


def _parse_sensor(text: str) -> tuple[int, int]:
    """Parse the sensor size WIDTHxHEIGHT in the spec of a simulated source."""
    try:
        size = parse_size("", text)
    except PlifError:
        size = (0, 0)
    if not LEAST_PX <= min(size) <= max(size) <= MOST_PX:
        raise ValueError(f"WIDTHxHEIGHT, e.g. 346x260, with both from {LEAST_PX} to {MOST_PX}")
    return size


STREAM = 3  # part of the seed: performers differ from those of a simulated set, with splits 0 (train) and 1 (test)
CHOICES = {  # the first of each is the usual one
    "split": ("test", "train"),
    "scene": ("gestures", "everyday", "moves", "things"),
    "look": LOOKS,
    "laws": ("1", "2"),
}


def _parse_gesture(text: str) -> int:
    """Parse the gesture class, by its name or number, in the spec of a simulated source."""
    try:
        return CLASSES.index(text) if text in CLASSES else integer_parser(0, len(CLASSES) - 1)(text)
    except ValueError:
        raise ValueError(f"0 to {len(CLASSES) - 1} or one of {', '.join(CLASSES)}") from None


class GestureSource(SimulatedSource):
    """A simulated source that shows a person with gestures; `truth` lists the gestures with their times.

    `truth` and `recognisable_us` are known before anything is read.
    """

    options: ClassVar = {
        **COMMON_OPTIONS,
        "sensor": _parse_sensor,
        "gesture": _parse_gesture,
        "view": choice_parser(*VIEWS),
        **{name: choice_parser(*words) for name, words in CHOICES.items()},
    }
    example = "sim:dvs128-gesture?seed=7&seconds=30"
    sensor = SENSOR

    def __init__(self, spec: str, sensor: tuple[int, int] | None = None) -> None:
        super().__init__(spec, sensor)
        split, self._scene, look, laws = (self.values.get(name, words[0]) for name, words in CHOICES.items())
        self._key, self._held_out = (self._seed, STREAM), split == "test"
        self._performer = draw_performer(self._key, self._held_out, None if look == "usual" else look, self.sensor)
        gesture, self._bouts = self.values.get("gesture"), list[Bout]()
        if self._scene == "gestures":
            self._bouts = list(draw_bouts(self._key, self._held_out, self._end_us, gesture, laws == "2"))

    @property
    def truth(self) -> list[tuple[int, int, str]]:
        """The gestures that the simulated source shows, as a list of (t_on_us, t_off_us, class).

        Each lasts from the arms' first movement until they hang again. Empty for everyday people and things.
        """
        return [(bout.t_on_us, min(bout.t_off_us, self._end_us), bout.label) for bout in self._bouts]

    @property
    def recognisable_us(self) -> list[int]:
        """The times in us at which each simulated gesture becomes recognisable, one for each entry of `truth`."""
        return [bout.t_ready_us for bout in self._bouts]

    def _make_pieces(self) -> Iterator[npt.NDArray[np.void]]:
        if self._scene == "things":
            paint = ObjectPainter(self._performer, draw_objects(self._key, self._held_out)).paint
            return record_scene(self._performer, paint, 0, self._end_us, self._key)
        everyday, view = self._scene == "everyday", self.values.get("view")
        bouts = list(draw_everyday(self._key, self._held_out, self._end_us)) if everyday else self._bouts
        if view is None and self._scene != "moves":
            return record_bouts(self._performer, bouts, 0, self._end_us, self._key)
        acting: GestureMotion | MoveMotion = GestureMotion(
            bouts, 0, self._end_us, self._performer.seed, self._performer.scale
        )
        if self._scene == "moves":
            acting = MoveMotion(self._key, self._held_out, self._end_us / 1e6)
        painter = draw_painter(self._performer, acting, view or VIEWS[0], self._key)
        return record_scene(self._performer, painter.paint, 0, self._end_us, self._key)


def _make_range_reader(low: float, high: float) -> Parser:
    """Return a parser of numbers from `low` to `high`, for options in the spec of a simulated source."""

    def read(text: str) -> float:
        number = parse_scalar(text)
        if not isinstance(number, float) or not low <= number <= high:
            raise ValueError(f"a number from {low:g} to {high:g}")
        return number

    return read


class MotionSource(SimulatedSource):
    """A simulated source that shows a person who moves as in a motion capture file.

    The constructor reads the file.
    """

    options: ClassVar = {
        **COMMON_OPTIONS,
        "sensor": _parse_sensor,
        "file": str,
        "loops": integer_parser(1, 10**6),
        "yaw": _make_range_reader(-360, 360),
        "distance": _make_range_reader(0.3, 30),
        "mirror": choice_parser("no", "yes"),
        **{name: choice_parser(*CHOICES[name]) for name in ("split", "look")},
    }
    example = "sim:motion?file=walk.bvh&yaw=30"
    sensor = SENSOR

    def __init__(self, spec: str, sensor: tuple[int, int] | None = None) -> None:
        super().__init__(spec, sensor)
        if not self.values.get("file"):
            raise PlifError(f"{spec}: no file named, expected {self.example}")
        motion = read_motions(self.values["file"])[0]
        course = MotionSequence(
            [MotionClip(motion.mirror() if self.values.get("mirror") == "yes" else motion)], repeat=True
        )
        if "seconds" not in self.values:
            self._end_us = round(min(course.duration_s(self.values.get("loops", 1)), SECONDS_LIMIT) * 1e6)
        elif "loops" in self.values:
            raise PlifError(f"{spec}: seconds= and loops=, expected one of them")
        look, split = self.values.get("look", "usual"), self.values.get("split", "test")
        self._key = (self._seed, STREAM)
        self._performer = draw_performer(self._key, split == "test", None if look == "usual" else look, self.sensor)
        view = Viewpoint(self.values.get("yaw", 0.0), self.values.get("distance"))
        self._painter = MotionPainter(self._performer, course, view)

    def _make_pieces(self) -> Iterator[npt.NDArray[np.void]]:
        return record_scene(self._performer, self._painter.paint, 0, self._end_us, self._key)


SIMULATED: dict[str, type[SimulatedSource]] = {
    "digits": DigitSource,
    "dvs128-gesture": GestureSource,
    "motion": MotionSource,
}


def open_simulated(spec: str, sensor: tuple[int, int] | None = None) -> SimulatedSource:
    """Open the simulated source that a spec such as sim:digits?seed=7 names. Raises PlifError for an unknown name."""
    name = spec.removeprefix("sim:").removeprefix("//").partition("?")[0]
    if name not in SIMULATED:
        examples = " or ".join(source.example for source in SIMULATED.values())
        raise PlifError(f"{spec}: '{name}' is not simulated, expected {examples}")
    return SIMULATED[name](spec, sensor)
