"""The real onnxruntime-gpu, in an environment of its own, without CUDA: what it lacks is said in one line of ours."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import runtime
from plif_export import export
from runtime.engines.onnxruntime_gpu.engine import OnnxRuntimeCudaEngine, OnnxRuntimeTensorRtEngine
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.machines

# The last release for this Python that was looked into, and the libraries that its providers name, in their order.
if sys.version_info >= (3, 11):
    RELEASE, CUDA = "1.31.1", "13"
    NEEDED = ["libcublasLt.so.13", "libcublas.so.13", "libcurand.so.10", "libcudart.so.13", "libcudnn.so.9"]
else:
    RELEASE, CUDA = "1.23.2", "12"
    NEEDED = [
        "libcublasLt.so.12",
        "libcublas.so.12",
        "libcurand.so.10",
        "libcufft.so.11",
        "libcudart.so.12",
        "libcudnn.so.9",
    ]
NEEDED_TENSORRT = [
    f"libcublas.so.{CUDA}",
    "libnvinfer.so.10",
    "libnvonnxparser.so.10",
    f"libcudart.so.{CUDA}",
    "libcudnn.so.9",
]
HOME = REPOSITORY / "build" / f"onnxruntime-gpu-{RELEASE}"  # kept: 256 MB are downloaded once
DRIVER = "no NVIDIA driver (libcuda.so.1)"
BRINGS_CUDA = "pip install 'onnxruntime-gpu[cuda,cudnn]'"
BRINGS_TENSORRT = f"pip install --extra-index-url=https://pypi.nvidia.com 'tensorrt-cu{CUDA}==10.*'"
ENGINES = {"onnxruntime-cuda": OnnxRuntimeCudaEngine, "onnxruntime-tensorrt": OnnxRuntimeTensorRtEngine}


def is_here(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def python() -> Path:
    """The interpreter of an environment with onnxruntime-gpu and what the runtime's commands need."""
    if is_here("libcuda.so.1"):
        pytest.skip("this machine has an NVIDIA driver; pytest -m gpu runs the engines themselves")
    python, ready = HOME / "bin" / "python", HOME / "ready"
    if not ready.exists():
        shutil.rmtree(HOME, ignore_errors=True)
        venv.create(HOME, with_pip=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
        for what in (["--no-deps", f"onnxruntime-gpu=={RELEASE}"], ["numpy", "typer>=0.26,<0.29"]):
            done = subprocess.run([*pip, *what], capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"pip cannot fetch {what[-1]}: {done.stderr.strip().splitlines()[-1]}")
        ready.touch()
    return python


@pytest.fixture(scope="module")
def capi(python: Path) -> Path:
    return next(HOME.glob("lib/python*/site-packages/onnxruntime/capi"))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(
        REPOSITORY / "models" / "nmnist-digits.pt", tmp_path_factory.mktemp("wheel") / "m.onnx", verify=False
    ).path


def plif(python: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [python, "-W", "error::RuntimeWarning", "-m", "runtime.core.cli", *arguments]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True)


def lacks(provider: str, versions: str, needed: list[str], brings: list[str]) -> tuple[str, str]:
    """Why not, and what to install, as far as this machine does not have it."""
    missing = ", ".join(library for library in needed if not is_here(library))
    why = f"{DRIVER}; {provider} of ONNX Runtime {RELEASE} is built for {versions} and finds no {missing}"
    return why, "; ".join(["install NVIDIA's driver", *brings])


LACKS = {
    "onnxruntime-cuda": lacks("CUDAExecutionProvider", f"CUDA {CUDA}, cuDNN 9", NEEDED, [BRINGS_CUDA]),
    "onnxruntime-tensorrt": lacks(
        "TensorrtExecutionProvider",
        f"CUDA {CUDA}, cuDNN 9, TensorRT 10",
        NEEDED_TENSORRT,
        [BRINGS_CUDA, BRINGS_TENSORRT],
    ),
}


@pytest.mark.parametrize(
    ("arguments", "engine"),
    (
        (("--device", "cuda"), "onnxruntime-cuda"),
        (("--engine", "onnxruntime-cuda"), "onnxruntime-cuda"),
        (("--engine", "onnxruntime-tensorrt"), "onnxruntime-tensorrt"),
    ),
)
def test_without_cuda_the_one_error_is_ours_word_for_word(
    python: Path, path: Path, arguments: tuple[str, str], engine: str
) -> None:
    done = plif(python, "eval", path, "--data", "digits:2", *arguments)
    why, install = LACKS[engine]
    assert done.stderr == f"plif: error: engine {engine}: {why}: {install}. To run on the CPU: --device cpu\n"
    assert (done.stdout, done.returncode) == ("", 2)


def test_info_says_the_same(python: Path) -> None:
    found = json.loads(plif(python, "info", "--json").stdout)
    for engine, (why, install) in LACKS.items():
        assert (found["engines_not_here"][engine], found["engines_install"][engine]) == (why, install)
    assert "onnxruntime" in found["engines"]


def test_the_same_wheel_runs_on_the_cpu(python: Path, path: Path) -> None:
    done = plif(python, "eval", path, "--data", "digits:2", "--engine", "onnxruntime", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["engine"] == "onnxruntime", done.stderr


@pytest.fixture
def installed(python: Path, capi: Path, tmp_path: Path) -> Iterator[None]:
    """Libraries where pip puts NVIDIA's, of their names, with nothing in them."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler for stand-ins")
    program = "import onnxruntime, json; print(json.dumps(onnxruntime._get_nvidia_dll_paths(False)))"
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True)
    folder = capi.parents[1]
    try:
        for parts in json.loads(done.stdout):
            library = folder.joinpath(*parts)
            library.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(
                [compiler, "-shared", f"-Wl,-soname,{library.name}", "-o", library, "-x", "c", "/dev/null"], check=True
            )
        yield
    finally:
        shutil.rmtree(folder / "nvidia")


@pytest.mark.usefixtures("installed")
def test_what_pip_installed_is_found_and_only_the_driver_is_missed(python: Path, path: Path) -> None:
    done = plif(python, "eval", path, "--data", "digits:2", "--device", "cuda")
    wanted = f"{DRIVER}: install NVIDIA's driver. To run on the CPU: --device cpu"
    assert done.stderr == f"plif: error: engine onnxruntime-cuda: {wanted}\n"


@pytest.mark.parametrize("engine", ENGINES)
def test_every_option_that_a_provider_is_given_is_a_name_in_the_installed_library(
    capi: Path, path: Path, engine: str
) -> None:
    """Read from the library itself. Where CUDA is a plug-in (ONNX Runtime 1.32) it also knows them as ep.cuda.NAME."""
    told: Any = object.__new__(ENGINES[engine])
    told.card, told.device = runtime.load(path, "onnxruntime").card, 0
    library = (capi / f"libonnxruntime_providers_{engine.removeprefix('onnxruntime-')}.so").read_bytes()

    def knows(option: str) -> bool:
        return re.search(rb"(\0|\0ep\.cuda\.)" + option.encode() + rb"\0", library) is not None

    assert not [option for option in told.provider_options() if not knows(option)]
    assert not knows("use_tf33") and len(told.provider_options()) >= 3
