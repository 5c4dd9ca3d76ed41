"""The engine webgpu on a GPU, or on the one that Mesa's lavapipe plays on the CPU: gates, what stays there, what it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import runtime
from plif_export import export, verify
from runtime.core.base.errors import PlifError
from runtime.core.cli.main import run as command
from runtime.core.engines.available import explain_missing
from runtime.core.engines.buffers import Resident
from runtime.core.model.card import read_card
from runtime.engines.webgpu.vulkan import SOFTWARE, adapters
from tests.networks import firing, frames, same_steps
from tests.peers import make
from tests.plif_export.core.test_peers import ROWS, SAMPLE

pytestmark = pytest.mark.machines

SHIPPED = sorted((Path(__file__).parents[4] / "models").glob("*.pt"))
SMALL = [name for name, row in ROWS.items() if row["refused"] is None and row["neuron_steps"] < 12_000]
NOT_TAKEN = {"spikingjelly/ILIFNode": "Round", "spikingjelly/STBIFNode": "Round", "snntorch/SConv2dLSTM": "Transpose"}


@pytest.fixture(scope="module", autouse=True)
def _there_is_one() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SOFTWARE, "1")
        if (why := explain_missing("webgpu")) is not None:
            pytest.skip(f"the engine webgpu cannot run here: {why}")
        yield


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(firing(), tmp_path_factory.mktemp("webgpu") / "m.onnx").path


@pytest.mark.parametrize("precision", ("fp32", "fp16", "int8"))
@pytest.mark.parametrize("model", SHIPPED, ids=lambda model: model.stem)
def test_a_network_that_ships_passes_the_gate(model: Path, precision: str, tmp_path: Path) -> None:
    artifact = export(model, tmp_path / "m.onnx", precision=precision, verify=False).path
    report = verify(artifact, model, engine="webgpu", steps=8)
    assert report.passed, report.failed_at
    assert report.engine == "webgpu" and report.engine_steps == 16


@pytest.mark.parametrize(
    "network", [pytest.param(name, marks=[] if name in SAMPLE else pytest.mark.large) for name in SMALL]
)
def test_a_network_of_another_library_passes_the_gate_or_what_is_not_taken_is_named(
    network: str, tmp_path: Path
) -> None:
    library, name = network.split("/")
    pytest.importorskip(library)
    peer = make(library, name)
    artifact = export(peer.model, tmp_path / "m.onnx", peer.example, **peer.options).path
    if "flush_denormals" in read_card(artifact):
        with pytest.raises(PlifError, match=r"engine webgpu makes 0 of numbers below .*--engine event or onnxruntime$"):
            runtime.load(artifact, "webgpu")
        return
    if network in NOT_TAKEN:
        with pytest.raises(PlifError, match=rf"does not take {NOT_TAKEN[network]} \(.*--engine onnxruntime$"):
            runtime.load(artifact, "webgpu")
        return
    report = verify(artifact, peer.model, engine="webgpu", **peer.options)
    assert report.passed, report.failed_at
    assert report.engine_steps == 40


def test_membranes_stay_on_the_device(path: Path) -> None:
    buffers = runtime.load(path, "webgpu").engine.buffers(2)
    assert isinstance(buffers, Resident)
    sets = vars(buffers)["_sets"]
    assert {value.device_name() for values in sets for value in values} == {"webgpu"}
    places = [id(value) for values in sets for value in values]
    for _ in range(3):
        buffers.run()
    assert not buffers._copied  # nobody asked for them, so nothing came back
    assert [id(value) for values in sets for value in values] == places


def test_it_steps_as_the_engine_on_the_cpu_does(path: Path) -> None:
    x = frames(firing(), np.random.default_rng(4), T=10, streams=3)
    session, expected = (runtime.load(path, engine, rates=True).session(3) for engine in ("webgpu", "onnxruntime"))
    assert all(not v.any() for v in session.snapshot())  # nothing is left of the first runs
    snapshot = same_steps(session, expected, x)
    assert session.rates == expected.rates
    session.restore(snapshot)
    session.run(x[6:])
    for found, v in zip(session.snapshot(), expected.snapshot(), strict=True):
        np.testing.assert_allclose(found, v, atol=1e-5)


def test_the_provider_itself_moves_spikes_in_half_and_takes_no_int8(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why the engine writes the file with float32 sums first."""
    monkeypatch.setattr("runtime.engines.webgpu.engine.rewrite_to_float32", bytes)
    half, whole = (export(SHIPPED[-1], tmp_path / f"{p}.onnx", precision=p).path for p in ("fp16", "int8"))
    assert not verify(half, SHIPPED[-1], engine="webgpu").passed
    with pytest.raises(PlifError, match=r"does not take .*ConvInteger \(conv2.sum/ConvInteger\)") as error:
        runtime.load(whole, "webgpu")
    assert "\n" not in str(error.value)


def test_a_processor_that_plays_a_gpu_is_no_fall_back(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if any(adapter.kind != 4 for adapter in adapters() or ()):
        pytest.skip("there is a GPU here")
    monkeypatch.delenv(SOFTWARE)
    assert command(["eval", str(path), "--data", "digits:4", "--engine", "webgpu"]) == 2
    error = capsys.readouterr().err
    assert "no GPU here" in error and f"{SOFTWARE}=1" in error and error.count("\n") == 1


def test_a_device_is_refused_since_the_provider_chooses_it(path: Path) -> None:
    with pytest.raises(PlifError, match="device 'cuda:1'; its provider chooses the GPU: leave --device out"):
        runtime.load(path, "webgpu", device="cuda:1")


def test_info_and_each_row_of_a_bench_name_the_adapter_and_its_driver(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["info", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    first, *_ = found["adapters"]["webgpu"]
    assert "webgpu" in found["engines"] and ", driver " in first
    assert command(["info"]) == 0 and f"on {first}" in " ".join(capsys.readouterr().out.split())
    arguments = ["bench", str(path), "--engine", "webgpu", "--engine", "onnxruntime", "--seconds", "0.1"]
    assert command([*arguments, "--json"]) == 0
    assert [row["adapter"] for row in json.loads(capsys.readouterr().out)] == [first, None]
    assert command(arguments) == 0
    heads, gpu, cpu = capsys.readouterr().out.splitlines()
    assert heads.endswith("adapter") and gpu.endswith(first) and cpu.endswith(" -")
