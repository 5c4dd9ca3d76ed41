"""Start, stop, reset and end of a running stream, from any thread."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Controls:
    """The controls of a streaming run: start, stop, reset and end, from any thread.

    The loop reads `running`, `ended` and `resets` as plain attributes at every step.

    stop    no more steps until start(). A recording waits; events that a live source sends meanwhile are dropped and
            counted
    reset   membranes and evidence of one source, or of all, start afresh before the next step
    end     the stream ends, as at the end of a recording
    """

    def __init__(self) -> None:
        self.running, self.ended = True, False
        self.resets: set[str | None] = set()  # sources; None stands for all of them
        self.wake: Callable[[], None] = lambda: None  # the run sets it: wakes the loop
        self._change = threading.Condition()

    def start(self) -> None:
        self._set(running=True)

    def stop(self) -> None:
        self._set(running=False)

    def end(self) -> None:
        self._set(running=True, ended=True)

    def reset(self, source: str | None = None) -> None:
        with self._change:
            self.resets.add(source)

    def take_resets(self) -> set[str | None]:
        """Return the names of the sources with a requested reset, and clear the requests; None stands for all."""
        with self._change:
            requested, self.resets = self.resets, set()
        return requested

    def wait(self) -> None:
        """Block until a stopped streaming run is started again or ends."""
        with self._change:
            self._change.wait_for(lambda: self.running or self.ended)

    def _set(self, running: bool, ended: bool = False) -> None:
        with self._change:
            self.ended = self.ended or ended
            self.running = running or self.ended
            self._change.notify_all()
        self.wake()
