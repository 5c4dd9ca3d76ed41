"""A Jetson with JetPack 6 has Python 3.10: all three packages are written for it, the runtime first of all."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from runtime.formats.child.children import script_command
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.machines

PACKAGES = ("runtime", "plif_export", "plif_train")


def test_nothing_newer_than_python_3_10_is_used() -> None:
    if find_spec("vermin") is None:
        pytest.skip("vermin is not installed (extra: dev)")
    quick = ("--processes=1", "--no-parse-comments")  # comments could only make exceptions, and here are none
    options = ("--no-tips", "--target=3.10-", "-vvv", *quick)
    command = [sys.executable, "-c", "import vermin; vermin.main()", *options, *PACKAGES]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    newer = [line for line in done.stdout.splitlines() if "requires" in line and "3.1" in line and "3.10" not in line]
    assert done.returncode == 0, "\n".join(newer) or done.stdout[-2000:]


@pytest.mark.parametrize("package", PACKAGES)
def test_the_syntax_is_that_of_python_3_10(package: str) -> None:
    import ast

    for file in Path(REPOSITORY / package).rglob("*.py"):
        ast.parse(file.read_text(), str(file), feature_version=(3, 10))


def test_the_metadata_says_so() -> None:
    assert 'requires-python = ">=3.10"' in (REPOSITORY / "pyproject.toml").read_text()


def test_a_process_of_its_own_imports_nothing_from_the_users_folder(tmp_path: Path) -> None:
    """Which python -P would say, too, but only since 3.11."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "it.py").write_text("import json, sys; print('done'); assert len(sys.argv) == 1")
    for folder in (tmp_path, tmp_path / "elsewhere"):
        (folder / "json.py").write_text("raise SystemExit('not this one')")
    command = script_command(Path("elsewhere/it.py"))
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    assert not {"-P", "-I"} & set(command)
