"""The start of a worker process."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import ModuleType

SAFE_PATH = "PYTHONSAFEPATH"
_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


def start_worker(serve: Callable[..., None], *arguments: object) -> tuple[BaseProcess, Connection]:
    """Start a worker process that calls serve(pipe, *arguments); return the process, and our end of the pipe.

    The process does not import the program's main file again, and ignores Ctrl-C: its parent handles it, and ends the
    process. A closed pipe tells the process that the parent is gone.
    """
    # not forked: a child would inherit the threads of engines, and of the parent's BLAS, in an unknown state
    context, safe = get_context("spawn"), os.environ.get(SAFE_PATH)
    ours, theirs = context.Pipe()
    process = context.Process(target=_worker_main, args=(serve, theirs, *arguments), name="plif-worker", daemon=True)
    os.environ[SAFE_PATH] = "1"  # from 3.11 on no module of the working folder runs in the child, whatever its name
    resource_tracker.ensure_running()  # its start would unblock signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # a half-started child would print a traceback
    main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
    try:
        process.start()
    finally:
        sys.modules["__main__"] = main
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        del os.environ[SAFE_PATH]
        if safe is not None:
            os.environ[SAFE_PATH] = safe
    theirs.close()
    return process, ours


def _worker_main(serve: Callable[..., None], *arguments: object) -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    serve(*arguments)
