"""Every option that takes a file or a folder, with what is none of these in its place: one line, exit code 2, and no wait.

A pipe that nobody writes would let its reader wait for ever, a device never ends, and a file may be larger than memory.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import plif_train
from plif_export import export
from runtime.core.cli.main import run
from runtime.core.events import write_nmnist
from runtime.datasets.digits.drawing import draw_digit
from runtime.datasets.digits.saccades import record_digit
from tests.networks import digits_network

HUGE = 1 << 36  # bytes, of a file with nothing in it
WAIT_S = 60  # for what would wait for ever
MEMORY = 1 << 30  # bytes, more than the process has


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is right: a model, its artifact, a recording; and what is wrong, named after what it is."""
    folder = tmp_path_factory.mktemp("places")
    plif_train.save(digits_network("count:T=8"), folder / "model.pt")
    export(folder / "model.pt", verify=False)
    rng = np.random.default_rng(0)
    write_nmnist(folder / "seven.bin", record_digit(draw_digit(7, rng), rng))
    wrong = folder / "wrong"
    wrong.mkdir()
    for suffix in ("", ".onnx", ".csv", ".pt"):
        os.mkfifo(wrong / f"pipe{suffix}")
        (wrong / f"device{suffix}").symlink_to("/dev/zero")
    (wrong / "folder").mkdir()
    with open(wrong / "huge", "wb") as file:
        file.truncate(HUGE)
    (wrong / "loop").symlink_to("loop")
    return folder


@pytest.fixture
def in_bounds() -> Iterator[None]:
    """Little memory, and an end to all waiting."""

    def waited(*_: object) -> None:
        raise AssertionError(f"not done after {WAIT_S} s")

    before = signal.signal(signal.SIGALRM, waited)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, limits[1]))
    signal.alarm(WAIT_S)
    yield
    signal.alarm(0)
    resource.setrlimit(resource.RLIMIT_AS, limits)
    signal.signal(signal.SIGALRM, before)


FILES = (
    "info PLACE",
    "check PLACE",
    "export PLACE",
    "export PLACE --network mnist",
    "verify PLACE --against model.pt",
    "verify model.onnx --against PLACE",
    "verify model.onnx --against model.pt --data folder:PLACE",
    "eval PLACE --data digits:1",
    "eval model.onnx --data digits:10 --against PLACE",
    "eval model.onnx --data folder:PLACE",
    "eval model.onnx --data nmnist:PLACE",
    "stream PLACE seven.bin",
    "stream model.onnx PLACE",
    "stream model.onnx PLACE --csv t,x,y,p --sensor 34x34",
    "stream model.onnx seven.bin --filter hot:PLACE",
    "send PLACE udp://127.0.0.1:7777",
    "bench PLACE",
    "bench model.onnx model.pt --data folder:PLACE",
    "eval PLACE --data digits:1 --calibrate-exit 1% -o never.onnx",
    "predict PLACE seven.bin",
    "predict model.onnx PLACE",
    "paper table-s2:mnist:A --data mnist:PLACE --out never",
    "paper figures PLACE --out figures",
    "train mnist --data mnist:PLACE --out never.pt",
    "train mnist --data folder:PLACE --out never.pt",
    "train --from PLACE --data digits:1 --out never.pt",
    "data nmnist --root PLACE",
    "data nmnist-sim --from mnist:PLACE --out never",
)


@pytest.mark.usefixtures("in_bounds")
@pytest.mark.parametrize(
    "what",
    ("pipe", "huge", "missing", *(pytest.param(one, marks=pytest.mark.large) for one in ("device", "folder", "loop"))),
)
@pytest.mark.parametrize("command", FILES)
def test_what_is_no_file_in_the_place_of_one_is_one_line(
    folder: Path, command: str, what: str, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*"))
    assert run(command.replace("PLACE", f"wrong/{what}").split()) == 2
    out, err = capsys.readouterr()
    err = "".join(line for line in err.splitlines(True) if ": engine " not in line)  # which one it takes
    assert (
        err.startswith("plif: error: ")
        and err.count("\n") == 1
        and what in err
        and "a bug in plif" not in err
        and out == ""
    ), out + err
    assert sorted(folder.rglob("*")) == before


RESULTS = (
    "export model.pt -o PLACE.onnx",
    "eval model.onnx --data digits:2 --out PLACE",
    "predict model.onnx seven.bin --out PLACE.csv",
    "bench model.onnx --seconds 0.1 --out PLACE",
    "eval model.onnx --data digits:10 --calibrate-exit 90% -o PLACE.onnx",
    "stream model.onnx seven.bin --record PLACE",
    "stream model.onnx seven.bin --state PLACE",
    "train FC10-PLIF --data digits:2 --epochs 1 --out PLACE.pt",
)


@pytest.mark.usefixtures("in_bounds")
@pytest.mark.parametrize("what", ("pipe", "device"))
@pytest.mark.parametrize("command", RESULTS)
def test_what_is_no_file_in_the_place_of_a_result_stays_and_is_one_line(
    folder: Path, command: str, what: str, monkeypatch: Any, capsys: Any
) -> None:
    """Whoever writes to /dev/stdout does not want it to become a file."""
    monkeypatch.chdir(folder)
    before = {path: os.lstat(path).st_ino for path in folder.rglob("*")}
    assert run(command.replace("PLACE", f"wrong/{what}").split()) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("plif: error: ") and what in last and "a bug in plif" not in last
    assert {path: os.lstat(path).st_ino for path in folder.rglob("*")} == before


@pytest.mark.usefixtures("in_bounds")
@pytest.mark.parametrize(
    ("command", "pipe"),
    [
        ("stream model.onnx made", "recording.json"),
        ("stream model.onnx made", "decisions.jsonl"),
        ("stream model.onnx made", "events.aedat"),
        ("data mnist --root made", "t10k-images-idx3-ubyte"),
        ("data cifar10 --root made", "test_batch.bin"),
        ("data dvs128-gesture --root made", "trials_to_test.txt"),
        ("data nmnist --root made", "Test.zip"),
        ("eval model.onnx --data folder:made", "a/1.bin"),
        ("predict model.onnx made", "1.bin"),
    ],
)
def test_a_pipe_within_a_folder_of_somebody_else_lets_nobody_wait(
    folder: Path, command: str, pipe: str, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("model.onnx", "seven.bin"):
        (tmp_path / name).symlink_to(folder / name)
    if command.startswith("stream"):
        assert run(["stream", "model.onnx", "seven.bin", "--record", "made"]) == 0
        (tmp_path / "made" / pipe).unlink()
    (tmp_path / "made" / pipe).parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(tmp_path / "made" / pipe)
    capsys.readouterr()
    assert run(command.split()) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("plif: error: ") and "made" in last and "a bug in plif" not in last, last
