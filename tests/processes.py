"""Commands in a process group of their own, which ends with them: at the limit, at Ctrl-C, and when they have ended."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Ended:
    """A command that has ended: its exit code, what it printed, and whether it was killed at the limit."""

    code: int
    text: str
    late: bool = False


def run_group(
    command: Sequence[str], limit: float, cwd: Path, env: Mapping[str, str] | None = None, *, errors_only: bool = False
) -> Ended:
    """Run a command for at most `limit` seconds, then kill its process group; errors_only: text is that of stderr."""
    with tempfile.TemporaryFile("w+") as text:  # a pipe would wait for what the command left behind
        out = subprocess.DEVNULL if errors_only else text
        running = subprocess.Popen(command, cwd=cwd, env=env, stdout=out, stderr=text, start_new_session=True)
        late = False
        try:
            code = running.wait(limit)
        except subprocess.TimeoutExpired:
            code, late = -signal.SIGKILL, True
        finally:
            with suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
            running.wait()
        text.seek(0)
        return Ended(code, text.read(), late)
