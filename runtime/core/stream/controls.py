"""Start, stop, reset and end of a running stream, from any thread."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Controls:
    """What steers a run. The loop reads `running`, `ended` and `resets` as plain attributes at every step.

    stop    no more steps until start(). A recording waits; what a live source brings meanwhile is dropped and counted
    reset   membranes and evidence start afresh before the next step, of one source or of all
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
        """The resets that were asked for since the last call."""
        with self._change:
            asked, self.resets = self.resets, set()
        return asked

    def wait(self) -> None:
        """Returns when the stream runs or ends."""
        with self._change:
            self._change.wait_for(lambda: self.running or self.ended)

    def _set(self, running: bool, ended: bool = False) -> None:
        with self._change:
            self.ended = self.ended or ended
            self.running = running or self.ended
            self._change.notify_all()
        self.wake()
