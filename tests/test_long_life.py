"""What keeps the project usable for years: licences that users may have, and lower bounds that are tested."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.licences import licence_of, table
from tests.oldest import lower_bounds


def test_nothing_that_users_must_install_is_under_the_gpl() -> None:
    licences = table()
    assert {"numpy", "typer", "rich", "torch", "onnx", "onnxruntime"} <= set(licences)
    assert [name for name, licence in licences.items() if re.search("GPL|GNU|not stated", licence)] == []


def test_every_requirement_of_the_runtime_and_the_exporter_has_a_lower_bound_that_is_tested() -> None:
    bounds = lower_bounds("cpu", "export")
    assert set(bounds) == {"numpy", "typer", "rich", "onnxruntime", "torch", "onnx", "matplotlib"}


def test_a_package_that_brings_only_others_needs_no_licence_and_any_other_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, files in {"others": [], "program": ["program.py"]}.items():
        about = tmp_path / f"{name}-1.dist-info"
        about.mkdir()
        for file in files:
            (tmp_path / file).touch()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        (about / "RECORD").write_text("".join(f"{file},,\n" for file in (f"{about.name}/METADATA", *files)))
    monkeypatch.syspath_prepend(tmp_path)
    assert licence_of("others").startswith("none") and licence_of("program") == "not stated"
