"""Ctrl-C at any moment of an export: the file that was there is there, or the new one is, and nothing else.

How streams end is tested in tests/runtime/core/test_stream_ends.py, and one moment of an export, the last before it writes, in
tests/pipeline/test_command_line.py.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from plif_export import export
from plif_train import save
from runtime.core.base.files import hash_artifact
from tests.conftest import REPOSITORY, interruptible
from tests.networks import firing

MOMENTS = 30


def test_a_module_that_is_being_loaded_is_loaded_before_the_interrupt(tmp_path: Path) -> None:
    """PyTorch's native code crashes where a KeyboardInterrupt comes while it sets itself up."""
    (tmp_path / "slow.py").write_text("print('loading', flush=True); input(); print('loaded', flush=True)")
    program = (
        "import sys, time\n"
        "from runtime.core.cli.signals import catch_signals\n"
        "catch_signals(gracefully=False)\n"
        "try:\n"
        "    import slow\n"
        "    time.sleep(100)\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted')"
    )
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{tmp_path}"}
    process = interruptible([sys.executable, "-c", program], env=environment, stdin=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == "loading\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate("\n", timeout=60)
    assert (out, process.returncode) == ("loaded\ninterrupted\n", 0), err


@pytest.mark.large
@pytest.mark.parametrize("to", ("onnx", "openvino"))
def test_ctrl_c_at_any_moment_leaves_the_old_artifact_or_the_new_one(tmp_path: Path, to: str) -> None:
    if to == "openvino":
        pytest.importorskip("openvino", reason="OpenVINO is not installed")
    folder = tmp_path / "out"
    folder.mkdir()
    target = folder / ("m_openvino" if to == "openvino" else "m.onnx")
    save(firing(seed=1), tmp_path / "old.pt")
    save(firing(seed=2), tmp_path / "new.pt")
    new = export(tmp_path / "new.pt", target, to=to).sha256
    old = export(tmp_path / "old.pt", target, to=to).sha256
    command = [
        sys.executable,
        "-m",
        "runtime.core.cli",
        "export",
        str(tmp_path / "new.pt"),
        "-o",
        str(target),
        "--to",
        to,
    ]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PLIF_NO_CALIBRATION": "1"}

    def interrupted(after_s: float) -> int:
        process = interruptible(command, env=environment)
        time.sleep(after_s)  # a moment like any other: what is asserted holds for each
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
        assert process.returncode in (0, 130, -signal.SIGINT), err  # the last: while Python itself begins or ends
        return process.returncode

    began_s = time.monotonic()
    process = interruptible(command, env=environment)
    process.communicate(timeout=120)
    length_s = time.monotonic() - began_s
    assert process.returncode == 0 and hash_artifact(target)[1] == new
    ended = []
    for moment in range(MOMENTS):
        export(tmp_path / "old.pt", target, to=to)
        ended.append(interrupted(length_s * (moment + 1) / MOMENTS))
        found = {path.name for path in folder.iterdir()}
        certificate = {f"{target.name}.certificate.json"} if to == "onnx" else set()
        assert found == {target.name, f"{target.name}.report.json"} | certificate, f"moment {moment}"
        assert hash_artifact(target)[1] in (old, new), f"moment {moment}"
        assert json.loads((folder / f"{target.name}.report.json").read_text())["sha256"] in (old, new)
    assert 130 in ended
