"""Frames of one source, ready to be stepped: read ahead by a thread, in a bounded queue, with a stated rule for overload.

A live source does not wait. Where the network is slower than the feed, frames pile up, and something must give:

    merge[:8]   waiting frames become one coarser frame (counts add up): no event is lost, time resolution is
    drop[:8]    older waiting frames are dropped, and their events are counted as dropped

That begins when more than so many frames wait, with the oldest; from then on each step takes everything that waits, as one
frame (merge) or the newest of it (drop), until a step finds no more than one frame waiting. So the decisions are up to date
one step after the feed is calm again, however slow the network is. A hiccup of up to eight frames is simply worked off.
Frames are never merged across a gap in time or across dropped ones. A source that can wait (a file, a pipe) is not read on
while the queue is full.
"""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from runtime.base.errors import PlifError
from runtime.events import Frame, SourceFramer
from runtime.events.sources.base import waits
from runtime.stream.observe import Controls

QUIET_S = 1.0  # an overload is over when nothing was merged or dropped for so long


@dataclass(frozen=True)
class Overload:
    """What happens when more than `frames` frames wait."""

    policy: str = "merge"
    frames: int = 8

    @classmethod
    def parse(cls, text: str) -> Overload:
        match = re.fullmatch(r"(merge|drop)(?::([1-9]\d{0,5}))?", text)
        if not match or int(match[2] or 8) < 2:
            raise PlifError(f"--overload {text}: expected merge[:8] or drop[:8], with at least 2 frames")
        return cls(match[1], int(match[2] or 8))


class Ready(NamedTuple):
    """A complete frame. Both times are of time.perf_counter()."""

    frame: Frame
    complete_s: float
    due_s: float  # when its last event came, or was due: the lag is counted from here


class Feed:
    """The thread and the queue. `wake` is what the consumer sleeps on; it is notified whenever something is new."""

    def __init__(
        self,
        frames: SourceFramer,
        *,
        wake: threading.Condition,
        overload: Overload,
        paced: bool,
        controls: Controls,
        binary: bool,
        say: Callable[[str], None],
    ) -> None:
        self.frames, self.overload, self.paced = frames, overload, paced
        replay = bool(getattr(frames.source, "stepped", False))  # has the overload of then in it, and gets none of now
        self.waits = replay or (not paced and (not frames.source.live or waits(frames.source)))
        self.error: BaseException | None = None
        self.done = False
        self.merged = self.dropped = self.longest = (
            0  # frames merged into others, dropped, and most that waited at once
        )
        self._wake, self._controls, self._say, self._binary = wake, controls, say, binary
        self._queue: deque[Ready] = deque()
        self._skipped = 0  # dropped since the last frame that stayed
        self._stop = threading.Event()
        self._catching_up = False
        self._owed = 0  # events of dropped frames that are still in the account as used
        self._gap = self._restart = False  # what the frames that were dropped before the next one said
        self._overloaded_s: float | None = None  # when it last was
        self._left = False  # the thread did not end when it should, and nobody waits for it any more
        self._thread = threading.Thread(target=self._run, name=f"feed {frames.source.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def waiting(self) -> bool:
        """Whether frames wait; hold `wake`."""
        return bool(self._queue)

    def take(self) -> Ready | None:
        """The oldest frame that waits, or what became of all of them in an overload; hold `wake`."""
        if not self._queue:
            return None
        if self.waits and len(self._queue) >= self.overload.frames:
            self._wake.notify_all()
        if self._catching_up:
            self._catching_up = len(self._queue) > 1
            while len(self._queue) > 1 and not (self.overload.policy == "merge" and self._is_gap()):
                self._relieve()
        return self._queue.popleft()

    def stop(self) -> None:
        """Nothing more is read; does not wait for the thread."""
        self._stop.set()
        close = getattr(self.frames.source, "close", None)
        if close is not None:
            close()
        with self._wake:
            self._wake.notify_all()

    def ends(self, deadline_s: float) -> bool:
        """After stop(): whether the thread ended by then (time.monotonic()). Frames that still wait are dropped, and counted.

        A thread that did not end changes nothing of the account any more.
        """
        if self._thread.ident is not None:
            self._thread.join(max(0.0, deadline_s - time.monotonic()))
        with self._wake:
            while self._queue:
                self._drop(self._queue.popleft().frame)
            self._settle()
            self._left = self._left or self._thread.is_alive()
        return not self._left

    # --- the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            for ready in self._paced() if self.paced else self._arriving():
                self._put(ready)
        except BaseException as error:  # shown by the consumer, in its thread
            self.error = error
        finally:
            with self._wake:
                self.done = True
                self._wake.notify_all()

    def _arriving(self) -> Iterator[Ready]:
        for frame in self.frames:
            yield Ready(frame, time.perf_counter(), frame.arrived_s)
            if self.waits and self._stop.is_set():  # a recording has no end that close() could bring about
                return

    def _paced(self) -> Iterator[Ready]:
        """A recording at the speed of its own time. A gap is not waited for: the clock starts again after it."""
        began_s, first_us = time.perf_counter(), None
        for frame in self.frames:
            if not self._controls.running:
                stopped_s = time.perf_counter()
                self._controls.wait()
                began_s += time.perf_counter() - stopped_s
            if first_us is None or frame.discontinuity:
                began_s, first_us = time.perf_counter(), frame.t_start_us
            due_s = began_s + (frame.t_end_us - first_us) / 1e6
            if self._stop.wait(max(0.0, due_s - time.perf_counter())):
                with self._wake:
                    self._drop(frame)
                return
            yield Ready(frame, time.perf_counter(), due_s)

    def _put(self, ready: Ready) -> None:
        with self._wake:
            if self._left:
                return
            self._settle()
            while self.waits and len(self._queue) >= self.overload.frames and not self._stop.is_set():
                self._wake.wait()
            # a stopped stream drops what a live source brings; a paced recording waits, so its frame may wait, too
            live = self.frames.source.live and not self.waits
            if self._stop.is_set() or (live and not self._controls.running):
                self._skipped += ready.frame.skipped + ready.frame.merged
                self._drop(ready.frame)
                return
            ready.frame.skipped += self._skipped
            ready.frame.discontinuity |= self._gap
            ready.frame.restart |= self._restart
            self._skipped, self._gap, self._restart = 0, False, False
            self._queue.append(ready)
            while len(self._queue) > self.overload.frames:
                self._catching_up = True
                self._relieve()
            self.longest = max(self.longest, len(self._queue))
            self._wake.notify_all()
        self._tell(self._catching_up)

    def _is_gap(self) -> bool:
        """Whether time or frames are missing between the two oldest."""
        second = self._queue[1].frame
        return second.discontinuity or second.skipped > 0

    def _relieve(self) -> None:
        """One frame less waits."""
        gap = self._is_gap()
        first, second = self._queue.popleft(), self._queue.popleft()
        if self.overload.policy == "merge" and not gap:
            self.merged += 1
            if not second.frame.events:
                second = second._replace(due_s=first.due_s)
            merge(first.frame, second.frame, self._binary)
        else:
            self._drop(first.frame)
            second.frame.skipped += first.frame.skipped + first.frame.merged
            second.frame.discontinuity |= self._gap
            second.frame.restart |= self._restart
            self._gap = self._restart = False
        self._queue.appendleft(second)

    def _drop(self, frame: Frame) -> None:
        """What it said about the time before it holds for the frame after it, too; hold `wake`."""
        self.dropped += frame.merged
        self._owed += frame.events
        self._gap |= frame.discontinuity
        self._restart |= frame.restart

    def _settle(self) -> None:
        """Events of dropped frames were entered as used when they came. Only here: the account is the reader's."""
        self.frames.account.used -= self._owed
        self.frames.account.dropped += self._owed
        self._owed = 0

    def _tell(self, now: bool) -> None:
        clock_s = time.monotonic()
        if now:
            if self._overloaded_s is None:
                what = "merged into coarser ones" if self.overload.policy == "merge" else "dropped"
                self._say(f"the network does not keep up: oldest frames are {what}")
            self._overloaded_s = clock_s
        elif self._overloaded_s is not None and clock_s - self._overloaded_s > QUIET_S:
            self._overloaded_s = None
            self._say(f"keeping up again ({self.merged} frames merged and {self.dropped} dropped so far)")


def merge(older: Frame, into: Frame, binary: bool) -> None:
    """`into` becomes both: counts add up (binary: either), from the start of the older to the end of the newer."""
    into.x = np.maximum(older.x, into.x) if binary else older.x + into.x
    into.t_start_us = older.t_start_us
    into.events += older.events
    into.discontinuity, into.restart = older.discontinuity, older.restart
    into.merged += older.merged
    into.skipped += older.skipped
