"""Handling of SIGINT (Ctrl-C), SIGTERM (service managers) and SIGHUP (a closed terminal).

They end a stream in order. The exit code of an interrupted stream is 130. Every other command is interrupted as by
Ctrl-C: no file is half-written, one line says so, and the exit code is 130, 143 or 129. A signal during the imports
of a command, such as PyTorch, ends the process at once. During later imports, when files may be open, it waits until
the import has ended. The rest of this file is about streams.

    with StreamSignals() as signals:        # until the stream runs, a signal interrupts at once: KeyboardInterrupt
        running = ...
        signals.end_gracefully(running.controls.end)  # from here on a signal ends the stream in order
        try: ...the loop
        finally:
            signals.ignore()        # from here on signals change nothing: the summary and the recording are completed
    if signals.stop_requested: ...

A KeyboardInterrupt may come between any two instructions, for example between a step and its account. So a running
stream is not interrupted; a thread asks it to end. (A signal handler cannot: it runs in the main thread and could
wait for a lock that this thread holds.) A loop that does not end, because a disk does not answer, is interrupted
after PATIENCE_S. Signals after the first change nothing. A signal that was ignored when the process started (nohup,
background jobs) stays ignored.
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

_is_stream: bool | None = None  # whether the command that this process runs is a stream; None: a program calls it
_last_signal = signal.SIGINT.value


def catch_signals(gracefully: bool) -> None:
    """Make SIGTERM and SIGHUP act like Ctrl-C; the console script calls it before it loads other modules.

    gracefully  a stream, which ends in order; any other command gives up, and `process_exit_code` then tells the
                signals apart
    """
    global _is_stream
    _is_stream = gracefully
    sys.unraisablehook = _repeat_lost_interrupt
    for number in ENDING:
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            signal.signal(number, _handle_signal)


def restore_signals() -> None:
    """Restore the default action of the signals after a command, so that they end the process at once."""
    for number in ENDING:
        if signal.getsignal(number) is _handle_signal:
            signal.signal(number, signal.SIG_DFL)


def is_own_process() -> bool:
    """Return whether this process is one command, also in the background; False in a program that calls commands."""
    return _is_stream is not None


def pass_on_signal(child: int) -> None:
    """Send the last signal that this process got to a child; a terminal's Ctrl-C reaches it by itself."""
    if _last_signal != signal.SIGINT or not os.isatty(0):
        with suppress(ProcessLookupError):
            os.kill(child, _last_signal)


def _handle_signal(number: int, frame: FrameType | None) -> None:
    global _last_signal
    importer = _find_importer(frame)
    if importer is not None:
        if _is_command_module(importer):
            _exit_now(128 + number if not _is_stream else 130)
        _repeat_signal(number)
        return
    if not _is_stream:
        _last_signal = number
        if number != signal.SIGINT:
            signal.signal(number, signal.SIG_IGN)  # a second signal must not stop the cleanup
    raise KeyboardInterrupt


def _repeat_signal(number: int) -> None:
    threading.Timer(AGAIN_S, signal.pthread_kill, (threading.main_thread().ident, number)).start()


def _repeat_lost_interrupt(unraisable: sys.UnraisableHookArgs) -> None:
    """Repeat a Ctrl-C that Python dropped because it came in a destructor or in a callback of C.

    Python can only print such an exception; the signal comes again a moment later.
    """
    if unraisable.exc_type is KeyboardInterrupt:
        _repeat_signal(_last_signal)
    else:
        sys.__unraisablehook__(unraisable)


def _find_importer(frame: FrameType | None) -> FrameType | None:
    """Return the frame that started the import in which a signal came; None outside of imports.

    PyTorch crashes if an exception comes while its native code initializes, and other libraries report that they are
    not installed.
    """
    importer, within = None, False
    while frame is not None:
        name = str(frame.f_globals.get("__name__"))
        is_import = "importlib" in name or name == "runtime.core.parts"  # it imports parts for its callers
        if within and not is_import:
            importer = frame  # the outermost counts
        within, frame = is_import, frame.f_back
    return importer


def _is_command_module(frame: FrameType) -> bool:
    """Return whether a frame belongs to the command line or to a command module, before any work began."""
    return bool(
        re.fullmatch(r"runtime\.core\.cli\..*|.*\.cli|\w+\.commands\.\w+", str(frame.f_globals.get("__name__")))
    )


def _exit_now(code: int) -> None:
    try:
        os.write(2, b"plif: interrupted\n")
    finally:
        os._exit(code)


def process_exit_code(code: int) -> int:
    """Return the exit code of the process: 130 (interrupted) becomes 143 after SIGTERM and 129 after SIGHUP."""
    return 128 + _last_signal if code == 130 else code


class StreamSignals:
    """The signal handling of a running stream (see this module's docstring); it acts in the main thread only.

    stop_requested  whether a signal came
    """

    def __init__(self) -> None:
        self.stop_requested = False
        self._before: dict[int, Any] = {}
        self._closing = self._interrupted = False
        self._end: Callable[[], None] | None = None
        self._pipe: tuple[int, int] | None = None
        self._thread: threading.Thread | None = None
        self._done = threading.Event()

    def __enter__(self) -> StreamSignals:
        if threading.current_thread() is threading.main_thread():
            for number in ENDING:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        self.ignore()
        for number, handler in self._before.items():
            # a process that is about to exit ignores further signals: a second one must not change its exit code
            signal.signal(number, signal.SIG_IGN if self.stop_requested and _is_stream else handler)
        if self._pipe is not None and self._thread is not None:
            self._thread.join()
            for end in self._pipe:
                os.close(end)
            self._pipe = None

    def end_gracefully(self, end: Callable[[], None]) -> None:
        """Let the first signal from now on call `end` of the running stream, in another thread.

        KeyboardInterrupt comes only if the stream does not end then.
        """
        if not self._before:
            return
        self._pipe = os.pipe()
        os.set_blocking(self._pipe[1], False)
        was_requested, self._end = (
            self.stop_requested,
            end,
        )  # from now on a signal writes into the pipe, and raises no exception
        self._thread = threading.Thread(
            target=self._wait_for_signal, args=self._pipe[:1], name="plif-signals", daemon=True
        )
        self._thread.start()
        if was_requested:
            end()

    def ignore(self) -> None:
        """Ignore signals such as Ctrl-C from now on, because the loop of the stream is over."""
        self._closing = True
        self._done.set()
        if self._pipe is not None:
            with suppress(OSError):
                os.write(self._pipe[1], b"x")  # wakes the thread, which returns

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal without a lock: interrupt, or wake the thread that asks the running stream to end."""
        if self._end is None and not self.stop_requested and not self._closing and _find_importer(frame) is not None:
            return _repeat_signal(number)
        first, self.stop_requested = not self.stop_requested, True
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

    def _wait_for_signal(self, pipe: int) -> None:
        """Wait in a thread for a signal, ask the stream to end, and interrupt it if it does not."""
        with suppress(OSError):
            os.read(pipe, 1)
        if self._done.is_set() or self._end is None:
            return
        self._end()
        if not self._done.wait(PATIENCE_S) and not self._closing:
            self._interrupted = True
            signal.pthread_kill(threading.main_thread().ident or 0, next(iter(self._before)))
