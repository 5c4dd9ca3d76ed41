"""What every source of events is: its facts with their defaults, and its packets.

To add one: a folder in runtime/sources with a part.py (runtime/core/parts.py), CONTRACT = "Source" and SCHEME = "udp" of udp://...,
and with SOURCE: SOURCE(spec, sensor) makes a `Source`. One whose events are of a format names it in its NEEDS, and takes the
options of that format, too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.events.array import EVENT_DTYPE
from runtime.core.events.formats.base import Losses
from runtime.core.events.framing import TURNS, Framing

if TYPE_CHECKING:
    from runtime.core.events.frame import Frame
    from runtime.core.events.framer import Framer
    from runtime.native.interface import Evt3Reader

ASK = "Is this upright? If not, on which side of the stored picture are heads: --up top, left, right or bottom"
TICK = np.empty(0, EVENT_DTYPE)


def turns_itself(source: Source, framing: Framing) -> bool:
    """Whether a picture is turned because its format says so, which may not be how the camera was mounted."""
    return framing.orientation == "upright" and source.upright != "identity" and not source.up_said


class Source:
    """Events in bounded packets, from a file or live. Derive from it, write `packets`, and set what differs from this:

    name      what the user typed
    format    "nmnist", "evt3", "csv", ...
    sensor    (width, height) in pixels
    sensor_from  who says so: "source" (a camera, an address, a simulation), "recording", "asked" (the user),
                 "model" (the network's training), or "guess"
    upright   how the stored view becomes upright: one of UPRIGHT (runtime/core/events/framing.py), as its format says, or the
              user:
    up_said   whether it was the user: up=, the side of the stored picture on which people's heads are
    live      it cannot be read twice
    endless   what it shows changes, and no end is in sight: its evidence should not add up for ever
    waits     the sender waits until we read (a pipe): nothing need be dropped when the network is slow
    invalid   events found so far that cannot be used (outside the sensor, invalid bit, ...)
    notes     one line for each thing lost; complete once packets() has ended
    guesses   one line for each thing that the recording does not say and that was taken from its events
    can_return  whether it may be lost and come back; `returns` counts how often it came back, before the next packet is given
    lost      nothing is known of the scene now: no sender, no connection, no camera
    dropped   events that were lost before we could read them, where their number is known
    say       a function of one line of text, called when something happens that a person should know at once
    tick_s    when it is set, packets() also gives an empty packet (TICK) whenever nothing came for so many seconds
    until_us  of a replay: the time to which a TICK moves the stream; None: the clock of this machine says it
    stepped   its frames are chosen by a recording, and no overload is added
    datagrams  counts of datagrams by fate; empty where the source has none
    """

    format = ""
    sensor: tuple[int, int]
    sensor_from = "source"
    upright = "identity"
    up_said = False
    live = False
    waits = False
    returns = 0
    lost = False
    dropped = 0
    tick_s: float | None = None
    until_us: int | None = None
    stepped = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.losses = Losses()
        self.guesses: list[str] = []
        self.say: Callable[[str], None] = lambda text: None
        self.datagrams: dict[str, int] = {}
        self._begun = False
        self._count: int | None = None

    @property
    def endless(self) -> bool:
        return self.live and not self.waits

    @property
    def can_return(self) -> bool:
        return self.live

    @property
    def invalid(self) -> int:
        return self.losses.invalid

    @property
    def notes(self) -> list[str]:
        return self.losses.notes

    def packets(self, max_events: int = 65536) -> Iterator[np.ndarray]:
        """Events [N] of EVENT_DTYPE in file order, N at most `max_events`. A recording starts afresh at each call."""
        raise NotImplementedError

    def words(self) -> Iterator[tuple[np.ndarray, Evt3Reader]] | None:
        """In the place of packets(), where nobody looks at them: words [N] that a framer takes as they are
        (Framer.frames_of_words). None where there are only events."""
        return None

    def status(self) -> dict[str, object]:
        """What a program that looks after the stream should know now, beside the account, for JSON. From any thread."""
        return {}

    def count(self) -> int:
        """How many events packets() yields over a whole recording. PlifError for a live source."""
        if self.live:
            raise PlifError(f"{self.name}: a live source has no number of events: record it to a file first")
        if self._count is None:
            self._count = sum(len(packet) for packet in self.packets())
        return self._count

    def choose(self, frames: Iterator[Frame], framer: Framer) -> Iterator[Frame]:
        """Which frames of those that the framer makes are stepped: all of them, unless a recording says otherwise."""
        return frames

    def stand(self, up: str) -> None:
        """People's heads are on this side of the stored picture, whatever the format says. PlifError where it is no side."""
        if up not in TURNS:
            raise PlifError(
                f"{self.name}: up={up}: expected {', '.join(TURNS)}: the side of the stored picture where heads are"
            )
        self.upright, self.up_said = TURNS[up], True

    def close(self) -> None:
        """Ends packets(), from any thread."""

    # --- for derived classes ----------------------------------------------------------------------------------------

    def begin(self, max_events: int) -> None:
        """Every packets() calls it first."""
        if max_events < 1:
            raise PlifError(f"{self.name}: packets of {max_events} events; expected at least 1")
        if self.live and self._begun:
            raise PlifError(f"{self.name}: a live source cannot be read twice: record it to a file first")
        self._begun = True

    def went_away(self, text: str) -> None:
        """Nothing is known of the scene from now on, and `text` says why."""
        self.lost = True
        self.say(text)

    def came_back(self, heard_s: float) -> None:
        """After a loss; `heard_s` is when something came last, as time.monotonic() tells it."""
        self.say(f"back after {time.monotonic() - heard_s:.1f} s")
        self.returns += 1
        self.lost = False

    def ticking(self, stop: threading.Event, seconds: float) -> Iterator[np.ndarray]:
        """Waits so many seconds, or until `stop`; gives an empty packet [0] (TICK) every tick_s of them."""
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0:
            if stop.wait(left_s if self.tick_s is None else min(left_s, self.tick_s)):
                return
            if self.tick_s is not None:
                yield TICK
