"""A process that works for this one."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import ModuleType

_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


def start_worker(serve: Callable[..., None], *arguments: object) -> tuple[BaseProcess, Connection]:
    """Calls serve(pipe, *arguments) in a process that does not run the program's own file again, and never hears of Ctrl-C: its
    parent does, and ends it. Returns it and our end of the pipe, which tells it when we are gone."""
    # not forked: a child would inherit the threads of engines, and of the parent's BLAS, in an unknown state
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_obey, args=(serve, theirs, *arguments), name="plif-worker", daemon=True)
    resource_tracker.ensure_running()  # it would unblock signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # a half-started child would say so
    main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
    try:
        process.start()
    finally:
        sys.modules["__main__"] = main
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()
    return process, ours


def _obey(serve: Callable[..., None], *arguments: object) -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    serve(*arguments)
