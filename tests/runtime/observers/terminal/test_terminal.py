"""The terminal view: one calm line on a terminal, nothing but lines in a pipe, and a terminal left as it was found."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import pytest

from plif_export import export
from runtime.core.stream.decide import Decision
from runtime.observers.terminal import Terminal, display_width, fit_columns, format_clock, format_count, printable
from tests.networks import digits_network

PLIF = [sys.executable, "-c", "from runtime.core.cli.main import main; main()"]
CLASSES = ("right hand counter clockwise", "拍手", "\033[2Jclear", *"3456789")
REAL = ["stream", "m.onnx", "sim:digits?seed=3&seconds=2", "--speed", "real", "--decide", "leak:50ms"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("terminal")
    export(digits_network(classes=CLASSES), folder / "m.onnx")
    return folder


def on_a_terminal(
    folder: Path, arguments: list[str], columns: int = 100, interrupt_s: float | None = None, **environment: str
) -> tuple[str, int, Any]:
    """(all that was written, exit code, whether the settings of the terminal are as before) of plif on a real terminal."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    before = termios.tcgetattr(slave)

    def own_the_terminal() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        [*PLIF, *arguments],
        cwd=folder,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        preexec_fn=own_the_terminal,
        env={**os.environ, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8", **environment},
    )
    heard, began_s, sent = b"", time.monotonic(), False
    while time.monotonic() - began_s < 60:
        if select.select([master], [], [], 0.1)[0]:
            heard += os.read(master, 65536)
        if interrupt_s is not None and not sent and b"events/s" in heard and time.monotonic() - began_s > interrupt_s:
            os.write(master, b"\x03")  # as a person does it: the terminal makes the signal
            sent = True
        if process.poll() is not None and not select.select([master], [], [], 0.1)[0]:
            break
    after = termios.tcgetattr(slave)
    os.close(master)
    os.close(slave)
    return heard.decode(), process.wait(10), before == after


def screen(text: str, columns: int) -> list[str]:
    """What stands on a terminal of that width in the end: carriage return, erase, colours, wrapping."""
    lines, at = [""], 0
    for part in re.findall(r"\033\[[0-9;?]*[A-Za-z]|\r|\n|.", text, re.DOTALL):
        if part == "\r":
            at = 0
        elif part == "\n":
            lines.append("")
            at = 0
        elif part == "\033[K":
            lines[-1] = lines[-1][:at]
        elif part.startswith("\033"):
            assert part.endswith("m"), f"only colours and erasing: {part!r}"
        else:
            if display_width(lines[-1][:at]) + display_width(part) > columns:
                lines.append("")
                at = 0
            lines[-1] = lines[-1][:at] + part + lines[-1][at + 1 :]
            at += 1
    return lines


def test_a_terminal_shows_lines_for_answers_and_a_line_that_moves_and_is_gone_at_the_end(folder: Path) -> None:
    text, code, same = on_a_terminal(folder, REAL)
    assert code == 0 and same
    moving = [part for part in text.split("\r\033[K") if "events/s" in part]
    assert 5 < len(moving) < 60, "ten times a second at most"
    assert re.search(r"\d+\.\d %.*events/s.* ms .*0 dropped.*0:0\d\.\d", moving[-1])
    shown = screen(text, 100)
    assert not any("events/s" in line for line in shown)
    assert sum(bool(re.match(r" +\d+\.\d{3} s  step \d+", line)) for line in shown) >= 3
    assert any(line.startswith("answer") for line in shown) and any("dropped" in line for line in shown)
    assert "\033[2J" not in text, "a class name moves no cursor"


@pytest.mark.one_in(3)
@pytest.mark.parametrize("columns", (1, 33, 57))
def test_the_moving_line_never_wraps(folder: Path, columns: int) -> None:
    arguments = [*REAL[:2], "sim:digits?seed=3&seconds=1", *REAL[3:]]
    text, code, _ = on_a_terminal(folder, arguments, columns)
    assert code == 0
    for part in text.split("\r\033[K")[1:]:
        line = re.sub(r"\033\[[0-9;]*m", "", part.split("\r")[0])
        if "\n" not in part and line:
            assert display_width(line) < max(columns, 2), (columns, line)


def test_ctrl_c_leaves_a_clean_terminal_the_account_and_exit_code_130(folder: Path) -> None:
    text, code, same = on_a_terminal(folder, [*REAL[:2], "sim:digits?seed=3&seconds=60", *REAL[3:]], interrupt_s=1.0)
    assert code == 130 and same
    assert "\033[?25l" not in text, "the cursor was never hidden"
    shown = [line for line in screen(text, 100) if line.strip()]
    assert not any("events/s" in line for line in shown)
    assert shown[-1] == "plif: interrupted" and any(line.startswith("events ") for line in shown)


def test_a_dumb_terminal_and_no_color_are_respected(folder: Path) -> None:
    short_one = [*REAL[:2], "sim:digits?seed=3&seconds=0.8", *REAL[3:]]
    text, _, _ = on_a_terminal(folder, short_one, TERM="dumb")
    assert "\033" not in text and "events/s" not in text
    text, _, _ = on_a_terminal(folder, short_one, NO_COLOR="1")
    assert "events/s" in text and "\033[1m" not in text and "\033[31m" not in text


def test_a_pipe_gets_lines_only(folder: Path) -> None:
    done = subprocess.run(
        [*PLIF, *REAL[:3], "--decide", "leak:50ms"], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and "\033" not in done.stdout + done.stderr and "\r" not in done.stdout + done.stderr
    assert re.fullmatch(r"plif: engine [^\n]+\n", done.stderr) and re.search(
        r"^ +\d+\.\d{3} s  step \d+", done.stdout, re.MULTILINE
    )


def test_a_pipe_gets_each_line_when_it_is_said(folder: Path) -> None:
    process = subprocess.Popen(
        [*PLIF, "stream", "m.onnx", "sim:digits?seed=3&seconds=60", "--speed", "real"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    began_s = time.monotonic()
    assert "step" in process.stdout.readline() and time.monotonic() - began_s < 20
    process.terminate()
    assert "answer" in process.communicate(timeout=20)[0]


def test_json_on_a_terminal_stays_json(folder: Path) -> None:
    text, code, _ = on_a_terminal(folder, [*REAL[:3], "--json"])
    assert code == 0 and all(line.startswith(("{", "plif: engine ")) for line in text.splitlines() if line)


def test_without_utf8_the_bar_is_plain() -> None:
    class Ascii(io.StringIO):
        encoding = "ascii"

        def isatty(self) -> bool:
            return True

    terminal = Terminal(out=io.StringIO(), err=Ascii())
    assert terminal._blocks == ("#", "-")


def test_chatter_prints_no_lines() -> None:
    """A label at once; "idle" and "not sure" when there was no label for half a second, and then each if it lasts."""
    terminal = Terminal(out=io.StringIO(), err=io.StringIO())

    def says(*answers: str, first: list[int] = [0]) -> list[str]:  # noqa: B006  the time goes on
        new = []
        for text in answers:
            first[0] += 20_000
            label, why = (None, text) if text in ("idle", "not sure") else (text, None)
            decision = Decision(first[0], 0, label, None, 0.0, [], 0.0, "s", why)
            if terminal._is_new(decision):
                terminal._shown["s"] = text
                new.append(text)
        return new

    assert says("idle", *["wave"] * 3, *["not sure"] * 10, "wave", "wave") == ["idle", "wave"]
    assert says(*["idle", "not sure"] * 14) == [
        "not sure"
    ]  # the label is gone; which reason there is, changes too fast
    assert says(*["idle", "not sure"] * 50) == []
    assert says(*["idle"] * 40, "clap", "wave") == ["idle", "clap", "wave"]


def test_the_card_of_a_file_steers_no_terminal(folder: Path) -> None:
    done = subprocess.run([*PLIF, "info", "m.onnx"], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "\033" not in done.stdout and "?[2Jclear" in done.stdout


def test_names_numbers_and_times_are_short_and_harmless() -> None:
    assert printable("a\033[2J\n\u202eb") == "a?[2J??b"
    assert display_width("拍手") == 4 and display_width("é") == 1 and display_width("e\u0301") == 1
    assert (
        fit_columns("拍手拍手", 5) == "拍手~"
        and fit_columns("abc", 5) == "abc  "
        and fit_columns("abcdef", 3) == "ab~"
        and fit_columns("a", 0) == ""
    )
    assert [format_count(n) for n in (0, 999, 9999, 48200, 123456, 2.5e6)] == [
        "0",
        "999",
        "9999",
        "48.2 k",
        "123 k",
        "2.5 M",
    ]
    assert [format_clock(t) for t in (0, 61_500_000, 3_661_000_000, -2_000_000)] == [
        "0:00.0",
        "1:01.5",
        "1:01:01.0",
        "-0:02.0",
    ]
