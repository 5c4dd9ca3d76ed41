"""One thread: these networks are small, and on a busy machine waiting for a second thread costs more than it brings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from runtime.core.cli.main import run
from runtime.core.events import make_events, write_nmnist
from tests.plif_train.core.small import TrainingRun

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _subnormal_numbers_are_kept() -> None:
    """An engine that ran earlier in this process may have told the processor to flush them; training does not."""
    torch.set_flush_denormal(False)


@pytest.fixture
def plif(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> TrainingRun:
    """The command, in this process and in the test's folder: arguments -> (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(list(arguments))
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """A data set in the layout of N-MNIST: two recordings of each digit in each split."""
    rng = np.random.default_rng(0)
    for split in ("Train", "Test"):
        for digit in range(10):
            folder = tmp_path / "digits" / split / str(digit)
            folder.mkdir(parents=True)
            for i in range(2):
                t = np.sort(rng.integers(0, 300_000, 400))
                x, y = rng.integers(0, 34, 400), np.minimum(rng.integers(0, 4, 400) + 3 * digit, 33)
                write_nmnist(folder / f"{i + 1:05d}.bin", make_events(t, x, y, rng.random(400) < 0.5))
    return tmp_path / "digits"
