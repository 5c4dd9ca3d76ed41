"""Two builds of one source give the same bytes, wherever, whenever and by whom: a release can be built again and compared."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

A_DAY_S = 86_400
BUILD = "import os, sys, build_backend as b; os.umask(int(sys.argv[1], 8)); print(getattr(b, sys.argv[2])(sys.argv[3]))"


def parts() -> list[str]:
    """The files of the project that a build reads, as a fresh clone has them: nothing that was built beside them."""
    known = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    ours = ("runtime/", "plif_export/", "plif_train/", "requirements/")
    return [name for name in known.splitlines() if name.startswith(ours) or "/" not in name]


def built(
    what: str, source: Path, out: Path, umask: int, arrange: Callable[[list[str]], list[str]], ago_s: int
) -> Path:
    """`what` is a hook of build_backend. Its files are copied below that umask in that order, and are so many seconds old."""
    before = os.umask(umask)
    try:
        for name in arrange(parts()):
            there = source / name
            there.parent.mkdir(parents=True, exist_ok=True)
            there.write_bytes((REPOSITORY / name).read_bytes())
            os.utime(there, (there.stat().st_mtime - ago_s,) * 2)
        out.mkdir()
    finally:
        os.umask(before)
    environment = {name: value for name, value in os.environ.items() if name not in ("SOURCE_DATE_EPOCH", "PYTHONPATH")}
    environment["PYTHONHASHSEED"] = str(umask)
    command = [sys.executable, "-c", BUILD, oct(umask)[2:], what, str(out)]
    done = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    return out / done.stdout.splitlines()[-1]


@pytest.mark.parametrize("what", ("build_sdist", pytest.param("build_wheel", marks=pytest.mark.machines)))
def test_two_builds_give_the_same_bytes(what: str, tmp_path: Path) -> None:
    one = built(what, tmp_path / "here", tmp_path / "one", 0o022, sorted, 0)
    two = built(
        what, tmp_path / "a much longer path" / "there", tmp_path / "two", 0o077, lambda names: names[::-1], A_DAY_S
    )
    assert one.name == two.name and one.read_bytes() == two.read_bytes()
