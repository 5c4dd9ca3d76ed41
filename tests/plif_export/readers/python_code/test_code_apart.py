"""`plif export my_module.py:net` runs the code in a child process: a crash is one line, and nothing is written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, interruptible

CODE = """
import ctypes, os, torch
from torch import nn

class Net(nn.Module):
    def __init__(self, end=lambda: None):
        super().__init__()
        torch.manual_seed(0)
        self.fc, self.v, self.end = nn.Linear(4, 3), 0.0, end

    def forward(self, x):
        self.end()
        h = self.v * 0.5 + self.fc(x)
        s = (h >= 0.1).float()
        self.v = h - s
        return s

net = Net()
crashes = Net(lambda: ctypes.string_at(0))
kills = Net(lambda: os.kill(os.getpid(), 9))
leaves = Net(lambda: os._exit(5))
"""


def start(folder: Path, code: str, *arguments: str, deaf_to: tuple[int, ...] = ()) -> subprocess.Popen[str]:
    (folder / "model.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return interruptible([sys.executable, "-m", "runtime.core.cli", *arguments], deaf_to, cwd=folder, env=environment)


def run(folder: Path, *arguments: str, deaf_to: tuple[int, ...] = ()) -> tuple[int, str, str]:
    with start(folder, CODE, *arguments, deaf_to=deaf_to) as process:
        out, errors = process.communicate()
    return process.returncode, out, errors


@pytest.mark.parametrize(
    ("command", "name", "ended", "deaf_to"),
    (
        (("export", "-o", "m.onnx", "--shape", "4"), "crashes", "SIGSEGV", ()),
        (("check", "--shape", "4"), "kills", "SIGKILL", ()),
        (("check", "--shape", "4"), "kills", "SIGKILL", (signal.SIGINT,)),
    ),
    ids=("export", "check", "in the background"),
)
def test_a_crash_of_the_code_is_one_line(
    tmp_path: Path, command: tuple[str, ...], name: str, ended: str, deaf_to: tuple[int, ...]
) -> None:
    verb, *options = command
    code, _, said = run(tmp_path, verb, f"model.py:{name}", *options, deaf_to=deaf_to)
    errors = [line for line in said.splitlines() if line.startswith("plif: error")]
    assert code == 2 and len(errors) == 1 and f"model.py:{name}: the code crashed ({ended})" in errors[0]
    assert [file.name for file in tmp_path.iterdir() if file.suffix != ".py" and file.name != "__pycache__"] == []


def test_the_exit_code_and_the_output_are_those_of_the_child(tmp_path: Path) -> None:
    code, out, errors = run(tmp_path, "export", "model.py:net", "-o", "m.onnx", "--shape", "4")
    assert code == 0 and "parity passed" in out and (tmp_path / "m.onnx").exists(), errors
    assert run(tmp_path, "check", "model.py:leaves", "--shape", "4")[0] == 5
    assert run(tmp_path, "check", "model.py:missing", "--shape", "4")[0] == 2


def test_an_interrupt_ends_both(tmp_path: Path) -> None:
    code = CODE + "\nimport time\nprint('here', flush=True)\ntime.sleep(60)\n"
    with start(tmp_path, code, "check", "model.py:net", "--shape", "4") as process:
        assert process.stderr is not None
        while "here" not in process.stderr.readline():  # the code's own output goes there
            pass
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
