"""The end of a run says in one line which tests were skipped and what would bring them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.selection.imports import REPOSITORY
from tests.selection.skips import describe_skips

TESTS = """
import pytest

pytestmark = pytest.mark.skipif(False, reason="never")

@pytest.mark.parametrize("i", range(3))
def test_of_recordings(i):
    pytest.skip("needs recordings")

@pytest.mark.skipif(True, reason="no make (apt-get install make)")
def test_of_a_tool():
    pass

def test_of_a_library():
    pytest.importorskip("no_such_library")

def test_that_passes():
    pass
"""
MODULE = 'import pytest\npytest.skip("no make (apt-get install make)", allow_module_level=True)\n'
LINE = (
    "6 skipped: 3 x needs recordings; 2 x no make (apt-get install make);"
    " 1 x could not import 'no_such_library': No module named 'no_such_library'"
)


def test_each_reason_stands_once_behind_its_count_the_most_frequent_first() -> None:
    assert describe_skips(["b", "Skipped: a\n a", "c", "Skipped: c"]) == "4 skipped: 2 x c; 1 x a a; 1 x b"
    assert describe_skips([]) == ""


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_says_it_in_one_line_with_and_without_workers(tmp_path: Path, workers: int) -> None:
    (tmp_path / "test_them.py").write_text(TESTS)
    (tmp_path / "test_module.py").write_text(MODULE)
    options = f"-q -rfE -n {workers} -p tests.selection.skips -p no:cacheprovider -c /dev/null".split()
    command = [sys.executable, "-m", "pytest", *options, "--rootdir", str(tmp_path), str(tmp_path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert [line for line in done.stdout.splitlines() if "skipped:" in line] == [LINE]
    assert "1 passed, 6 skipped" in done.stdout and "SKIPPED" not in done.stdout
