"""The wheel: built from the sdist, installed in a fresh environment, run where there is no clone."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from runtime.core.base.version import __version__
from tests.conftest import REPOSITORY
from tests.docs.test_sbom import check_files, check_requirements, read_wheel

pytestmark = pytest.mark.large  # downloads ONNX Runtime, builds twice: a minute


def call(*words: object, cwd: Path) -> str:
    quiet = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run([*map(str, words)], cwd=cwd, env=quiet, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, (words, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = f"import build_backend; print(build_backend.build_sdist({str(folder)!r}))"
    source = call("git", "ls-files", cwd=REPOSITORY).split("\n")
    clean = folder / "source"  # what the project has, without what was built beside it
    for name in filter(None, source):
        (clean / name).parent.mkdir(parents=True, exist_ok=True)
        (clean / name).write_bytes((REPOSITORY / name).read_bytes())
    call(sys.executable, "-c", build, cwd=clean)
    (sdist,) = folder.glob("plif-*.tar.gz")
    call(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        folder,
        sdist,
        cwd=folder,
    )
    (built,) = folder.glob("plif-*.whl")
    return built


def test_the_wheel_is_for_every_python_on_this_kind_of_machine(wheel: Path) -> None:
    assert wheel.name.startswith(f"plif-{__version__}-py3-none-linux_")
    names = zipfile.ZipFile(wheel).namelist()
    beside = ("observers/latex/references.bib", "observers/evaluation_report/report.css")
    assert {"plif.py", "plif_train/core/network/presets.json", *(f"runtime/{name}" for name in beside)} <= set(names)
    assert any("training_kernels/native/_train" in name for name in names)
    assert {f"{package}/py.typed" for package in ("runtime", "plif_export", "plif_train")} <= set(names)
    assert not [name for name in names if name.startswith(("tests/", "docs/", "bench/"))]


def test_the_wheel_has_a_bill_of_what_it_contains_and_requires(wheel: Path) -> None:
    files, document = read_wheel(wheel)
    assert {"libplif", "_train"} <= check_files(document, files)
    check_requirements(document)


def test_the_wheel_streams_without_a_clone_a_compiler_or_pytorch(
    wheel: Path, digits_onnx: Path, tmp_path: Path
) -> None:
    call(sys.executable, "-m", "venv", tmp_path / "box", cwd=tmp_path)
    python, plif = tmp_path / "box/bin/python", tmp_path / "box/bin/plif"
    call(
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        f"plif[cpu] @ file://{wheel}",
        cwd=tmp_path,
    )
    where = call(python, "-c", "import runtime; print(runtime.__file__)", cwd=tmp_path)
    assert where.startswith(str(tmp_path / "box"))
    said = call(plif, "stream", digits_onnx, "sim:digits?seed=7&seconds=1", "--engine", "event", cwd=tmp_path)
    assert "answer" in said and "0 dropped" in said
    both = call(plif, "stream", digits_onnx, "sim:digits?seed=7&seconds=1", "--engine", "onnxruntime", cwd=tmp_path)
    assert both.splitlines()[0] == said.splitlines()[0]
    assert "torch" not in call(python, "-m", "pip", "list", cwd=tmp_path)
    # as the message for a missing extra says: pip takes plif's extras from what is installed, not from an index
    told = call(python, "-m", "pip", "install", "--dry-run", "plif[dashboard]", cwd=tmp_path)
    assert "Would install" in told and "starlette" in told and "plif-" not in told
