"""Slow cases run where what they test has changed, and only there; shards are a division of all cases."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.selection.costs import SLOW_SECONDS, FileCost, read_costs, sum_costs, write_costs
from tests.selection.imports import REPOSITORY
from tests.selection.shards import deal_files, find_due, make_table
from tests.selection.sources import CORE, list_files, list_near, list_needed, list_parts

TEST = """
from runtime.formats.es import open_recording

def test_quick(): pass
def test_slow(): assert open_recording
"""
FILE = "tests/test_small.py"
PART, NEEDED = "runtime/formats/es/__init__.py", "runtime/formats/columns/__init__.py"


def copy_house(folder: Path) -> None:
    """The core of the runtime, one part, and a file of tests with a slow case that opened another part, in a git clone."""
    for name in list_files():
        first = name.split("/")
        ours = name.startswith(("runtime/core/", "runtime/native/", "tests/selection/", "tests/standin/"))
        ours |= name.startswith(("runtime/formats/es/", "runtime/formats/columns/")) or name == "runtime/__init__.py"
        ours |= name in ("tests/__init__.py", "tests/conftest.py", "tests/recorded.py", "tests/warm_child.py")
        if (ours or len(first) == 1) and not first[-1].startswith("test_"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, folder / name)
    for library in (REPOSITORY / "runtime" / "native").glob("*.so"):
        shutil.copy(library, folder / "runtime" / "native")
    (folder / FILE).write_text(TEST)
    write_costs({FILE: FileCost(2.0, 1, {"test_slow": 2.0}, [NEEDED])}, folder / "tests" / "costs.json")
    author = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    for words in (("init", "-q"), ("add", "-A"), (*author, "commit", "-qm", "all")):
        subprocess.run(["git", *words], cwd=folder, check=True)


def run_tests(folder: Path, *words: str) -> tuple[str, str]:
    """Return (how many cases passed, the last line of the output)."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words, FILE]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    said = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True).stdout.splitlines()
    counted = next((line for line in said if " in " in line and ("passed" in line or "failed" in line)), "")
    return counted.rpartition(" in ")[0], said[-1]


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text("utf-8") + text, "utf-8")


@pytest.mark.skipif(shutil.which("git") is None, reason="no git")
def test_a_slow_case_runs_where_what_it_tests_has_changed_until_it_passes(tmp_path: Path) -> None:
    copy_house(tmp_path)
    left_out = "1 slow case of 1 part not run, since nothing that they test changed: make test ALL=1 runs them"
    changed = ("--slow", "changed")
    assert run_tests(tmp_path, *changed) == ("1 passed, 1 deselected", left_out)  # a clone as it was committed
    assert run_tests(tmp_path, "--slow", "all")[0] == run_tests(tmp_path)[0] == "2 passed"
    for name in (PART, NEEDED, FILE, "runtime/core/parts.py", "tests/selection/shards.py"):
        append(tmp_path / name, "\n# changed\n")
        runs = name != "tests/selection/shards.py"  # which the file does not import
        assert run_tests(tmp_path, *changed)[0] == ("2 passed" if runs else "1 passed, 1 deselected"), name
        assert run_tests(tmp_path, *changed) == ("1 passed, 1 deselected", left_out), name
    append(tmp_path / PART, "\nopen_recording = None\n")
    for _ in range(2):  # what failed runs again
        assert run_tests(tmp_path, *changed)[0] == "1 failed, 1 passed"


@pytest.mark.skipif(shutil.which("git") is None, reason="no git")
def test_a_clone_that_was_changed_before_its_first_run_runs_what_belongs_to_the_change(tmp_path: Path) -> None:
    copy_house(tmp_path)
    append(tmp_path / NEEDED, "\n# changed\n")
    assert run_tests(tmp_path, "--slow", "changed", "-n", "2")[0] == "2 passed"
    assert run_tests(tmp_path, "--slow", "changed", "-n", "2")[0] == "1 passed"


def test_what_a_test_depends_on_is_its_part_with_its_needs_its_helpers_and_the_core() -> None:
    tested = {part: [*(REPOSITORY / "tests" / part).glob("test_*.py")] for part in list_parts()}
    with_needs = [part for part in tested if tested[part] and len(list_needed(part)) > 1]
    assert with_needs
    for part in with_needs:
        for path in tested[part]:
            assert list_needed(part) <= list_near(path.relative_to(REPOSITORY).as_posix())
    assert {CORE, "tests/selection/costs.py", "tests/selection/imports.py"} <= list_near(
        Path(__file__).relative_to(REPOSITORY).as_posix()
    )


def test_the_costs_name_files_that_are_there() -> None:
    costs = read_costs()
    assert costs and not [name for name in costs if not (REPOSITORY / name).is_file()]
    assert all(spent >= SLOW_SECONDS for cost in costs.values() for spent in cost.slow.values())


def test_costs_are_written_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    costs = sum_costs({"a.py::x[1]": 0.1, "a.py::y": 3.0, "b.py::z": 0.2}, {"a.py": FileCost(opens=["p", "q"])})
    assert costs["a.py"] == FileCost(3.1, 1, {"y": 3.0}, ["p", "q"])
    write_costs(costs, path)
    assert read_costs(path) == costs and json.loads(path.read_text())["opened"] == ["p", "q"]
    assert read_costs(tmp_path / "none.json") == {}


def test_each_file_is_in_one_shard_and_shards_are_about_equal() -> None:
    files = sorted(path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "tests").rglob("test_*.py"))
    shards = deal_files(files, 8)
    assert sorted(shards) == files and set(shards.values()) == set(range(8))


def test_the_shard_that_is_due_is_one_that_never_ran_or_the_oldest() -> None:
    said = {"date": "2026-01-02", "commit": "abc", "passed": 1, "failed": 0, "skipped": 2, "minutes": 3}
    assert find_due({"1/3": said}, 3) == "2/3"
    assert find_due({"1/3": said, "2/3": {**said, "date": "2026-01-01"}, "3/3": said}, 3) == "2/3"
    assert "| 1/2 | 2026-01-02 | abc | 1 | 0 | 2 | 3 |\n| 2/2 | not run |" in make_table({"1/2": said}, 2)
