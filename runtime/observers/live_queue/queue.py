"""The frame queue of one source: read ahead by a thread, bounded, with a fixed rule for overload.

A live source does not wait. If the network is slower than the feed, frames pile up, and the overload rule decides:

    merge[:8]   waiting frames become one coarser frame (counts add up): no event is lost, but time resolution is
    drop[:8]    older waiting frames are dropped, and their events are counted as dropped

An overload begins when more frames wait than the limit; the oldest are merged or dropped first. From then on each
step takes all waiting frames, as one frame (merge) or only the newest (drop), until a step finds at most one frame
waiting. So the decisions are up to date one step after the feed is calm again, however slow the network is. A delay
of up to eight frames is no overload: these frames are stepped one by one. Frames are never merged across a gap in
time or across dropped ones. A source that can wait (a file, a pipe) is not read further while the queue is full.
"""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from runtime.core.base.errors import PlifError
from runtime.core.events.frame import Frame
from runtime.core.stream.controls import Controls
from runtime.core.stream.observe import BEAT_S, Observers
from runtime.core.stream.source_framer import SourceFramer
from runtime.core.stream.stream import Stream

CLOSING_S = 3.0  # the time limit for all reader threads together to end
QUIET_S = 1.0  # an overload ends after this time without merged or dropped frames


def parse_overload(text: str) -> tuple[str, int]:
    """Parse the option --overload; return its policy (merge or drop) and the number of frames that may wait."""
    match = re.fullmatch(r"(merge|drop)(?::([1-9]\d{0,5}))?", text)
    if not match or int(match[2] or 8) < 2:
        raise PlifError(f"--overload {text}: expected merge[:8] or drop[:8], with at least 2 frames")
    return match[1], int(match[2] or 8)


class FrameQueue:
    """The queue of frames of one source that wait for the network, and the thread that reads frames into it.

    The consumer sleeps on the condition `wake`, which is notified of each change.

    overload  the result of parse_overload
    paced     the frames of a recording come at the speed of the recording
    merged, dropped, longest  frames merged into others, dropped, and the most that waited at once
    """

    def __init__(
        self,
        frames: SourceFramer,
        *,
        wake: threading.Condition,
        overload: tuple[str, int],
        paced: bool,
        controls: Controls,
        say: Callable[[str], None],
    ) -> None:
        self.frames, self.paced = frames, paced
        self.policy, self.capacity = overload
        source = frames.source
        # a replay repeats the recorded overload: it waits, so that it never has an overload of its own
        self.waits = source.stepped or (not paced and (not source.live or source.waits))
        self.error: BaseException | None = None
        self.is_finished = False
        self.merged = self.dropped = self.longest = 0
        self._wake, self._controls, self._say = wake, controls, say
        self._queue: deque[Frame] = deque()
        self._stop = threading.Event()
        self._catching_up = False
        # of the frames dropped before the next one: their number, and whether a gap or a restart came before one of them
        self._skipped = 0
        self._gap = self._restart = False
        self._overloaded_s: float | None = None  # when frames were last merged or dropped
        self._thread = threading.Thread(target=self._run, name=f"frames {source.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def has_frames(self) -> bool:
        """True while frames wait in the source's queue; the caller holds `wake`."""
        return bool(self._queue)

    def take(self) -> Frame | None:
        """Take the oldest frame from the source's queue; in an overload take all, merged, or only the newest.

        The caller holds `wake`.
        """
        if not self._queue:
            return None
        if self.waits and len(self._queue) >= self.capacity:
            self._wake.notify_all()
        if self._catching_up:
            self._catching_up = len(self._queue) > 1
            while len(self._queue) > 1 and not (self.policy == "merge" and self._is_gap()):
                self._shrink_queue()
        return self._queue.popleft()

    def stop(self) -> None:
        """Stop reading frames into the queue, without waiting for the reader thread."""
        self._stop.set()
        self.frames.source.close()
        with self._wake:
            self._wake.notify_all()

    def join(self, deadline_s: float) -> bool:
        """Wait until a time.monotonic() deadline for the queue's stopped reader thread; return whether it ended.

        Frames that are still in the queue are dropped, and counted.
        """
        if self._thread.is_alive():
            self._thread.join(max(0.0, deadline_s - time.monotonic()))
        with self._wake:
            while self._queue:
                self._drop(self._queue.popleft())
        return not self._thread.is_alive()

    # --- the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            for frame in self._paced_frames() if self.paced else self.frames:
                self._put(frame)
                if self.waits and self._stop.is_set():  # close() does not end the frames of a recording
                    return
        except BaseException as error:  # the consumer raises it, in its own thread
            self.error = error
        finally:
            with self._wake:
                self.is_finished = True
                self._wake.notify_all()

    def _paced_frames(self) -> Iterator[Frame]:
        """Yield the frames of a recording at the speed at which they were recorded.

        It does not wait during a gap: the clock starts again after it.
        """
        began_s, first_us = time.perf_counter(), None
        for frame in self.frames:
            if not self._controls.running:
                stopped_s = time.perf_counter()
                self._controls.wait()
                began_s += time.perf_counter() - stopped_s
            if first_us is None or frame.discontinuity:
                began_s, first_us = time.perf_counter(), frame.t_start_us
            frame.due_s = began_s + (frame.t_end_us - first_us) / 1e6
            if self._stop.wait(max(0.0, frame.due_s - time.perf_counter())):
                with self._wake:
                    self._drop(frame)
                return
            frame.complete_s = time.perf_counter()
            yield frame

    def _put(self, frame: Frame) -> None:
        with self._wake:
            if self.frames.account.closed:  # the stream ended without this thread
                return
            while self.waits and len(self._queue) >= self.capacity and not self._stop.is_set():
                self._wake.wait()
            # a stopped stream drops what a live source brings; a paced recording waits, so its frame may wait, too
            live = self.frames.source.live and not self.waits
            if self._stop.is_set() or (live and not self._controls.running):
                self._skipped += frame.skipped + frame.merged
                self._drop(frame)
                return
            self._apply_gap(frame)
            frame.skipped += self._skipped
            self._skipped = 0
            self._queue.append(frame)
            while len(self._queue) > self.capacity:
                self._catching_up = True
                self._shrink_queue()
            self.longest = max(self.longest, len(self._queue))
            self._wake.notify_all()
        self._report_overload(self._catching_up)

    def _is_gap(self) -> bool:
        """Return whether time or frames are missing between the two oldest frames in the queue."""
        second = self._queue[1]
        return second.discontinuity or second.skipped > 0

    def _shrink_queue(self) -> None:
        """Merge the oldest frame in the queue into the next one, or drop it, to make the queue shorter."""
        gap = self._is_gap()
        first, second = self._queue.popleft(), self._queue.popleft()
        if self.policy == "merge" and not gap:
            self.merged += 1
            self.frames.framer.join(second, first)
        else:
            self._drop(first)
            second.skipped += first.skipped + first.merged
            self._apply_gap(second)
        self._queue.appendleft(second)

    def _drop(self, frame: Frame) -> None:
        """Drop a frame from the queue, and pass a gap or restart before it to the next frame.

        The caller holds `wake`.
        """
        self.dropped += frame.merged
        self.frames.account.add(dropped=frame.events)
        self._gap |= frame.discontinuity
        self._restart |= frame.restart

    def _apply_gap(self, frame: Frame) -> None:
        frame.discontinuity |= self._gap
        frame.restart |= self._restart
        self._gap = self._restart = False

    def _report_overload(self, overloaded: bool) -> None:
        clock_s = time.monotonic()
        if overloaded:
            if self._overloaded_s is None:
                action = "merged into coarser ones" if self.policy == "merge" else "dropped"
                self._say(f"the network does not keep up: oldest frames are {action}")
            self._overloaded_s = clock_s
        elif self._overloaded_s is not None and clock_s - self._overloaded_s > QUIET_S:
            self._overloaded_s = None
            self._say(f"keeping up again ({self.merged} frames merged and {self.dropped} dropped so far)")


class Queues:
    """The frame queues of all streams of a run, each with a reader thread; iteration yields streams with a frame.

    overload  text of --overload;  paced: recordings come at their own speed
    """

    def __init__(
        self, streams: Iterable[Stream], overload: str, paced: bool, controls: Controls, observers: Observers
    ) -> None:
        rule = parse_overload(overload)
        self._controls, self._observers = controls, observers
        self._wake = threading.Condition()
        self._pairs: list[tuple[Stream, FrameQueue]] = []
        for stream in streams:
            stream.queue = queue = FrameQueue(
                stream.frames,
                wake=self._wake,
                overload=rule,
                paced=paced and not stream.source.live,
                controls=self._controls,
                say=stream.source.say,
            )
            self._pairs.append((stream, queue))

    def __iter__(self) -> Iterator[list[Stream]]:
        """Yield lists of the streams that have a frame in their queue, and sleep while none has one."""
        for _, queue in self._pairs:
            queue.start()
        failed: BaseException | None = None
        while not self._controls.ended:
            batch = []
            with self._wake:
                while not self._controls.ended:
                    is_finished, running = True, self._controls.running
                    for stream, queue in self._pairs:
                        stream.pending = queue.take() if running else None
                        if stream.pending is not None:
                            batch.append(stream)
                        # a failure ends the run, whatever the other sources do, and also while it is stopped
                        failed = failed or queue.error
                        is_finished = is_finished and queue.is_finished and not queue.has_frames
                    if batch or failed or is_finished:
                        break
                    self._wake.wait(BEAT_S if self._observers.on_wait else None)
                    if self._observers.on_wait:
                        self._observers.on_wait()
            if failed:
                raise failed
            if not batch:
                return
            yield batch

    def wake(self) -> None:
        """Wake the loop that waits for frames, after the user stopped, continued or ended the stream."""
        with self._wake:
            self._wake.notify_all()

    def close(self) -> None:
        """Stop all reader threads of the frame queues; drop and count the frames that still wait."""
        for _, queue in self._pairs:
            queue.stop()
        deadline_s = time.monotonic() + CLOSING_S  # the same for all
        for stream, queue in self._pairs:
            if not queue.join(deadline_s):
                text = f"its reader did not end within {CLOSING_S:g} s and is left behind; what it still brings is not counted"
                if text not in stream.notes:
                    stream.notes.append(text)
                    self._observers.on_note(stream.name, text)
