"""Where a disk is full, at any write of what plif writes, there is an error of one line, and the old files are whole."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.reliability.full_disk import WRITERS

needs_compiler = pytest.mark.skipif(
    shutil.which("cc") is None or sys.platform != "linux",
    reason="the layer is compiled, for Linux: apt-get install gcc",
)


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("full_disk") / "full_disk.so"
    source = str(Path(__file__).with_name("full_disk.c"))
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", source, "-o", str(library), "-ldl"], check=True)
    return library


@needs_compiler
@pytest.mark.parametrize("writer", WRITERS)
def test_every_write_may_fail(writer: str, layer: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.reliability.full_disk", writer, str(tmp_path / "out")]
    environment = {**os.environ, "LD_PRELOAD": str(layer)}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout.split()[-1]) > 4
