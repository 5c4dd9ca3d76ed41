"""The stand-in GPU as pytest fixtures; tests/conftest.py makes them known to all tests."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CUDA = "runtime.engines.tensorrt_plan.cuda"  # of a part, which may be removed


@pytest.fixture(scope="session")
def standin_driver(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The stand-in driver, compiled."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler for the stand-in driver")
    library = tmp_path_factory.mktemp("standin") / "libcuda_standin.so"
    source = Path(__file__).with_name("cuda.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, source], check=True)
    return ctypes.CDLL(str(library))


@contextmanager
def machine_with_gpu(driver: Any) -> Iterator[Any]:
    """A machine with one GPU, "Stand-in GPU" of compute capability 8.9, and TensorRT 10.3.0."""
    cuda = pytest.importorskip(CUDA)
    from runtime.engines.tensorrt_plan import module as tensorrt_module
    from tests.standin import tensorrt as standin_tensorrt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cuda, "LIBRARY", driver._name)
        patch.setattr(standin_tensorrt, "driver", driver)
        patch.setitem(sys.modules, "tensorrt", standin_tensorrt)
        patch.setattr(tensorrt_module, "_loggers", {})
        cuda.open_gpu.cache_clear()
        yield driver
    cuda.open_gpu.cache_clear()


@pytest.fixture
def gpu(standin_driver: Any) -> Iterator[Any]:
    """The machine, for one test. Gives the driver's library."""
    with machine_with_gpu(standin_driver):
        yield standin_driver


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine without a GPU, wherever the tests run."""
    cuda = pytest.importorskip(CUDA)
    monkeypatch.setattr(cuda, "LIBRARY", "libcuda-not-here.so.1")
    cuda.open_gpu.cache_clear()
    yield
    cuda.open_gpu.cache_clear()
