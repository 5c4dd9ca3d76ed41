"""What a release and a contributor rely on: one version, hooks and a workflow that do what `make lint` and CI do."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import plif
from runtime.core.base.version import __version__
from runtime.core.cli import main as command_line
from runtime.core.model.card import ARTIFACT_FORMAT_VERSION, MODEL_FORMAT_VERSION
from tests.conftest import REPOSITORY, pyproject

yaml = pytest.importorskip("yaml", reason="PyYAML comes with the extra docs")
LINTERS = {"ruff", "mypy", "clang-format", "clang-tidy"}
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def parsed(path: str) -> dict:
    return yaml.safe_load((REPOSITORY / path).read_text(encoding="utf-8"))


def test_one_version_stands_in_the_package_the_citation_and_the_changelog() -> None:
    version = __version__.partition(".dev")[0]
    assert parsed("CITATION.cff")["version"] == version
    (first, *_) = re.findall(r"^## (\S+) \((.+)\)$", (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert first[0] == version and re.fullmatch(r"unreleased|\d{4}-\d\d-\d\d", first[1])


def test_the_hooks_are_commands_of_make_lint() -> None:
    (local,) = parsed(".pre-commit-config.yaml")["repos"]
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    lint = "".join(re.findall(r"^(?:lint|types):.*\n(?:\t.*\n)+", makefile, re.M))
    assert {hook["id"] for hook in local["hooks"]} == {"ruff-format", "ruff", "clang-format", "mypy"}
    assert all(f"$(BIN)/{hook['entry']}" in lint for hook in local["hooks"])


def commands(*words: str) -> list[str]:
    """The lines that make would run for a target, where the environment is complete."""
    asked = [
        "make",
        "--dry-run",
        "--no-print-directory",
        "VENV=.venv",
        *(f"-o.venv/{name}" for name in ("dev", "lint")),
    ]
    return subprocess.run(
        [*asked, *words], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.splitlines()


@needs_make
def test_make_test_runs_the_tests_and_nothing_else_and_make_lint_every_linter() -> None:
    (line,) = commands("test")
    assert " -m pytest " in line
    lint = commands("lint")
    assert {tool for line in lint for tool in re.findall(r"bin/([\w-]+)", line)} == LINTERS


def test_the_linters_stand_in_one_place_to_the_digit() -> None:
    pinned = dict(line.split("==") for line in (REPOSITORY / ".ci" / "lint.txt").read_text().splitlines())
    assert set(pinned) == LINTERS and all(re.fullmatch(r"\d+(\.\d+)+", version) for version in pinned.values())
    extras = pyproject()["project"]["optional-dependencies"]
    assert not LINTERS & {re.split(r"[^\w-]", wanted)[0] for extra in extras.values() for wanted in extra}


@needs_make
def test_what_pip_does_not_find_for_a_python_is_one_line_each(tmp_path: Path) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text('#!/bin/sh\ncase "$*" in *download*) echo "ERROR: No matching distribution" >&2; exit 1;; esac\n')
    python.chmod(0o755)
    asked = ["make", "--silent", "--no-print-directory", f"VENV={tmp_path}", f"{tmp_path}/dev"]
    done = subprocess.run(asked, cwd=REPOSITORY, capture_output=True, text=True)
    said = (done.stdout + done.stderr).splitlines()
    assert done.returncode == 0 and len(said) == 3
    assert all(
        re.fullmatch(r"pip finds no [\w-]+==[\d.]+ for this Python: the tests that need it skip", s) for s in said
    )


def test_ci_runs_the_linters_the_tests_and_both_on_a_machine_unlike_this_one() -> None:
    lines = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    asked = [re.match(r"make (\w+)", line) for line in lines if "||" not in line]
    assert [target[1] for target in asked if target] == ["locked", "lint", "test", "machines", "newest"]


@needs_make
@pytest.mark.skipif(not (REPOSITORY / ".git").exists() or shutil.which("git") is None, reason="this is no clone")
def test_elsewhere_is_a_copy_of_this_tree_in_a_folder_with_a_space_which_goes_again(tmp_path: Path) -> None:
    """And not root's: its folder below is nobody's, where nobody can come to it."""
    command = [REPOSITORY / ".ci" / "elsewhere", sys.executable, "--dry-run", "test"]
    done = subprocess.run(command, env={**os.environ, "TMPDIR": str(tmp_path)}, capture_output=True, text=True)
    first, *rest = done.stdout.splitlines()
    said = re.fullmatch(r"make --dry-run test, with (.+), as (\w+), in (.+ .+)", first)
    assert done.returncode == 0 and said is not None and Path(said[3]).is_relative_to(tmp_path), done.stderr
    assert any(" -m venv .venv" in line for line in rest) and " -m pytest " in rest[-1]
    assert not list(tmp_path.iterdir())


def test_the_workflow_runs_what_ci_runs_and_the_forms_ask_for_what_helps() -> None:
    (job,) = parsed(".github/workflows/test.yml")["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"] and (REPOSITORY / ".ci/run").is_file()
    for form, asked in (("bug", "plif info"), ("network", "plif check")):
        body = parsed(f".github/ISSUE_TEMPLATE/{form}.yml")["body"]
        assert any(asked in field["attributes"]["label"] and field["validations"]["required"] for field in body[:3])


def test_a_release_is_audited_and_what_cannot_be_looked_up_fails_it() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    (audit,) = re.findall(r"^audit:.*\n((?:\t.*\n)+)", makefile, re.M)
    assert audit.endswith("\t$(BIN)/python docs/audit.py\n"), "tests/docs/test_supply_chain.py"
    (job,) = parsed(".github/workflows/release.yml")["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [
        "make locked",
        "make audit",
        *(f"make wheels release ARCH={processor}" for processor in ("x86_64", "aarch64")),
    ]
    assert "`make audit` passes" in (REPOSITORY / "docs" / "releasing.md").read_text(encoding="utf-8")


def test_the_page_on_stability_names_the_versions_of_files() -> None:
    page = (REPOSITORY / "docs" / "stability.md").read_text(encoding="utf-8")
    page = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", page)  # links to the glossary
    assert f"`model.pt` {MODEL_FORMAT_VERSION}, artifacts {ARTIFACT_FORMAT_VERSION}" in page
    assert plif.__all__ and "`plif.__all__`" in page and command_line.list_all_commands()
