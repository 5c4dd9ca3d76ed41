"""`plif export my_module.py:net` runs the code in a child process: a crash is one line, and nothing is written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

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


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "model.py").write_text(CODE)
    command = [sys.executable, "-m", "runtime.core.cli", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize(
    ("command", "name", "ended"),
    (
        (("export", "-o", "m.onnx", "--shape", "4"), "crashes", "SIGSEGV"),
        (("check", "--shape", "4"), "kills", "SIGKILL"),
    ),
    ids=("export", "check"),
)
def test_a_crash_of_the_code_is_one_line(tmp_path: Path, command: tuple[str, ...], name: str, ended: str) -> None:
    verb, *options = command
    done = run(tmp_path, verb, f"model.py:{name}", *options)
    errors = [line for line in done.stderr.splitlines() if line.startswith("plif: error")]
    assert done.returncode == 2 and len(errors) == 1 and f"model.py:{name}: the code crashed ({ended})" in errors[0]
    assert [file.name for file in tmp_path.iterdir() if file.suffix != ".py" and file.name != "__pycache__"] == []


def test_the_exit_code_and_the_output_are_those_of_the_child(tmp_path: Path) -> None:
    done = run(tmp_path, "export", "model.py:net", "-o", "m.onnx", "--shape", "4")
    assert done.returncode == 0 and "parity passed" in done.stdout and (tmp_path / "m.onnx").exists(), done.stderr
    assert run(tmp_path, "check", "model.py:leaves", "--shape", "4").returncode == 5
    assert run(tmp_path, "check", "model.py:missing", "--shape", "4").returncode == 2


def test_an_interrupt_ends_both(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(CODE + "\nimport time\nprint('here', flush=True)\ntime.sleep(60)\n")
    command = [sys.executable, "-m", "runtime.core.cli", "check", "model.py:net", "--shape", "4"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])}
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        while "here" not in process.stderr.readline():  # the code's own output goes there
            pass
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
