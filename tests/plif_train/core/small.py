"""What several tests of training share: a small network and its task, Ctrl-C, the command, a disk that is full."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from plif_train import build, load
from plif_train.core.data.sets import Samples
from plif_train.core.loop.hooks import Epoch
from plif_train.core.network.network import Network
from tests.conftest import REPOSITORY, interruptible

TrainingRun = Callable[..., tuple[int, str, str]]  # see the fixture `plif`

NOTATION = "c6k3s1-BN-PLIF-MPk2s2-DP-FC20-PLIF-FC20-PLIF-APk10s10"
SMALL = [
    "train",
    "nmnist",
    "--set",
    "channels=2",
    "--set",
    "hidden=20",
    "--T",
    "3",
    "--batch-size",
    "5",
    "--out",
    "model.pt",
]


def network(seed: int = 7, **options: object) -> Network:
    torch.manual_seed(seed)
    return build(NOTATION, shape=(1, 8, 8), T=4, **options)


def bars(n: int, seed: int = 0) -> Samples:
    """Class 0: events in the left half; class 1: in the right. [N, 4, 1, 8, 8] counts."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    rate = torch.full((n, 4, 1, 8, 8), 0.1)
    rate[y == 0, ..., :4] = 2.0
    rate[y == 1, ..., 4:] = 2.0
    return Samples(torch.poisson(rate, generator=generator).to(torch.uint8), y)


class Stop:
    """Presses Ctrl-C once, after the epoch that was asked for."""

    def __init__(self, after: int) -> None:
        self.after = after

    def __call__(self, epoch: Epoch) -> None:
        if epoch.epoch == self.after:
            raise KeyboardInterrupt


def plif_process(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    """`plif` in a process of its own, where signals or several processes matter."""
    code = "from runtime.core.cli.main import main; main()"
    environment = {"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    return interruptible([sys.executable, "-c", code, *arguments], cwd=cwd, env=environment)


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    """Waits until the file is there, the process has ended, or a minute has passed."""
    deadline = time.monotonic() + 60
    while not path.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)


def epochs_in(resume_file: Path) -> int:
    """How many epochs a resume file holds."""
    progress: dict[str, int] = json.loads(torch.load(resume_file, weights_only=True)["progress"])
    return progress["epoch"]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Lets no file grow beyond `size` bytes: to a program this is a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


SMALL_RECIPE = 'network = "nmnist"\nchannels = 2\nhidden = 20\nT = 3\nbatch_size = 5\nepochs = 1\n'
DIGITS = ["--data", "digits:12"]
GESTURES = REPOSITORY / "models" / "gesture.pt"


def write(folder: Path, text: str = "") -> str:
    (folder / "own.toml").write_text(SMALL_RECIPE + text)
    return "own.toml"


def same_weights(one: Path, other: Path) -> bool:
    mine, theirs = load(one).state_dict(), load(other).state_dict()
    return list(mine) == list(theirs) and all(torch.equal(tensor, theirs[name]) for name, tensor in mine.items())
