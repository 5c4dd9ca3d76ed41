"""Code of a user runs in a process of its own: a crash of it is one line, and what it changes ends with it."""

from __future__ import annotations

import os
import resource
import signal
import sys
from pathlib import Path
from typing import NoReturn

from runtime.core.base.errors import PlifError
from runtime.core.cli.signals import is_own_process, pass_on_signal

GPU = Path("/dev/nvidia0")  # its driver reserves more addresses than there is memory


def continue_in_child(name: str) -> None:
    """Go on in a child of this process, with limits; this process waits for it, and exits with its code.

    A program that calls a command as a function goes on by itself.
    name: of the code, for the message if it crashes. Raises PlifError if the child ends by a signal.
    """
    if not (hasattr(os, "fork") and is_own_process()):
        return
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    child = os.fork()
    if child:
        _wait(child, name)
    _limit(parent)


def _wait(child: int, name: str) -> NoReturn:
    """Wait for a child process, pass on what interrupts this one, and exit with its code."""
    while True:
        try:
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            break
        except KeyboardInterrupt:
            pass_on_signal(child)
    if status >= 0:
        os._exit(status)
    raise PlifError(
        f"{name}: the code crashed ({signal.Signals(-status).name}); nothing was written: run it alone to see where"
    )


def _limit(parent: int) -> None:
    """Limit this process: no core file, no more data than there is memory, and an end when its parent ends."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not GPU.exists():
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (memory if hard < 0 else min(memory, hard), hard))
    if sys.platform == "linux":
        import ctypes

        PR_SET_PDEATHSIG = 1
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before
            os._exit(1)
