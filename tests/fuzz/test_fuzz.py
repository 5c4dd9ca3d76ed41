"""The fuzz targets of this folder, in a short form; `-m large` runs the long ones."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys

import pytest

from plif_export import export
from tests.networks import firing

AVERAGED = "c8k3s1-BN-PLIF-APk2s2-c24k3s2-BN-PLIF-FC40-PLIF-FC30-PLIF-APk10s10"

needs_sanitizer = pytest.mark.skipif(
    platform.machine() != "x86_64" or shutil.which("gcc") is None, reason="needs gcc with its address sanitizer"
)


def fuzz(target: str, *options: str) -> None:
    done = subprocess.run([sys.executable, "-m", f"tests.fuzz.{target}", *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("seeds")
    export(firing(), folder / "fp32.onnx", verify=False)
    export(firing(AVERAGED), folder / "int8.onnx", precision="int8", verify=False)
    # one output pixel: a stride says nothing about its map
    export(firing("c8k3s2-PLIF-FC30-PLIF-APk10s10", (2, 2, 2)), folder / "pixel.onnx", verify=False)
    return [str(path) for path in sorted(folder.glob("*.onnx"))]


def test_a_card_that_lies_gives_one_line_or_a_run_that_ends(seeds: list[str]) -> None:
    fuzz("cards", *seeds, "--count", "40")


@needs_sanitizer
def test_native_code_touches_nothing_but_its_buffers_whatever_it_is_given() -> None:
    fuzz("native", "--count", "8")


@pytest.mark.large
def test_a_card_that_lies_does_no_harm_for_ten_minutes(seeds: list[str]) -> None:
    fuzz("cards", *seeds, "--minutes", "10", "--seed", "1000")


@pytest.mark.large
@needs_sanitizer
def test_native_code_touches_nothing_else_for_ten_minutes() -> None:
    fuzz("native", "--minutes", "10", "--seed", "1000000")
