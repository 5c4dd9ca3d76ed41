"""SIGINT (Ctrl-C), SIGTERM (service managers) and SIGHUP (a terminal that was closed) end a stream in order, with code 130.

Every other command they interrupt, as Ctrl-C does: nothing is left half-written, one line says so, and the exit code is 130,
143 or 129. What a command imports before it begins, PyTorch among it, ends with the process at once; what is imported later, when
files may be open, is imported first. The rest of this file is about streams.

    with Ending() as ending:        # until the stream runs, a signal interrupts at once: KeyboardInterrupt
        running = ...
        ending.gently(running.controls.end)     # from here on a signal ends the stream as the end of a recording does
        try: ...the loop
        finally:
            ending.closing()        # from here on signals change nothing: the summary and the recording are completed
    if ending.asked: ...

A KeyboardInterrupt may come between any two instructions, for example between a step and its account. So a running stream
is not interrupted; a thread asks it to end. (A signal handler cannot: it runs in the main thread and could wait for a lock
that this thread holds.) A loop that does not end, because a disk does not answer, is interrupted after PATIENCE_S. Signals
after the first change nothing. A signal that was ignored when the process started (nohup, background jobs) stays ignored.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

PATIENCE_S = 5.0
AGAIN_S = 0.02
ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

_own = False  # whether the process is the command line, and not a program that calls it
_ended_by = signal.SIGINT.value


def catch_signals(gently: bool) -> None:
    """From now on SIGTERM and SIGHUP do what Ctrl-C does. The console script calls it before it loads anything.

    gently  a stream, which ends in order; any other command gives up, and `exit_code` then tells the signals apart
    """
    global _own
    _own = gently
    sys.unraisablehook = _not_lost
    for number in ENDING:
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            signal.signal(number, _interrupt)


def let_go() -> None:
    """The command is over: while Python ends, a signal has its usual effect, at once."""
    for number in ENDING:
        if signal.getsignal(number) is _interrupt:
            signal.signal(number, signal.SIG_DFL)


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _ended_by
    importer = _importer(frame)
    if importer is not None:
        if _is_a_command(importer):
            _end_at_once(128 + number if not _own else 130)
        _again(number)
        return
    if not _own:
        _ended_by = number
        if number != signal.SIGINT:
            signal.signal(number, signal.SIG_IGN)  # a second one must not stop what cleans up
    raise KeyboardInterrupt


def _again(number: int) -> None:
    threading.Timer(AGAIN_S, signal.pthread_kill, (threading.main_thread().ident, number)).start()


def _not_lost(what: sys.UnraisableHookArgs) -> None:
    """Python can only print an interrupt that comes in a destructor or a callback of C: it comes again in a moment."""
    if what.exc_type is KeyboardInterrupt:
        _again(_ended_by)
    else:
        sys.__unraisablehook__(what)


def _importer(frame: FrameType | None) -> FrameType | None:
    """Who imports the module, because of which the code that was interrupted runs; None where it is no import. PyTorch crashes
    where an exception comes while its native code sets itself up, and others say that they are not installed."""
    importer, within = None, False
    while frame is not None:
        name = str(frame.f_globals.get("__name__"))
        is_import = "importlib" in name or name == "runtime.core.parts"  # which imports parts for who asks
        if within and not is_import:
            importer = frame  # the outermost counts
        within, frame = is_import, frame.f_back
    return importer


def _is_a_command(frame: FrameType) -> bool:
    """Whether it is the command line itself, or a command that imports what it will need: nothing has begun."""
    return bool(
        re.fullmatch(r"runtime\.core\.cli\..*|.*\.cli|\w+\.commands\.\w+", str(frame.f_globals.get("__name__")))
    )


def _end_at_once(code: int) -> None:
    try:
        os.write(2, b"plif: interrupted\n")
    finally:
        os._exit(code)


def exit_code(code: int) -> int:
    """The exit code of the process, 130 being that of an interrupt: 143 where it was SIGTERM, 129 where SIGHUP."""
    return 128 + _ended_by if code == 130 else code


class Ending:
    """Handles signals while a stream runs, as the file says. Outside the main thread it does nothing.

    asked  whether a signal came
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}
        self._closing = self._interrupted = False
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

    def __exit__(self, *_: object) -> None:
        self.closing()
        for number, handler in self._before.items():
            # a process that is about to exit ignores further signals: a second one must not change its exit code
            signal.signal(number, signal.SIG_IGN if self.asked and _own else handler)
        if self._pipe is not None and self._thread is not None:
            self._thread.join()
            for end in self._pipe:
                os.close(end)
            self._pipe = None

    def gently(self, end: Callable[[], None]) -> None:
        """From now on the first signal calls `end` in another thread. KeyboardInterrupt only comes when that did not help."""
        if not self._before:
            return
        self._pipe = os.pipe()
        os.set_blocking(self._pipe[1], False)
        asked, self._end = self.asked, end  # a signal now writes into the pipe, and raises nothing
        self._thread = threading.Thread(target=self._wait, args=self._pipe[:1], name="plif-signals", daemon=True)
        self._thread.start()
        if asked:
            end()

    def closing(self) -> None:
        """The loop is over: signals interrupt nothing any more."""
        self._closing = True
        self._done.set()
        if self._pipe is not None:
            with suppress(OSError):
                os.write(self._pipe[1], b"x")  # wakes the thread, which returns

    def _came(self, number: int, frame: FrameType | None) -> None:
        """The handler. It takes no lock: it interrupts, or wakes the thread that asks the stream to end."""
        if self._end is None and not self.asked and not self._closing and _importer(frame) is not None:
            return _again(number)
        first, self.asked = not self.asked, True
        if self._closing:
            return
        if self._end is None:
            if first:
                raise KeyboardInterrupt
        elif self._interrupted:
            self._closing = True
            raise KeyboardInterrupt
        elif first and self._pipe is not None:
            with suppress(OSError):
                os.write(self._pipe[1], b"x")

    def _wait(self, pipe: int) -> None:
        """The thread: waits for a signal, asks the stream to end, and interrupts it when it does not."""
        with suppress(OSError):
            os.read(pipe, 1)
        if self._done.is_set() or self._end is None:
            return
        self._end()
        if not self._done.wait(PATIENCE_S) and not self._closing:
            self._interrupted = True
            signal.pthread_kill(threading.main_thread().ident or 0, next(iter(self._before)))
