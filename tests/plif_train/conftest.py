"""One thread: these networks are small, and on a busy machine waiting for a second thread costs more than it brings."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from runtime.core.cli.main import run
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
