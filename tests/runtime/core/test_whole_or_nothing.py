"""A file is there whole or not at all, whoever is killed while he writes; and what the killed left is removed by the next."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.core.base.errors import PlifError
from runtime.core.base.files import atomic_write
from tests.conftest import REPOSITORY

# Writes half, says so, and goes on when it is told to.
WRITER = """
import sys
from pathlib import Path
from runtime.core.base.files import atomic_write
path, text, folder = Path(sys.argv[1]), sys.argv[2], sys.argv[3:] == ["folder"]
with atomic_write(path, folder=folder) as (beside,):
    if folder:
        beside.mkdir()
        beside = beside / "file"
    with open(beside, "w") as file:
        file.write(text)
        file.flush()
        print("half", flush=True)
        sys.stdin.readline()
        file.write(text)
"""


def writer(path: Path, text: str, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), text, *more]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, **pipes)
    assert process.stdout is not None and process.stdout.readline() == "half\n"
    return process


def finish(process: subprocess.Popen[str], kill: bool = False) -> None:
    if kill:
        process.kill()
    process.communicate("" if kill else "go\n", timeout=60)
    assert kill or process.returncode == 0


def write(path: Path, text: str = "mine") -> None:
    with atomic_write(path) as (beside,):
        beside.write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_what_a_killed_process_left_is_removed_by_the_next_write_of_its_target(tmp_path: Path) -> None:
    for path in (tmp_path / "model.pt", tmp_path / "other.pt"):
        path.write_text("old")
        finish(writer(path, "half"), kill=True)
        assert path.read_text() == "old"
    assert len(names(tmp_path)) == 4
    (tmp_path / ".model.pt.notes.part").write_text("somebody's own")
    write(tmp_path / "model.pt")
    left = names(tmp_path)
    assert [name for name in left if "model" in name] == [".model.pt.notes.part", "model.pt"]
    assert len([name for name in left if "other" in name]) == 2  # that is another target's
    assert (tmp_path / "model.pt").read_text() == "mine"


def test_a_folder_that_a_killed_process_left_is_removed_too(tmp_path: Path) -> None:
    path = tmp_path / "a_openvino"
    finish(writer(path, "half", "folder"), kill=True)
    assert len(names(tmp_path)) == 1
    finish(writer(path, "x", "folder"))
    assert names(tmp_path) == ["a_openvino"] and (path / "file").read_text() == "xx"


def test_an_old_folder_that_is_all_there_is_stays(tmp_path: Path) -> None:
    """A process that was killed between two renames has left the old folder beside its place, and nothing in it."""
    (tmp_path / ".a.0123abcd.old").mkdir()
    with atomic_write(tmp_path / "a", folder=True) as (beside,):
        assert ".a.0123abcd.old" in names(tmp_path)
        beside.mkdir()
    with atomic_write(tmp_path / "a", folder=True) as (beside,):
        beside.mkdir()
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("first", ("mine", "theirs"))
def test_two_who_write_one_target_at_once_both_write_it_whole(first: str, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    other = writer(path, "theirs")
    if first == "mine":
        write(path)
        assert path.read_text() == "mine" and len(names(tmp_path)) == 2  # theirs is not left over: they still write
        finish(other)
        assert path.read_text() == "theirstheirs"
    else:
        with atomic_write(path) as (beside,):
            beside.write_text("mine")
            finish(other)
            assert path.read_text() == "theirstheirs" and beside.exists()
        assert path.read_text() == "mine"
    assert names(tmp_path) == ["model.pt"]


def test_a_folder_that_cannot_be_listed_can_still_be_written_to(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may list everything")
    tmp_path.chmod(0o300)
    try:
        write(tmp_path / "model.pt")
        assert (tmp_path / "model.pt").read_text() == "mine"
    finally:
        tmp_path.chmod(0o700)


def test_a_folder_that_is_not_there_is_said_before_anything_is_computed(tmp_path: Path) -> None:
    with pytest.raises(PlifError, match="cannot be written"), atomic_write(tmp_path / "none" / "m.pt"):
        pytest.fail("the work began")
