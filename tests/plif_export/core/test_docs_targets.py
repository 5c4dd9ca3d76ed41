"""docs/targets.md: made by its script, which knows every target, and says what was tried and why something was refused."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from plif_export.core.targets import list_targets
from tests.conftest import load_script

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script(DOCS / "targets_table.py")


def test_the_page_has_every_source_and_every_target_of_this_version(script: ModuleType) -> None:
    text = (DOCS / "targets.md").read_text()
    (header,) = [line for line in text.splitlines() if line.startswith("| from |")]
    assert header == f"| from | {' | '.join(f'`--to {target}`' for target in list_targets())} |", (
        "run docs/targets_table.py"
    )
    rows = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")][1:]
    assert rows == list(script.SOURCES)


def test_what_it_says_is_what_an_export_says(script: ModuleType, tmp_path: Path) -> None:
    given = script.plif_train(tmp_path)
    found = [
        script.tried("ours", target, form, precision, tmp_path, given)
        for target, form, precision in (
            ("onnx", "step", "fp32"),
            ("onnx", "unrolled", "fp32"),
            ("onnx", "loop", "fp32"),
            ("triton", "step", "fp32"),
            ("triton", "unrolled", "fp32"),
            ("triton", "loop", "fp32"),
        )
    ]
    assert [one.passed for one in found] == [True, True, True, True, False, False]
    page = script.page(found, ["theirs: nothing is not installed"])
    (row,) = [line for line in page.splitlines() if line.startswith("| ours")]
    cells = dict(zip(list_targets(), (cell.strip() for cell in row.split("|")[2:]), strict=False))
    assert cells["onnx"] == "fp32 +T +loop" and cells["triton"] == "fp32 [1]" and cells["nir"] == "-"
    assert "1. --to triton writes step" in page and "Not tried: theirs" in page


@pytest.mark.parametrize("target", ("openvino", "nir", "triton"))
def test_the_page_of_a_target_has_every_option_and_precision(target: str) -> None:
    from plif_export.core.targets import find_target

    text = (DOCS / f"{target}.md").read_text()
    found = find_target(target)
    assert [name for name in found.options if f"`{name}`" not in text and f"{name}=" not in text] == []
    assert f"--to {target}" in text
