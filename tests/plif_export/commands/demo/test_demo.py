"""`plif demo` does the main job on what ships, and leaves pictures and numbers."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

import runtime
from plif_export.commands.demo.main_job import CAMERA, DECIDE, FRAMING, run_demo
from runtime.core.events import open_source
from tests.conftest import REPOSITORY, pyproject


def others(installed: str) -> set[str]:
    """What plif's extras bring and these extras do not, by the name that a program imports."""
    extras = pyproject()["project"]["optional-dependencies"]
    name = {wanted: re.split(r"[^\w-]", wanted)[0].replace("-", "_") for extra in extras.values() for wanted in extra}
    brought = {name[wanted] for extra in installed.split(",") for wanted in extras[extra]}
    return set(name.values()) - brought - {"plif", "pillow"}


def test_the_demo_proves_evaluates_streams_and_leaves_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    (installed,) = re.findall(r"^\$\(VENV\)/demo:.*\n.*'\.\[([\w,]+)\]'", (REPOSITORY / "Makefile").read_text(), re.M)
    absent = others(installed)
    assert {"openvino", "aedat", "rosbags", "h5py", "nir", "dv_processing"} <= absent
    for library in absent:  # make demo installs none of these
        monkeypatch.setitem(sys.modules, library, None)
    run_demo(tmp_path / "demo", said.append, samples=40)
    numbers = json.loads((tmp_path / "demo" / "demo.json").read_text())
    assert all(exported["verify"]["passed"] for exported in numbers["export"])
    assert numbers["recordings"]["passed"] and numbers["recordings"]["untested"] == []
    assert numbers["evaluate"]["accuracy"] >= 0.9
    assert numbers["pytorch"]["same_answers"] == numbers["evaluate"]["samples"] == 40
    assert numbers["stream"]["decisions"][-1]["label"] == "7"
    for picture in ("stream.png", "confusion.png"):
        assert (tmp_path / "demo" / picture).read_bytes().startswith(b"\x89PNG")
    named = set(
        re.findall(r"demo/([\w-]+\.\w+)", (REPOSITORY / "docs" / "README.md").read_text())
    )  # what its next command needs
    assert named == {"nmnist-digits.onnx", "digit7.bin"} and all((tmp_path / "demo" / name).is_file() for name in named)
    assert any(FRAMING in line and DECIDE in line for line in said)
    source = open_source(CAMERA)
    answers = list(
        runtime.load(tmp_path / "demo" / "nmnist-digits.onnx").stream(CAMERA, framing=FRAMING, decide=DECIDE)
    )
    for begin_us, end_us, digit in source.truth[:-1]:  # type: ignore[attr-defined]  # the last one is cut
        shown = {one.label for one in answers if begin_us + 60_000 < one.t_us <= end_us} - {None}
        assert shown == {digit}, (begin_us, digit, shown)
    assert any(line.strip().startswith("plif train") for line in said)
    assert "pip install -e '.[all]'" in said[-1]
