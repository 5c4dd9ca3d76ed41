"""The base class of all sources of events, with the defaults of their properties.

To add one: a folder in runtime/sources with a part.py (runtime/core/parts.py), CONTRACT = "Source" and SCHEME = "udp"
of udp://..., and with SOURCE: SOURCE(spec, sensor) makes a `Source`. A source with events of a file format names that
format in its NEEDS, and takes the options of the format, too.
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


def is_rotated_by_format(source: Source, framing: Framing) -> bool:
    """Return whether a source's pictures are rotated only because their format says so.

    The camera may have been mounted in another way.
    """
    return framing.orientation == "upright" and source.upright != "identity" and not source.has_user_orientation


class Source:
    """A source of events in bounded packets: a file or a live feed.

    Derive from it, write `packets`, and set the attributes with other values than here:

    name      as the user typed it
    format    "nmnist", "evt3", "csv", ...
    sensor    (width, height) in pixels
    sensor_from  the origin of that size: "source" (a camera, an address, a simulation), "recording", "asked" (the
                 user), "model" (the network's training), or "guess"
    upright   the rotation that makes the stored view upright: one of UPRIGHT (runtime/core/events/framing.py)
    has_user_orientation   whether `upright` comes from the user (up=, the side of the stored picture where people's
              heads are) and not from the format
    live      it cannot be read twice
    endless   its scene changes without an end in sight: evidence should not add up for ever
    waits     the sender waits until we read (a pipe): no event need be dropped when the network is slow
    invalid   events so far that cannot be used (outside the sensor, invalid bit, ...)
    notes     one line for each kind of loss; complete once packets() has ended
    guesses   one line for each fact that the recording does not say and that was derived from its events
    can_return  whether it may be lost and come back; `returns` counts how often it came back, before the next packet
    lost      nothing is known of the scene now: no sender, no connection, no camera
    dropped   events that were lost before we could read them, where their number is known
    say       a function of one line of text, called when something happens that the user should know at once
    tick_s    if set, packets() also yields an empty packet (TICK) whenever no event came for so many seconds
    until_us  of a replay: the time to which a TICK moves the stream; None: this machine's clock decides
    stepped   a recording chooses its frames, and no overload is added
    datagrams  counts of datagrams by outcome; empty where the source has none
    """

    format = ""
    sensor: tuple[int, int]
    sensor_from = "source"
    upright = "identity"
    has_user_orientation = False
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
        """Yield a source's events in packets [N] of EVENT_DTYPE in file order, N at most `max_events`.

        A recording starts at its beginning at each call.
        """
        raise NotImplementedError

    def words(self) -> Iterator[tuple[np.ndarray, Evt3Reader]] | None:
        """Return the undecoded words [N] of a source's file for Framer.iter_word_frames, in place of packets().

        Return None where the source has decoded events only.
        """
        return None

    def status(self) -> dict[str, object]:
        """Return the state of an event source for monitoring, as JSON, in addition to the account; from any thread."""
        return {}

    def count(self) -> int:
        """Count the events that a source's packets() yields over a complete recording.

        Raise PlifError for a live source.
        """
        if self.live:
            raise PlifError(f"{self.name}: a live source has no number of events: record it to a file first")
        if self._count is None:
            self._count = sum(len(packet) for packet in self.packets())
        return self._count

    def choose(self, frames: Iterator[Frame], framer: Framer) -> Iterator[Frame]:
        """Select the frames on which the network is stepped: all of them, unless a replayed recording says otherwise."""
        return frames

    def set_orientation(self, up: str) -> None:
        """Set the side of the stored picture where people's heads are, in place of the format's orientation.

        Raise PlifError for a text that is no side.
        """
        if up not in TURNS:
            raise PlifError(
                f"{self.name}: up={up}: expected {', '.join(TURNS)}: the side of the stored picture where heads are"
            )
        self.upright, self.has_user_orientation = TURNS[up], True

    def close(self) -> None:
        """Close an event source: end the iteration over its packets(); any thread may call it."""

    # --- for derived classes ----------------------------------------------------------------------------------------

    def begin(self, max_events: int) -> None:
        """Start one pass over the events of a source; every packets() calls it first."""
        if max_events < 1:
            raise PlifError(f"{self.name}: packets of {max_events} events; expected at least 1")
        if self.live and self._begun:
            raise PlifError(f"{self.name}: a live source cannot be read twice: record it to a file first")
        self._begun = True

    def went_away(self, text: str) -> None:
        """Mark an event source as lost and tell the user why: nothing is known of the scene from now on."""
        self.lost = True
        self.say(text)

    def came_back(self, heard_s: float) -> None:
        """Mark a lost event source as back.

        `heard_s` is the time.monotonic() of the last sign of the source.
        """
        self.say(f"back after {time.monotonic() - heard_s:.1f} s")
        self.returns += 1
        self.lost = False

    def wait_with_ticks(self, stop: threading.Event, seconds: float) -> Iterator[np.ndarray]:
        """Wait `seconds`, or until `stop` is set, and yield an empty packet [0] (TICK) every tick_s seconds."""
        end_s = time.monotonic() + seconds
        while (remaining_s := end_s - time.monotonic()) > 0:
            if stop.wait(remaining_s if self.tick_s is None else min(remaining_s, self.tick_s)):
                return
            if self.tick_s is not None:
                yield TICK
