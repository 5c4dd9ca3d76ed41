"""The TensorRT engine: what it refuses, and how it steps. TensorRT and the GPU are stand-ins here (tests/standin); on a
machine with both, `pytest -m gpu` asks the real ones."""

from __future__ import annotations

import gc
import hashlib
import json
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runtime
from plif_export import export, verify
from runtime.artifacts.tensorrt_plan import file as engine_file
from runtime.core.api import Model
from runtime.core.base.errors import MissingExtra, PlifError, PlifWarning
from runtime.core.cli.main import run as command
from runtime.core.model.card import encode_card, read_card
from runtime.engines.tensorrt_plan.cuda import CudaError
from runtime.engines.tensorrt_plan.engine import TensorRtBuffers
from tests.networks import firing, frames
from tests.standin import tensorrt as standin
from tests.standin.fixtures import machine_with_gpu

UNROLLED = (("u.engine", "tensorrt"), ("u.onnx", "onnxruntime"))

pytestmark = pytest.mark.machines


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, standin_driver: Any) -> Path:
    """Engines that were built, and passed the gate, on the stand-in; and the same network as ONNX, in the same math."""
    folder = tmp_path_factory.mktemp("engines")
    options = {"timing_cache": "none"}
    with machine_with_gpu(standin_driver):
        export(firing(), folder / "m.engine", to="tensorrt", options=options)
        export(firing(), folder / "u.engine", to="tensorrt", form="unrolled", T=4, options=options)
        export(firing(), folder / "raw.engine", to="tensorrt", options={**options, "raw": "true"})
    export(firing(), folder / "m.onnx", math="exact")
    export(firing(), folder / "u.onnx", math="exact", form="unrolled", T=4)
    return folder


@pytest.fixture
def engine(files: Path, tmp_path: Path, gpu: Any) -> Path:
    """A copy that a test may change, on a machine that runs it."""
    for name in ("m.engine", "m.engine.report.json"):
        shutil.copy(files / name, tmp_path / name)
    return tmp_path / "m.engine"


@pytest.fixture(scope="module")
def reference(files: Path) -> Model:
    """The engine that the stand-in has to equal: it runs the same network with the same kernels."""
    return runtime.load(files / "m.onnx", "onnxruntime")


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return frames(firing(), np.random.default_rng(3), T=12, streams=3)


# --- stepping -----------------------------------------------------------------------------------------------------


def test_it_steps_as_the_onnx_file_does_and_keeps_the_membranes_on_the_device(
    engine: Path, reference: Model, x: np.ndarray
) -> None:
    session, expected = runtime.load(engine).session(3), reference.session(3)
    y = session.run(x)
    assert y.sum() > 3
    np.testing.assert_array_equal(y, expected.run(x))
    for found, v in zip(session.snapshot(), expected.snapshot(), strict=True):
        np.testing.assert_array_equal(found, v)


def test_a_step_is_one_launch_of_a_recorded_graph_and_one_wait(engine: Path, gpu: Any, x: np.ndarray) -> None:
    session = runtime.load(engine).session(3)
    session.step(x[0])
    launches, waits = gpu.standin_launches(), gpu.standin_waits()
    for x_t in x[1:]:
        session.step(x_t)
    assert (gpu.standin_launches() - launches, gpu.standin_waits() - waits) == (len(x) - 1, len(x) - 1)


def test_opening_a_session_leaves_nothing_of_its_warm_up_in_the_membranes(engine: Path, x: np.ndarray) -> None:
    model = runtime.load(engine)
    first = model.session(3)
    expected = first.run(x)
    again = model.session(3)
    assert all(not v.any() for v in again.snapshot())
    np.testing.assert_array_equal(again.run(x), expected)
    first.reset()
    np.testing.assert_array_equal(first.run(x), expected)


def test_the_membranes_of_a_new_engine_are_zero_whatever_its_warm_up_wrote(engine: Path) -> None:
    model = runtime.load(engine)
    buffers = model.engine.buffers(2)
    assert isinstance(buffers, TensorRtBuffers)
    for _ in range(2):
        for array in buffers.v:
            array[...] = 7
        buffers.pull()
        assert not any(array.any() for array in buffers.v)
        buffers._phase = 1 - buffers._phase


def test_reset_snapshot_restore_and_rows_reach_the_device(engine: Path, reference: Model, x: np.ndarray) -> None:
    model = runtime.load(engine)
    session, expected = model.session(3), reference.session(3)
    for both in (session, expected):
        both.run(x[:5])
        both.reset(rows=[1])
        both.step(x[5, [0, 2]], rows=[0, 2])
    snapshot = session.snapshot()
    np.testing.assert_array_equal(session.run(x[6:]), expected.run(x[6:]))
    ahead = session.snapshot()
    session.restore(snapshot)
    session.run(x[6:])
    for found, v, other in zip(session.snapshot(), ahead, expected.snapshot(), strict=True):
        np.testing.assert_array_equal(found, v)
        np.testing.assert_array_equal(found, other)


def test_sessions_in_two_threads_do_not_meet(engine: Path, reference: Model, x: np.ndarray) -> None:
    model = runtime.load(engine)
    expected = [reference.session().run(x[:, i : i + 1]) for i in range(2)]
    sessions = [model.session() for _ in range(2)]
    found = {i: [sessions[i].step(x[0, i : i + 1])] for i in range(2)}  # from here on nothing is pushed any more

    def work(i: int) -> None:
        found[i] += [sessions[i].step(x_t[i : i + 1]) for x_t in x[1:]]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(2):
        np.testing.assert_array_equal(found[i], expected[i])


def test_a_call_takes_the_membranes_that_it_is_given(engine: Path, reference: Model, x: np.ndarray) -> None:
    model = runtime.load(engine)
    buffers = model.engine.buffers(1)
    rng = np.random.default_rng(5)
    before = [rng.uniform(0, 0.9, (1, *s["shape"])).astype(np.float32) for s in model.card["states"]]
    for v, given in zip(buffers.membranes(), before, strict=True):
        v[...] = given
    buffers.x[...] = x[2, :1]
    buffers.run()
    expected = reference.session()
    expected.restore(before)
    np.testing.assert_array_equal(buffers.y, expected.step(x[2, :1]))
    for found, v in zip(buffers.membranes(), expected.snapshot(), strict=True):
        np.testing.assert_array_equal(found, v)


def test_unrolled_engines_chain_their_chunks(files: Path, gpu: Any, x: np.ndarray) -> None:
    found, expected = (runtime.load(files / name, engine).session(3) for name, engine in UNROLLED)
    np.testing.assert_array_equal(found.run(x), expected.run(x))


def test_an_engine_that_cannot_be_recorded_runs_all_the_same_and_says_so(
    engine: Path, reference: Model, x: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standin.IExecutionContext, "capturable", False)
    model = runtime.load(engine)
    with pytest.warns(PlifWarning, match="runs without a CUDA graph"):
        session = model.session(3)
    np.testing.assert_array_equal(session.run(x), reference.session(3).run(x))


def test_everything_on_the_device_is_freed(engine: Path, gpu: Any, x: np.ndarray) -> None:
    gc.collect()
    at_rest = gpu.standin_live()
    model = runtime.load(engine)
    session = model.session(3)
    session.run(x)
    session.step(x[0, :1], rows=[2])
    assert gpu.standin_live() > at_rest
    del model, session
    gc.collect()
    assert gpu.standin_live() == at_rest


@pytest.mark.parametrize("after", (1, 4, 9, 15))
def test_a_full_device_is_one_line(engine: Path, gpu: Any, after: int) -> None:
    model = runtime.load(engine)
    gpu.standin_fail_alloc(after)
    with pytest.raises(CudaError, match=r"CUDA: cuMem(Host)?Alloc\w* failed with CUDA_ERROR_OUT_OF_MEMORY \(2\)"):
        model.session(3)
    gpu.standin_fail_alloc(0)
    model.session(3)


def test_more_streams_than_it_was_built_for_are_refused_with_the_command(engine: Path) -> None:
    with pytest.raises(
        PlifError, match=r"built for 1 to 16 streams, not 17; build it for more with: .*streams=1\+1\+17"
    ):
        runtime.load(engine).session(17)


def test_it_counts_no_rates(engine: Path) -> None:
    model = runtime.load(engine, rates=True)
    session = model.session()
    session.step(np.zeros((1, 2, 16, 16), np.float32))
    assert session.rates == {}
    with pytest.raises(PlifError, match="counts no rates"):
        model.engine.buffers(1, rates=True)


def test_eval_stream_and_bench_run_an_engine(
    tmp_path: Path, gpu: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    digits = {"shape": (2, 34, 34), "T": 4, "classes": tuple("0123456789"), "framing": "count:T=4"}
    net = firing("{c8k3s1-BN-PLIF-MPk2s2}*2-FC100-PLIF-APk10s10", **digits)
    monkeypatch.chdir(tmp_path)
    export(net, "m.engine", to="tensorrt", options={"timing_cache": "none"})
    export(net, "m.onnx", math="exact")
    results = []
    for name in ("m.engine", "m.onnx"):
        assert command(["eval", name, "--data", "digits:6", "--batch", "4", "--json"]) == 0
        results.append(json.loads(capsys.readouterr().out))
    assert results[0]["engine"] == "tensorrt" and results[0]["confusion"] == results[1]["confusion"]
    assert results[0]["firing_rates"] == {}
    assert command(["eval", "m.engine", "--data", "digits:6"]) == 0
    assert "firing rates are not counted by engine tensorrt" in capsys.readouterr().out
    assert command(["bench", "m.engine", "m.onnx", "--seconds", "0.1", "--json"]) == 0
    assert {row["engine"] for row in json.loads(capsys.readouterr().out)} >= {"tensorrt"}
    assert command(["stream", "m.engine", "sim:digits?seed=1", "--framing", "duration:20ms", "--json"]) == 0
    assert "summary" in json.loads(capsys.readouterr().out.splitlines()[-1])
    Path("m.engine.report.json").unlink()
    sha256 = hashlib.sha256(Path("m.engine").read_bytes()).hexdigest()
    for line in (["eval", "m.engine", "--data", "digits:4"], ["stream", "m.engine", "sim:digits?seed=1"]):
        assert command(line) == 2
        assert "give --sha256" in capsys.readouterr().err
        framing = ["--framing", "duration:20ms"] if line[0] == "stream" else []
        assert command([*line, *framing, "--sha256", sha256]) == 0
    assert command(["info", "m.engine"]) == 0
    assert "tensorrt 10.3.0 on Stand-in GPU; runs on 8.9; 1 to 16 streams" in capsys.readouterr().out


# --- what is refused before TensorRT sees a byte ---------------------------------------------------------------------


def rewritten(path: Path, change: Any, target: Path | None = None) -> Path:
    """The engine with a changed card, and with a report that fits it: what somebody who edits a card would make."""
    text, plan = engine_file.split_engine(path, path.read_bytes())
    card = json.loads(text)
    change(card)
    target = target or path.with_name("changed.engine")
    target.write_bytes(engine_file.pack_engine(encode_card(card), bytes(plan)))
    report = {"sha256": hashlib.sha256(target.read_bytes()).hexdigest()}
    target.with_name(target.name + ".report.json").write_text(json.dumps(report))
    return target


@pytest.fixture
def unopened(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*_: Any) -> None:
        raise AssertionError("the plan was deserialised")

    monkeypatch.setattr(standin.Runtime, "deserialize_cuda_engine", opened)


def test_info_reads_the_card_without_tensorrt(tmp_path: Path, engine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["info", str(engine), "--json"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert card == read_card(engine)
    assert card["engine"]["version"] == "10.3.0" and card["engine"]["gpu"]["name"] == "Stand-in GPU"
    assert card["parity"]["passed"]


def test_an_engine_is_no_model_and_says_so(engine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["export", str(engine)]) == 2
    assert "is an exported artifact, not a model" in capsys.readouterr().err
    assert command(["check", str(engine)]) == 0
    assert "conv2" in capsys.readouterr().out


def test_one_flipped_byte_is_refused(engine: Path, unopened: None) -> None:
    data = bytearray(engine.read_bytes())
    data[-100] ^= 1
    engine.write_bytes(data)
    with pytest.raises(PlifError, match=r"m\.engine\.report\.json says .*not the file that was written"):
        runtime.load(engine)


def test_without_its_report_only_its_sha256_opens_it(engine: Path) -> None:
    sha256 = hashlib.sha256(engine.read_bytes()).hexdigest()
    engine.with_name("m.engine.report.json").unlink()
    with pytest.raises(PlifError, match=r"an engine is code.*give --sha256, or keep its report beside it"):
        runtime.load(engine)
    with pytest.raises(PlifError, match="SHA-256 is"):
        runtime.load(engine, sha256="0" * 64)
    assert runtime.load(engine, sha256=sha256.upper()).engine.name == "tensorrt"


@pytest.mark.parametrize("report", ("", "{}", "[1]", '{"sha256": 7}', "[" * 100_000, "\xff"))
def test_a_report_that_is_none_opens_nothing(engine: Path, report: str, unopened: None) -> None:
    engine.with_name("m.engine.report.json").write_bytes(report.encode("latin-1"))
    with pytest.raises(PlifError, match="is not a report of an export"):
        runtime.load(engine)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda e: e.update(version="10.13.0"),
            r"with TensorRT 10\.13\.0, and here is TensorRT 10\.3\.0; build it here: plif",
        ),
        (
            lambda e: e["gpu"].update(name="Orin"),
            r"on Orin \(compute capability 8\.9\), and here is Stand-in GPU \(8\.9\)",
        ),
        (lambda e: e["gpu"].update(compute_capability="8.7"), r"on Stand-in GPU \(compute capability 8\.7\)"),
        (lambda e: e.update(compute_capabilities=["8.6", "12.0+"]), r"for compute capability 8\.6, 12\.0\+, and here"),
        (lambda e: e.update(kind="tensorrt-rtx"), "is a plan of TensorRT-RTX; open it with --engine tensorrt-rtx"),
        (lambda e: e.update(kind="warp"), "has kind 'warp'"),
        (lambda e: e.update(plan_bytes=7), "not the one that its card describes"),
        (lambda e: e.update(plan_sha256="0" * 64), "not the one that its card describes"),
        (lambda e: e.update(streams={"min": 1}), "has streams"),
        (lambda e: e.update(gpu={"name": 3}), "has gpu"),
        (lambda e: e.update(rebuild=None), "lacks a usable rebuild"),
        (lambda e: e.pop("onnx_sha256"), "lacks a usable onnx_sha256"),
        (lambda e: e.update(plan_bytes=True), "lacks a usable plan_bytes"),
    ],
)
def test_another_gpu_another_version_or_a_card_that_lies_is_one_line(
    engine: Path, change: Any, message: str, unopened: None
) -> None:
    path = rewritten(engine, lambda card: change(card["engine"]))
    with pytest.raises(PlifError, match=message) as error:
        runtime.load(path, "tensorrt")
    assert "\n" not in str(error.value)


def test_a_card_without_the_record_or_with_other_states_is_refused(engine: Path) -> None:
    with pytest.raises(PlifError, match="record in its card is missing"):
        runtime.load(rewritten(engine, lambda card: card.pop("engine")))
    with pytest.raises(PlifError, match=r"the engine's inputs are .*v\.fc2.*; its card says"):
        runtime.load(rewritten(engine, lambda card: card["states"].pop()))


def test_a_plan_that_tensorrt_does_not_open_is_one_line_with_its_reason(engine: Path) -> None:
    def other(card: Any) -> None:
        plan = b"vtrt" + b"0" * 50
        card["engine"].update(plan_bytes=len(plan), plan_sha256=hashlib.sha256(plan).hexdigest())

    path = rewritten(engine, other)
    text, _ = engine_file.split_engine(path, path.read_bytes())
    path.write_bytes(engine_file.pack_engine(text, b"vtrt" + b"0" * 50))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(
        PlifError, match=r"cannot open the plan \(not a plan: magic tag does not match\); build it here: plif"
    ):
        runtime.load(path, "tensorrt", sha256=sha256)


def test_an_engine_that_was_never_compared_says_so_when_it_is_opened(engine: Path) -> None:
    path = rewritten(engine, lambda card: card.update(parity="not run"))
    with pytest.warns(PlifWarning, match=r"never compared with its model \(parity: not run\)"):
        runtime.load(path)


@pytest.mark.parametrize("cut", (0, 1, 3, 4, 5, 6, 100, 3000))
def test_a_file_that_was_cut_short_is_one_line(engine: Path, tmp_path: Path, cut: int, unopened: None) -> None:
    path = tmp_path / "cut.engine"
    path.write_bytes(engine.read_bytes()[:cut])
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    for opened in (lambda: read_card(path), lambda: runtime.load(path, "tensorrt", sha256=sha256)):
        with pytest.raises(PlifError) as error:
            opened()
        assert "\n" not in str(error.value) and str(path) in str(error.value)


@pytest.mark.parametrize("length", (0, 1, 2**31, 2**32 - 1, 64 << 20))
def test_a_lie_in_the_length_reads_nothing(tmp_path: Path, length: int) -> None:
    path = tmp_path / "lie.engine"
    path.write_bytes(length.to_bytes(4, "little") + b'{"format": "plif-artifact"}' + b"0" * 200)
    with pytest.raises(PlifError, match="claims a card of"):
        read_card(path)


def test_what_is_not_text_or_not_a_card_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.engine"
    for card, message in ((b"{\xff\xff", "not text"), (b"{" * 50, "not valid JSON"), (b'{"a": NaN}', "not valid JSON")):
        path.write_bytes(len(card).to_bytes(4, "little") + card + b"ftrt")
        with pytest.raises(PlifError, match=message):
            read_card(path)


def test_a_bare_plan_is_refused_by_name(files: Path, gpu: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = files / "raw.engine"
    assert path.read_bytes()[:4] == b"ftrt"
    assert command(["info", str(path)]) == 2
    assert "a bare plan of TensorRT without a card" in capsys.readouterr().err
    with pytest.raises(PlifError, match="bare plan"):
        runtime.load(path)


def test_every_length_byte_pattern_is_told_from_other_kinds(engine: Path, tmp_path: Path) -> None:
    """A card whose length begins with 0x80 is no pickle."""
    text, plan = engine_file.split_engine(engine, engine.read_bytes())
    padded = text + " " * ((0x80 - len(text.encode())) % 256)
    path = tmp_path / "padded.engine"
    path.write_bytes(engine_file.pack_engine(padded, bytes(plan)))
    assert path.read_bytes()[0] == 0x80
    assert read_card(path) == read_card(engine)


# --- machines that lack something ------------------------------------------------------------------------------------


def test_a_machine_without_that_gpu_is_one_line(engine: Path, gpu: Any) -> None:
    for device in ("cuda:1", "cuda:7"):
        with pytest.raises(PlifError, match="this machine has 1 GPUs"):
            runtime.load(engine, device=device)
    for device in ("cpu", "cuda:x", "gpu"):
        with pytest.raises(PlifError, match="expected cuda or cuda:N"):
            runtime.load(engine, device=device)


def test_a_machine_without_a_driver_is_one_line(engine: Path, gpu: Any, no_gpu: None) -> None:
    with pytest.raises(PlifError, match="no NVIDIA driver"):
        runtime.load(engine)


def test_a_driver_that_is_too_old_is_one_line(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from runtime.engines.tensorrt_plan import cuda

    monkeypatch.setattr(cuda, "LIBRARY", "libc.so.6")
    cuda.open_gpu.cache_clear()
    with pytest.raises(PlifError, match=r"has no cuInit: the driver is older than CUDA 11\.4"):
        runtime.load(engine)


@pytest.mark.parametrize("version", ("8.6.1", "9.1", "12.0"))
def test_another_major_version_of_tensorrt_is_refused(
    engine: Path, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standin, "__version__", version)
    with pytest.raises(PlifError, match=f"tensorrt {version} is installed; .*need version 10 or 11"):
        runtime.load(engine)


def test_an_empty_package_of_stubs_is_not_taken_for_tensorrt(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(standin, "Builder")
    monkeypatch.setitem(__import__("sys").modules, "tensorrt_bindings", None)
    with pytest.raises(
        MissingExtra, match=r"pip install --extra-index-url=https://pypi\.nvidia\.com 'plif\[tensorrt\]'"
    ):
        runtime.load(engine)


def test_an_engine_is_verified_against_its_model_where_it_runs(
    engine: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command that the warning of an engine that was never compared gives."""
    report = verify(engine, firing())
    assert report.passed and report.engine == "tensorrt"
    real = standin.IExecutionContext._run

    def wrong(self: Any, addresses: dict[str, int]) -> None:
        real(self, addresses)
        standin._at(addresses["v.fc1.next"], self.get_tensor_shape("v.fc1.next"))[...] *= 1.01

    monkeypatch.setattr(standin.IExecutionContext, "_run", wrong)
    broken = verify(engine, firing())
    assert not broken.passed and broken.failed_at is not None and broken.failed_at["layer"] == "fc1"


def test_any_byte_of_the_card_may_be_another_and_it_is_one_line_or_an_engine(engine: Path, tmp_path: Path) -> None:
    """Somebody who changes the file changes its report as well, so the digest does not help here."""
    data, rng = engine.read_bytes(), np.random.default_rng(0)
    length = 4 + int.from_bytes(data[:4], "little")
    path = tmp_path / "flipped.engine"
    for at in [*range(12), *(int(i) for i in rng.integers(12, length, 100))]:
        flipped = bytearray(data)
        flipped[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        try:
            read_card(path)
            model = runtime.load(path, "tensorrt", sha256=hashlib.sha256(flipped).hexdigest())
            model.session().step(np.zeros((1, 2, 16, 16), np.float32))
        except PlifError as error:
            assert "\n" not in str(error), at
