"""SIGINT (Ctrl-C), SIGTERM (service managers) and SIGHUP (a terminal that was closed) end a stream in order, with code 130.

    with Ending() as ending:        # from the first moment: what is only loading is broken off (KeyboardInterrupt)
        running = ...
        ending.gently(running.controls.end)     # from here on the stream ends as at the end of a recording
        try: ...the loop
        finally:
            ending.closing()        # summary, recorder: no signal breaks these off
    if ending.asked: ...

An exception out of a signal may come between any two instructions, a step and its account say; so a running stream is only
asked to end. It is asked by a thread: a handler that took the locks of the stream could wait for its own thread. A loop
that hangs (a file on a disk that does not answer) is broken off with KeyboardInterrupt after PATIENCE_S. Signals after the
first change nothing. A signal that was ignored when we came (nohup, a job in the background) stays ignored.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any

PATIENCE_S = 5.0
ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

_own = False  # the process is ours alone: the command line, not a program that calls it


def own_process() -> None:
    """For the console script, before anything is loaded: SIGTERM and SIGHUP are what Ctrl-C is."""
    global _own
    _own = True
    for number in ENDING:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)


class Ending:
    """See above. `asked` says whether a signal came. In another thread than the main one it does nothing."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}
        self._closing = self._broken_off = False
        self._end: Callable[[], None] | None = None
        self._pipe: tuple[int, int] | None = None
        self._thread: threading.Thread | None = None
        self._done = threading.Event()

    def __enter__(self) -> Ending:
        if threading.current_thread() is threading.main_thread():
            for number in ENDING:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._came)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing()
        for number, handler in self._before.items():
            # a process that ends now has nothing more to break off, and a second signal must not change its exit code
            signal.signal(number, signal.SIG_IGN if self.asked and _own else handler)
        if self._pipe is not None and self._thread is not None:
            self._thread.join()
            for end in self._pipe:
                os.close(end)
            self._pipe = None

    def gently(self, end: Callable[[], None]) -> None:
        """From now on a signal calls `end`, in another thread, and raises nothing."""
        if not self._before:
            return
        self._pipe = os.pipe()
        os.set_blocking(self._pipe[1], False)
        self._thread = threading.Thread(target=self._wait, args=self._pipe[:1], name="plif-signals", daemon=True)
        self._thread.start()
        self._end = end
        if self.asked:
            end()

    def closing(self) -> None:
        """The loop is over: nothing is broken off any more."""
        self._closing = True
        self._done.set()
        if self._pipe is not None:
            with suppress(OSError):
                os.write(self._pipe[1], b"x")  # the thread goes home

    def _came(self, number: int, frame: FrameType | None) -> None:
        first, self.asked = not self.asked, True
        if self._closing:
            return
        if self._end is None:
            if first:
                raise KeyboardInterrupt
        elif self._broken_off:
            self._closing = True
            raise KeyboardInterrupt
        elif first and self._pipe is not None:
            with suppress(OSError):
                os.write(self._pipe[1], b"x")

    def _wait(self, pipe: int) -> None:
        with suppress(OSError):
            os.read(pipe, 1)
        if self._done.is_set() or self._end is None:
            return
        self._end()
        if not self._done.wait(PATIENCE_S) and not self._closing:
            self._broken_off = True
            signal.pthread_kill(threading.main_thread().ident or 0, next(iter(self._before)))
