"""Every name, argument and type that our TensorRT code uses exists in TensorRT 10.3 (JetPack 6), in 11, and in TensorRT-RTX."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.standin.interface import REPOSITORY, complaints, stubs_of_rtx, stubs_of_wheel

pytestmark = pytest.mark.machines

WHEELS = Path(sys.prefix) / "bindings"  # where `make` puts them
BUILDER = "plif_export/targets/tensorrt_plan/build.py"
STEPS = "runtime/engines/tensorrt_plan/engine.py"

# The one thing that TensorRT-RTX has and TensorRT has not: the code asks for it only when `sm` was given.
ONLY_RTX = [
    '"IBuilderConfig" has no attribute "num_compute_capabilities"  [attr-defined]',
    '"IBuilderConfig" has no attribute "set_compute_capability"  [attr-defined]',
    'Module has no attribute "ComputeCapability"  [attr-defined]',
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if find_spec("pybind11_stubgen") is None:
        pytest.skip("pybind11-stubgen is not installed (extra: dev)")
    return tmp_path_factory.mktemp("interface")


@pytest.fixture(scope="module")
def stubs(folder: Path) -> Callable[[str], Path]:
    """Major version of TensorRT -> the stubs of its bindings, written once."""

    @cache
    def of(major: str) -> Path:
        place = folder / major
        place.mkdir()
        return stubs_of_wheel(wheel(major), place)

    return of


def wheel(major: str) -> Path:
    found = sorted(WHEELS.glob(f"tensorrt_cu*_bindings-{major}.*.whl"))
    if not found:
        pytest.skip(f"no bindings of TensorRT {major} in {WHEELS.name}/ (make test fetches them)")
    return found[0]


def test_tensorrt_rtx_has_all_of_it(folder: Path) -> None:
    if find_spec("tensorrt_rtx_bindings") is None:
        pytest.skip("TensorRT-RTX is not installed (extra: tensorrt-rtx)")
    place = folder / "rtx"
    place.mkdir()
    assert complaints(stubs_of_rtx(place), place) == []


@pytest.mark.parametrize("major", ("10", "11"))
def test_tensorrt_has_all_of_it_but_the_choice_of_generations(
    folder: Path, stubs: Callable[[str], Path], major: str
) -> None:
    assert complaints(stubs(major), folder / major) == ONLY_RTX


def test_what_tensorrt_11_took_away_would_be_seen(folder: Path, stubs: Callable[[str], Path]) -> None:
    """The same check on code that is written for TensorRT 8 to 10: it is no check that passes everything."""
    changes = {
        BUILDER: [
            ("config.clear_flag(trt.BuilderFlag.TF32)", "config.set_flag(trt.BuilderFlag.FP16)"),
            ("trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED", "trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH"),
            ("config.profiling_verbosity = trt", "config.int8_calibrator = None\n    config.profiling_verbosity = trt"),
            ("builder.build_serialized_network(network, config)", "builder.build_engine(network, config)"),
        ],
        STEPS: [
            ("context.execute_async_v3(self._stream.handle)", "context.execute_async_v2([], self._stream.handle)"),
            ("context.infer_shapes()", "context.infer_shapes(1)"),
            ("engine.num_io_tensors", "engine.num_bindings"),
        ],
    }
    sources = {}
    for name, pairs in changes.items():
        source = (REPOSITORY / name).read_text()
        for old, new in pairs:
            assert source.count(old) == 1, old
            source = source.replace(old, new)
        sources[name] = source
    place = folder / "old"
    place.mkdir()
    found = "\n".join(complaints(stubs("11"), place, sources))
    for gone in ("FP16", "EXPLICIT_BATCH", "int8_calibrator", "build_engine", "execute_async_v2", "num_bindings"):
        assert gone in found, found
    assert "Too many arguments" in found
