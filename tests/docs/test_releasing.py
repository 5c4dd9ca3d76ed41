"""What a release and a contributor rely on: one version, hooks and a workflow that do what `make lint` and CI do."""

from __future__ import annotations

import re

import pytest

import plif
from runtime.base.version import __version__
from runtime.cli.main import COMMANDS
from runtime.model.card import ARTIFACT_FORMAT_VERSION, MODEL_FORMAT_VERSION
from tests.conftest import REPOSITORY

yaml = pytest.importorskip("yaml", reason="PyYAML comes with the extra docs")


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


def test_the_workflow_runs_what_ci_runs_and_the_forms_ask_for_what_helps() -> None:
    (job,) = parsed(".github/workflows/test.yml")["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"] and (REPOSITORY / ".ci/run").is_file()
    for form, asked in (("bug", "plif info"), ("network", "plif check")):
        body = parsed(f".github/ISSUE_TEMPLATE/{form}.yml")["body"]
        assert any(asked in field["attributes"]["label"] and field["validations"]["required"] for field in body[:3])


def test_a_release_is_audited_and_what_cannot_be_looked_up_fails_it() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    (audit,) = re.findall(r"^audit:.*\n((?:\t.*\n)+)", makefile, re.M)
    assert "pip-audit --strict" in audit, "without --strict it passes where it could look nothing up"
    (job,) = parsed(".github/workflows/release.yml")["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [
        "make audit",
        *(f"make wheels release ARCH={processor}" for processor in ("x86_64", "aarch64")),
    ]
    assert "`make audit` passes" in (REPOSITORY / "docs" / "releasing.md").read_text(encoding="utf-8")


def test_the_page_on_stability_names_the_versions_of_files() -> None:
    page = (REPOSITORY / "docs" / "stability.md").read_text(encoding="utf-8")
    assert f"`model.pt` {MODEL_FORMAT_VERSION}, artifacts {ARTIFACT_FORMAT_VERSION}" in page
    assert plif.__all__ and "`plif.__all__`" in page and COMMANDS
