"""Events -> frames [C, H, W], the same code for a whole recording and for a stream that arrives in pieces.

Count framing is Eq. S1 of Fang et al. 2021: slice j of N events holds [floor(N/T) j, floor(N/T) (j+1)), the last one
the rest; events count in file order and none is late. The timed framings follow a clock, the running maximum of t:

- an event before the start of the open frame is late: counted, not used. Backward steps inside the frame are used;
- a step of more than a second, forward beyond the clock or backward below it, is a discontinuity: the open frame is
  closed, the grid starts again at the new event, and the next frame says so. Never a flood of empty frames;
- a recording of T duration frames that is too short is padded (repeat: the last full frame, the partial one is not
  used; zero: the partial frame, then empty ones); events beyond T frames are filtered.

How the events are split into pushes never changes a frame, and at every moment
events_in == used + filtered + late + invalid + dropped. Events in the open frame count as used.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from runtime.errors import PlifError
from runtime.events.framing import Framing
from runtime.events.sources.base import Source
from runtime.events.view import View

GAP_US = 1_000_000
WINDOW = 4096  # events looked at in one go where the end of a frame is not known beforehand
LIVE_FRAMINGS = "duration:10ms or events:n=5000,max=20ms"


@dataclass(eq=False)
class Frame:
    """One time-step. `x` float32 [C, H, W] (read-only when empty), its time span, how many events are in it."""

    x: np.ndarray
    t_start_us: int
    t_end_us: int
    events: int
    discontinuity: bool = False  # a gap came before this frame


@dataclass
class Account:
    """Where every event went."""

    events_in: int = 0
    used: int = 0
    filtered: int = 0  # cropped away, or beyond T frames
    late: int = 0  # before the start of the open frame
    invalid: int = 0  # outside the sensor, marked invalid, ...
    dropped: int = 0  # by a live source that could not keep up

    def take(self, *, used: int = 0, filtered: int = 0, late: int = 0, invalid: int = 0, dropped: int = 0) -> None:
        """Enter events, each once."""
        self.events_in += used + filtered + late + invalid + dropped
        self.used += used
        self.filtered += filtered
        self.late += late
        self.invalid += invalid
        self.dropped += dropped

    @property
    def balanced(self) -> bool:
        return self.events_in == self.used + self.filtered + self.late + self.invalid + self.dropped


class Framer:
    """Push events in file order, get frames as they close; `close()` gives the last ones.

    shape is the network's (C, H, W), source_size the sensor's (width, height), `upright` what the source says.
    Count framing needs `total`, the number of events that will be pushed. Use one Framer for one recording.
    """

    def __init__(
        self,
        framing: Framing | str,
        shape: tuple[int, int, int],
        source_size: tuple[int, int],
        total: int | None = None,
        upright: str = "identity",
    ) -> None:
        self.framing = framing = Framing.parse(framing) if isinstance(framing, str) else framing
        if framing.kind == "count" and total is None:
            raise PlifError(
                f"framing {str(framing)!r} needs the number of events beforehand, which a live source cannot tell: "
                f"use {LIVE_FRAMINGS}"
            )
        self.shape = shape
        self.account = Account()
        self.discontinuities = 0
        self._view = View(framing, shape, source_size, upright)
        self._cells = shape[0] * shape[1] * shape[2]
        self._empty = np.zeros(shape, np.float32)
        self._empty.flags.writeable = False  # every empty frame shows this one array
        self._counts: np.ndarray | None = None  # float32 [C*H*W] of the open frame
        self._used = self._seen = 0  # events in the open frame; the same with those cropped away
        self._emitted = 0
        self._last = self._empty  # x of the last frame that closed
        self._gap_before = False
        self._closed = False
        self._clock: int | None = None  # running maximum of t since the last discontinuity
        self._open_us = 0  # start of the open frame
        # count framing
        self._total = total or 0
        self._position = 0
        self._last_us = 0

    def push(self, events: np.ndarray) -> list[Frame]:
        """Events [N] of EVENT_DTYPE -> the frames that they close, in order."""
        return list(self.frames(events))

    def close(self) -> list[Frame]:
        """The recording has ended: the frames still due."""
        return list(self.closing())

    def frames(self, events: np.ndarray) -> Iterator[Frame]:
        """As `push`, one frame at a time: memory stays bounded when few events make many frames. Consume it whole."""
        if self._closed:
            raise PlifError("this framer is closed: use a new one for each recording")
        inside = self._view.inside(events)
        if not inside.all():
            self.account.take(invalid=int(len(inside) - inside.sum()))
            events = events[inside]
        if not len(events):
            return
        t, cells = events["t"].astype(np.int64), self._view.cells(events)
        if self.framing.kind == "count":
            yield from self._by_count(t, cells)
        else:
            yield from self._by_clock(t, cells)

    def closing(self) -> Iterator[Frame]:
        """As `close`, one frame at a time."""
        if self._closed:
            return
        self._closed = True
        if self.framing.kind == "count":
            assert self.framing.T is not None
            while self._emitted < self.framing.T:
                yield self._emit(self._open_us if self._seen else self._last_us, self._last_us)
        elif self.framing.T is not None:
            yield from self._pad(self.framing.T)
        elif self._seen:
            yield self._emit(self._open_us, self._end_of_partial())

    # --- the open frame ---------------------------------------------------------------------------------------------

    def _add(self, cells: np.ndarray, late: np.ndarray | None = None) -> None:
        """Events into the open frame, save the late ones."""
        late_count = 0
        if late is not None and (late_count := int(late.sum())):
            cells = cells[~late]
        self._seen += len(cells)
        kept = cells[cells >= 0] if len(cells) and cells.min() < 0 else cells
        self.account.take(used=len(kept), filtered=len(cells) - len(kept), late=late_count)
        if len(kept):
            self._used += len(kept)
            if self._counts is None:
                self._counts = np.zeros(self._cells, np.float32)
            np.add.at(self._counts, kept, np.float32(1))

    def _emit(self, start_us: int, end_us: int) -> Frame:
        """Close the open frame."""
        if self._counts is None:
            x: np.ndarray = self._empty
        else:
            counts: np.ndarray = self._counts
            if self.framing.value != "count":
                counts = np.minimum(counts, np.float32(1))
            x = counts.reshape(self.shape)
        frame = Frame(x, int(start_us), int(end_us), self._used, self._gap_before)
        self._counts, self._used, self._seen, self._gap_before = None, 0, 0, False
        self._last = x
        self._emitted += 1
        return frame

    def _full(self) -> bool:
        return self.framing.T is not None and self._emitted >= self.framing.T

    # --- count ------------------------------------------------------------------------------------------------------

    def _by_count(self, t: np.ndarray, cells: np.ndarray) -> Iterator[Frame]:
        T = self.framing.T
        assert T is not None
        if self._position == 0:
            self._last_us = int(t[0])
        quota = self._total // T
        at = 0
        while at < len(t):
            end = (self._emitted + 1) * quota  # of the open slice
            if self._emitted == T - 1:
                end = self._position + len(t)  # the last slice takes the rest
            piece = slice(at, at + min(len(t) - at, end - self._position))
            if piece.stop > at:
                if not self._seen:
                    self._open_us = int(t[at])
                self._add(cells[piece])
                self._last_us = int(t[piece.stop - 1])
                self._position += piece.stop - at
                at = piece.stop
            if self._position == end and self._emitted < T - 1:
                yield self._emit(self._open_us if self._seen else self._last_us, self._last_us)

    # --- duration and events: both follow the clock -----------------------------------------------------------------

    def _by_clock(self, t: np.ndarray, cells: np.ndarray) -> Iterator[Frame]:
        at = 0
        while at < len(t):
            if self._full():
                self.account.take(filtered=len(t) - at)
                return
            if self._clock is None:
                self._clock = self._open_us = int(t[at])
            end = self._until_gap(t, at)
            if end > at:
                run = self._on_grid if self.framing.kind == "duration" else self._by_number
                yield from run(t[at:end], cells[at:end])
            if end < len(t) and not self._full():
                if self._seen:
                    yield self._emit(self._open_us, self._end_of_partial())
                self.discontinuities += 1
                self._gap_before = True
                self._clock = None
            at = end

    def _until_gap(self, t: np.ndarray, at: int) -> int:
        """Index of the first event from `at` that is a discontinuity, or the end; moves the clock up to there."""
        size = 256  # grows, so that many gaps do not make the search quadratic
        while at < len(t):
            piece = t[at : at + size]
            clock = np.maximum.accumulate(np.concatenate([[self._clock], piece]))
            gap = np.abs(piece - clock[:-1]) > GAP_US
            if gap.any():
                first = int(gap.argmax())
                self._clock = int(clock[first])
                return at + first
            self._clock = int(clock[-1])
            at += len(piece)
            size *= 2
        return at

    def _end_of_partial(self) -> int:
        """A frame that is closed early ends where its grid says; by number, at the latest time seen."""
        if self.framing.duration_us is not None:
            return self._open_us + self.framing.duration_us
        assert self._clock is not None
        return max(self._open_us, self._clock)

    def _on_grid(self, t: np.ndarray, cells: np.ndarray) -> Iterator[Frame]:
        """Events without a gap among them -> frames of equal duration. The open frame is number 0 here."""
        duration = self.framing.duration_us
        assert duration is not None
        number = (t - self._open_us) // duration
        reached = np.maximum.accumulate(np.maximum(number, 0))
        late = number < reached
        starts = np.flatnonzero(np.diff(reached, prepend=reached[0]))
        edges = [0, *starts.tolist(), len(t)]
        opened = 0
        for begin, end in pairwise(edges):
            for _ in range(int(reached[begin]) - opened):
                yield self._emit(self._open_us, self._open_us + duration)
                self._open_us += duration
                if self._full():
                    self.account.take(filtered=len(t) - begin)
                    return
            opened = int(reached[begin])
            self._add(cells[begin:end], late[begin:end])

    def _by_number(self, t: np.ndarray, cells: np.ndarray) -> Iterator[Frame]:
        """Events without a gap among them -> frames of n events, or of max_us when that comes first."""
        n, max_us = self.framing.n, self.framing.max_us
        assert n is not None and max_us is not None
        at = 0
        while at < len(t):
            piece = slice(at, at + min(n - self._used, WINDOW))
            beyond = t[piece] >= self._open_us + max_us
            taken = int(beyond.argmax()) if beyond.any() else len(beyond)
            piece = slice(at, at + taken)
            self._add(cells[piece], t[piece] < self._open_us)
            at += taken
            if self._used == n:  # then the last event taken is the n-th one
                end_us = int(t[at - 1])
                yield self._emit(self._open_us, end_us)
                self._open_us = end_us
            elif at < len(t) and taken < len(beyond):
                for _ in range((int(t[at]) - self._open_us) // max_us):
                    yield self._emit(self._open_us, self._open_us + max_us)
                    self._open_us += max_us

    def _pad(self, T: int) -> Iterator[Frame]:
        """duration with T: as many frames as are missing."""
        duration = self.framing.duration_us
        assert duration is not None
        if self._emitted and self.framing.pad == "repeat":
            # the partial frame is not used: its events were entered as used when they came
            self.account.used -= self._used
            self.account.filtered += self._used
            self._counts, self._used, self._seen, self._gap_before = None, 0, 0, False
        elif self._emitted < T:
            yield self._emit(self._open_us, self._open_us + duration)
            self._open_us += duration
        repeated = self._last if self.framing.pad == "repeat" else self._empty
        while self._emitted < T:
            frame = self._emit(self._open_us, self._open_us + duration)
            frame.x = repeated
            self._open_us += duration
            yield frame


def frames_of(
    events: np.ndarray,
    framing: Framing | str,
    shape: tuple[int, int, int],
    source_size: tuple[int, int],
    upright: str = "identity",
) -> np.ndarray:
    """A whole recording -> float32 [T, C, H, W], through the same Framer that a stream uses. T may be 0."""
    usable = (events["x"] < source_size[0]) & (events["y"] < source_size[1])
    framer = Framer(framing, shape, source_size, total=int(usable.sum()), upright=upright)
    frames = framer.push(events) + framer.close()
    return np.stack([frame.x for frame in frames]) if frames else np.zeros((0, *shape), np.float32)


class SourceFramer:
    """Iterates the frames of a whole source; `account` is right at every moment, the source's own losses included.

    Count framing reads a recording twice (first to count); a live source is refused with what to use instead.
    """

    def __init__(self, source: Source, framing: Framing | str, shape: tuple[int, int, int]) -> None:
        self.source = source
        framing = Framing.parse(framing) if isinstance(framing, str) else framing
        total = source.count() if framing.kind == "count" and not source.live else None
        self.framer = Framer(framing, shape, source.sensor, total=total, upright=source.upright)
        self._invalid = self._dropped = 0

    @property
    def account(self) -> Account:
        return self.framer.account

    def __iter__(self) -> Iterator[Frame]:
        for packet in self.source.packets():
            self._losses()
            yield from self.framer.frames(packet)
        self._losses()
        yield from self.framer.closing()

    def _losses(self) -> None:
        """Enter what the source could not use since the last look."""
        invalid, dropped = self.source.invalid, int(getattr(self.source, "dropped", 0))
        self.account.take(invalid=invalid - self._invalid, dropped=dropped - self._dropped)
        self._invalid, self._dropped = invalid, dropped


def frame_source(source: Source, framing: Framing | str, shape: tuple[int, int, int]) -> SourceFramer:
    """The frames of a source, one at a time: `for frame in frame_source(source, "duration:10ms", (2, 128, 128))`."""
    return SourceFramer(source, framing, shape)
