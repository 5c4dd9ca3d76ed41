"""Modules that lie in the working folder, under the names of modules that plif uses, run in none of its processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

PLANTED = ("json", "socket", "sitecustomize", "usercustomize", "numpy", "onnx", "typing", "zipfile")
PLIF = Path(sys.executable).with_name("plif")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a network, a recording, and modules that leave a trace when they run."""
    for name in PLANTED:
        (tmp_path / f"{name}.py").write_text(f"open('ran-{name}', 'w').close()\n")
    (tmp_path / "m.pt").write_bytes((REPOSITORY / "models" / "nmnist-digits.pt").read_bytes())
    return tmp_path


def run(folder: Path, *words: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["PYTHONPATH"] = str(REPOSITORY)  # of a clone; an installed plif needs none
    done = subprocess.run([PLIF, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 starts workers with the working folder in its path")
def test_no_command_runs_them(folder: Path) -> None:
    """Export with its proving children, a stream with its readers, an evaluation with two workers."""
    run(folder, "export", "m.pt", "-o", "m.onnx")
    run(folder, "stream", "m.onnx", "sim:digits?seed=1&seconds=0.2", "--json", "--record", "kept")
    run(folder, "info")
    run(folder, "eval", "m.onnx", "--data", "digits:40", "--workers", "2", "--engine", "onnxruntime")
    run(folder, "verify", "m.onnx", "--against", "m.pt", "--engine", "all", "--steps", "8")
    assert [path.name for path in folder.glob("ran-*")] == []


def test_no_process_of_a_training_runs_them(folder: Path) -> None:
    network = ["c2k3s2-PLIF-FC20-PLIF-APk2s2", "--data", "digits:12", "--T", "4"]
    run(folder, "train", *network, "--epochs", "1", "--devices", "cpu:2", "--out", "t.pt")
    assert [path.name for path in folder.glob("ran-*")] == []


def test_they_do_run_where_python_is_told_to(folder: Path) -> None:
    """The trace itself: `python -c` looks into the working folder first."""
    subprocess.run([sys.executable, "-c", "import json"], cwd=folder, check=True)
    assert (folder / "ran-json").exists()
