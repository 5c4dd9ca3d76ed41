"""A short run of each target of tests.fuzz.models; the long one is `python -m tests.fuzz.models TARGET --minutes 10`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.models import TARGETS, fuzz

FILES = {"onnx": 400, "torch": 200, "engine": 400, "nir": 6}  # each NIR file is looked at by a process of its own


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_the_file_a_reader_gives_a_model_or_one_line(name: str, tmp_path: Path) -> None:
    if name == "nir":
        pytest.importorskip("nir")
    assert fuzz(name, tmp_path, files=FILES[name]) == []
