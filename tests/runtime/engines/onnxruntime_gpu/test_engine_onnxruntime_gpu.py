"""ONNX Runtime on a GPU: what it is told, what it refuses, and its way of stepping, which is tried on the CPU's provider."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnxruntime as ort
import pytest

import runtime
from plif_export import export, verify
from runtime.core.base.errors import PlifError
from runtime.core.cli.main import run as command
from runtime.engines.onnxruntime_gpu.engine import OnnxRuntimeBuffers, OnnxRuntimeCudaEngine, OnnxRuntimeTensorRtEngine
from tests.networks import firing, frames, same_steps
from tests.runtime.core.conftest import add_engines

pytestmark = pytest.mark.machines


class OnCpu(OnnxRuntimeCudaEngine):
    """The same steps on the CPU's provider and in its memory."""

    name: ClassVar[str] = "on-cpu"
    provider: ClassVar[str] = "CPUExecutionProvider"
    memory: ClassVar[str] = "cpu"
    settings: ClassVar[Mapping[str, str]] = {}

    def provider_options(self) -> dict[str, str]:
        return {}


class OnCpuBySession(OnCpu):
    name: ClassVar[str] = "by-session"
    one_session: ClassVar[bool] = False


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(firing(), tmp_path_factory.mktemp("gpu") / "m.onnx").path


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return frames(firing(), np.random.default_rng(4), T=10, streams=3)


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    add_engines(monkeypatch, OnCpu, OnCpuBySession)


@pytest.mark.parametrize("engine", ("on-cpu", "by-session"))
def test_it_steps_as_the_engine_on_the_cpu_does(path: Path, x: np.ndarray, engine: str) -> None:
    session, expected = runtime.load(path, engine).session(3), runtime.load(path, "onnxruntime").session(3)
    assert all(not v.any() for v in session.snapshot())  # nothing is left of the runs before the recording
    snapshot = same_steps(session, expected, x)
    session.restore(snapshot)
    session.run(x[6:])
    for found, v in zip(session.snapshot(), expected.snapshot(), strict=True):
        np.testing.assert_array_equal(found, v)


def test_it_counts_the_same_rates(path: Path, x: np.ndarray) -> None:
    session, expected = (runtime.load(path, e, rates=True).session(3) for e in ("on-cpu", "onnxruntime"))
    for x_t in x:
        session.step(x_t)
        expected.step(x_t)
        assert session.rates == expected.rates


def test_a_call_takes_the_membranes_that_it_is_given(path: Path, x: np.ndarray) -> None:
    model = runtime.load(path, "on-cpu")
    buffers = model.engine.buffers(1)
    before = [np.full((1, *s["shape"]), 0.4, np.float32) for s in model.card["states"]]
    for v, given in zip(buffers.membranes(), before, strict=True):
        v[...] = given
    buffers.x[...] = x[0, :1]
    buffers.run()
    expected = runtime.load(path, "onnxruntime").session()
    expected.restore(before)
    np.testing.assert_array_equal(buffers.y, expected.step(x[0, :1]))
    for found, v in zip(buffers.membranes(), expected.snapshot(), strict=True):
        np.testing.assert_array_equal(found, v)


def test_it_passes_the_gate(path: Path) -> None:
    assert verify(path, firing(), engine="on-cpu").passed


def test_each_direction_is_recorded_under_an_id_of_its_own_or_in_a_session_of_its_own(path: Path) -> None:
    found = []
    for engine in ("on-cpu", "by-session"):
        model = runtime.load(path, engine)
        for _ in range(2):
            buffers = model.engine.buffers(1)
            assert isinstance(buffers, OnnxRuntimeBuffers)
            found += buffers._runs
    ids = [options.get_run_config_entry("gpu_graph_id") for _, _, options in found]
    assert len(set(ids)) == len(ids) == 8 and not {"0", "-1"} & set(ids)  # those two mean "the default" and "none"
    sessions = [id(session) for session, _, _ in found]
    assert len(set(sessions[:4])) == 1 and len(set(sessions[4:])) == 4


# --- what ONNX Runtime is told -------------------------------------------------------------------------------------------


def unopened(kind: type[OnnxRuntimeCudaEngine], card: Any) -> Any:
    engine = object.__new__(kind)
    engine.card, engine.device = card, 1
    return engine


def test_tf32_is_off_and_graphs_are_on(path: Path) -> None:
    options = unopened(OnnxRuntimeCudaEngine, runtime.load(path, "onnxruntime").card).provider_options()
    assert options == {"device_id": "1", "use_tf32": "0", "enable_cuda_graph": "1"}
    assert OnnxRuntimeCudaEngine.settings == {"session.disable_cpu_ep_fallback": "1"}


def test_the_tensorrt_provider_gets_a_profile_for_x_and_every_state_and_keeps_no_plan(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = runtime.load(path, "onnxruntime").card
    options = unopened(OnnxRuntimeTensorRtEngine, card).provider_options()
    assert options["trt_engine_cache_enable"] == "0" and options["trt_cuda_graph_enable"] == "1"
    assert options["trt_profile_min_shapes"] == "x:1x2x16x16,v.conv1:1x8x16x16,v.conv2:1x8x8x8,v.fc1:1x40,v.fc2:1x30"
    assert options["trt_profile_max_shapes"].startswith("x:64x2x16x16,v.conv1:64x")
    fixed = unopened(OnnxRuntimeTensorRtEngine, {**card, "batch": 3}).provider_options()
    assert not any("profile" in name for name in fixed)
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    engine = unopened(OnnxRuntimeTensorRtEngine, card)
    engine.path, engine.model = path, path.read_bytes()
    with pytest.warns(UserWarning), pytest.raises(PlifError):
        engine.open()
    assert os.environ["NVIDIA_TF32_OVERRIDE"] == "0"


# --- what is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    (
        ["--device", "cuda"],
        ["--device", "cuda:1"],
        ["--engine", "onnxruntime-cuda"],
        ["--engine", "onnxruntime-tensorrt"],
    ),
)
def test_cuda_where_there_is_none_is_one_line(
    path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    assert command(["eval", str(path), "--data", "digits", *arguments]) == 2
    error = capsys.readouterr().err
    assert re.search(r"this ONNX Runtime has no \w+ExecutionProvider: ", error) and error.count("\n") == 1
    assert error.endswith("pip uninstall onnxruntime, then pip install 'plif[gpu]'. To run on the CPU: --device cpu\n")


def test_a_provider_that_onnxruntime_leaves_is_refused_and_not_replaced_by_the_cpu(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a GPU is too old: all libraries are there, and ONNX Runtime leaves the provider with a warning."""
    monkeypatch.setattr("runtime.engines.onnxruntime_gpu.find_missing", lambda name: None)
    with pytest.warns(UserWarning), pytest.raises(PlifError, match="cannot open it on CUDAExecutionProvider") as error:
        runtime.load(path, device="cuda")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("device", ("cuda:", "cuda:-1", "gpu", "cpu"))
def test_devices_that_are_none_are_refused(path: Path, device: str) -> None:
    with pytest.raises(PlifError, match="expected cuda or cuda:N"):
        runtime.load(path, "onnxruntime-cuda", device=device)


def test_precisions_that_the_provider_would_not_keep_are_refused(tmp_path: Path) -> None:
    int8 = export(firing(), tmp_path / "m_int8.onnx", precision="int8").path
    with pytest.raises(PlifError, match=r"runs fp32 and fp16, not int8; for a GPU export it with --to tensorrt"):
        runtime.load(int8, device="cuda")
    fp16 = export(firing(), tmp_path / "m_fp16.onnx", precision="fp16").path
    with pytest.raises(PlifError, match=r"runs fp32, not fp16"):
        runtime.load(fp16, "onnxruntime-tensorrt")


@pytest.mark.gpu
@pytest.mark.parametrize("engine", ("onnxruntime-cuda", "onnxruntime-tensorrt"))
def test_on_a_gpu_it_passes_the_gate_and_repeats_itself(path: Path, x: np.ndarray, engine: str) -> None:
    assert verify(path, firing(), engine=engine).passed
    session = runtime.load(path, engine).session(3)
    first = session.run(x)
    session.reset()
    np.testing.assert_array_equal(session.run(x), first)
