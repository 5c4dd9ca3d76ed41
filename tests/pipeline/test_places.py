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
from runtime.cli.main import run
from runtime.events import write_nmnist
from runtime.simulate.digits import draw_digit
from runtime.simulate.saccades import record_digit
from tests.networks import digits_network

pytestmark = pytest.mark.filterwarnings("ignore:denormals")

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
    os.mkfifo(wrong / "pipe")
    (wrong / "device").symlink_to("/dev/zero")
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
    "figures PLACE --out figures",
    "train mnist --data mnist:PLACE --out never.pt",
    "train mnist --data folder:PLACE --out never.pt",
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
    err = "".join(line for line in err.splitlines(True) if not line.startswith("plif: engine "))  # which one it takes
    assert (
        err.startswith("plif: error: ")
        and err.count("\n") == 1
        and what in err
        and "a bug in plif" not in err
        and out == ""
    ), out + err
    assert sorted(folder.rglob("*")) == before
