"""A progress bar is drawn on a terminal, is gone at the end, and costs nothing anywhere else."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runtime.core.base import progress as progress_module
from runtime.core.base.progress import ERASE_LINE, Progress, show_stage, show_stages


@contextmanager
def terminal() -> Iterator[int]:
    """stderr is a terminal; gives the end from which its screen is read. (In the test: pytest sets stderr before it.)"""
    master, slave = pty.openpty()
    before = sys.stderr
    with open(slave, "w") as sys.stderr:
        try:
            yield master
        finally:
            sys.stderr = before
    os.close(master)


def drawn(master: int) -> str:
    """What came onto the screen since the last look; the kernel passes it on a little later."""
    text = b""
    while select.select([master], [], [], 0.1)[0]:
        text += os.read(master, 1 << 16)
    return text.decode()


def test_a_terminal_shows_what_is_done_and_is_clean_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with terminal() as screen:
        with Progress("epoch [1/3]") as progress:
            progress.update(1, 4, "loss 0.5")
            first = drawn(screen)
            progress.update(2, 4)
            progress.update(3, 4)
            progress.update(4, 4)
            last = drawn(screen)
        end = drawn(screen)
        with pytest.raises(KeyboardInterrupt), Progress("reading") as progress:
            progress.update(1, 2)
            raise KeyboardInterrupt
        interrupted = drawn(screen)
        with Progress("reading", shown=False) as progress:
            progress.update(1, 1)
        assert not drawn(screen)
    assert "epoch [1/3]" in first and "1/4" in first and "loss 0.5" in first
    assert "4/4" in last and "3/4" not in last, "ten drawings a second, and the last one"
    assert "\x1b[2K" in interrupted and "\x1b[2K" in end
    assert not re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\s", "", end.rpartition("\x1b[2K")[2])


def test_whatever_ends_the_program_the_cursor_is_there_and_notes_are_text() -> None:
    code = """
import os, signal
from runtime.core.base import progress as progress_module
from runtime.core.base.progress import ERASE_LINE, Progress, show_stage, show_stages
with Progress("reading [red]x[/]\\033[2J") as progress:
    progress.update(1, 2, "note [bold]n[/]\\033[2J\\n")
    os.kill(os.getpid(), signal.SIGTERM)
"""
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "160"}
    repository = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, stderr=slave, env=environment, timeout=60)
    text = drawn(master)
    os.close(master)
    os.close(slave)
    assert done.returncode == -signal.SIGTERM and "1/2" in text
    assert "\x1b[?25l" not in text, "the cursor was never hidden"
    assert "\x1b[2J" not in text and "[red]x[/]?[2J" in text and "[bold]n[/]?[2J?" in text


def test_in_a_pipe_nothing_is_printed_and_rich_is_not_loaded() -> None:
    code = """
import sys
from runtime.core.base import progress as progress_module
from runtime.core.base.progress import ERASE_LINE, Progress, show_stage, show_stages
with Progress("reading") as progress:
    progress.update(1, 1)
print([name for name in sys.modules if name.partition(".")[0] == "rich"])
"""
    repository = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n" and not done.stderr


def test_the_stages_of_a_command_are_shown_on_a_terminal_from_two_seconds_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "QUIET_S", 0.0)
    show_stage("outside of a command")
    with terminal() as screen:
        with show_stages():
            show_stage("proof: stream 1 of 2")
            assert drawn(screen) == f"{ERASE_LINE}proof: stream 1 of 2 ..."
        assert drawn(screen) == ERASE_LINE
        monkeypatch.setattr(progress_module, "QUIET_S", 100.0)
        with show_stages():
            show_stage("too early")
        assert "too early" not in drawn(screen)
