"""The program of docs/cpp.md is compiled and gives what the runtime gives."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import runtime
from plif_export import export
from tests.networks import firing, frames

SOURCE = Path(__file__).resolve().parents[3] / "docs" / "step.cpp"
HEADERS = Path("/usr/include/onnxruntime")


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler (g++) on this machine")
@pytest.mark.skipif(not HEADERS.is_dir(), reason="ONNX Runtime's C++ headers are not installed (libonnxruntime-dev)")
def test_the_c_plus_plus_program_streams_with_the_same_outputs(tmp_path: Path) -> None:
    net = firing(v_reset=-0.25)
    export(net, tmp_path / "model.onnx")
    x = frames(net, np.random.default_rng(1), T=12, streams=1)
    (tmp_path / "frames.f32").write_bytes(x.astype("<f4").tobytes())
    program = tmp_path / "step"
    build = ["g++", "-O1", "-std=c++17", str(SOURCE), f"-I{HEADERS}", "-lonnxruntime", "-o", str(program)]
    subprocess.run(build, check=True, timeout=300)
    found = subprocess.run(
        [program, tmp_path / "model.onnx", tmp_path / "frames.f32"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    y = np.array([[float(number) for number in line.split()] for line in found.stdout.splitlines()])
    expected = runtime.load(tmp_path / "model.onnx").session().run(x)[:, 0]
    assert expected.sum() > 1
    np.testing.assert_array_equal(np.rint(10 * y), np.rint(10 * expected))
