"""A graph from anywhere is opened in a process without rights, with the same answers to the bit; one's own is not."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runtime
from plif_export import export
from runtime.core.base.errors import PlifError, PlifWarning
from runtime.core.cli.main import run
from runtime.core.events import write_nmnist
from runtime.engines import confined_child
from runtime.engines.confined_child.engine import ConfinedEngine
from tests.networks import digits_network, frames
from tests.recordings import some_events

Forget = Callable[[], None]


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The digits' network in the forms that a graph has, by name."""
    folder, network = tmp_path_factory.mktemp("confined"), digits_network()
    options: dict[str, dict[str, Any]] = {
        "step.onnx": {},
        "loop.onnx": {"form": "loop"},
        "unrolled.onnx": {"form": "unrolled", "T": 5},
        "step_openvino": {"to": "openvino"},
        "stateful_openvino": {"to": "openvino", "options": {"stateful": "true"}},
    }
    for name, chosen in options.items():
        if "openvino" in name:
            pytest.importorskip("openvino")
        export(network, folder / name, verify=False, **chosen)
    return {name: folder / name for name in options}


@pytest.fixture
def nothing_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user for whom plif has written nothing; the state folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def is_confined(path: Path, engine: str = "onnxruntime", **options: Any) -> bool:
    return isinstance(runtime.load(path, engine, **options).engine, ConfinedEngine)


@pytest.mark.parametrize("name", ["step.onnx", "loop.onnx", "unrolled.onnx", "step_openvino", "stateful_openvino"])
def test_answers_states_and_rates_are_those_of_the_engine_in_this_process_to_the_bit(
    artifacts: dict[str, Path], name: str
) -> None:
    engine = "openvino" if "openvino" in name else "onnxruntime"
    here, there = (
        runtime.load(artifacts[name], engine, threads=2, rates=True, **confined)
        for confined in ({"sha256": None}, {"confined": "on"})
    )
    assert not isinstance(here.engine, ConfinedEngine) and isinstance(there.engine, ConfinedEngine)
    assert here.engine.name == there.engine.name and here.counts_rates == there.counts_rates
    x = frames(digits_network(), np.random.default_rng(0), T=70, streams=3)
    sessions = [model.session(3) for model in (here, there)]

    def same(act: Callable[[Any], Any]) -> None:
        first, second = map(act, sessions)
        np.testing.assert_array_equal(first, second)
        for one, other in zip(*(session.snapshot() for session in sessions), strict=True):
            np.testing.assert_array_equal(one, other)
        assert sessions[0].rates == sessions[1].rates

    same(lambda session: session.run(x))  # more steps than one message carries
    if not here.unrolled:
        same(lambda session: session.step(x[0]))
        same(lambda session: session.step(x[1][:2], [2, 0]))
        same(lambda session: session.run(x[:9, :1], [1]))
    for session in sessions:
        session.reset([1])
        session.fade(0.5, [0])
    same(lambda session: session.run(x[:5]))
    saved = sessions[0].snapshot()
    for session in sessions:
        session.reset()
        session.restore(saved)
    same(lambda session: session.run(x[:5]))


def test_a_graph_of_others_is_confined_and_ones_own_or_one_with_a_known_hash_is_not(
    artifacts: dict[str, Path], nothing_written: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = artifacts["step.onnx"]
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert is_confined(path) and is_confined(artifacts["step_openvino"], "openvino")
    assert not is_confined(path, sha256=sha256)
    assert not isinstance(runtime.load(path, "event").engine, ConfinedEngine)
    own = export(digits_network(), tmp_path / "own.onnx", verify=False)
    assert (nothing_written / "plif" / "written.sha256").read_text() == f"{own.sha256}\n"
    assert not is_confined(own.path)
    other = tmp_path / "other.onnx"
    other.write_bytes(own.path.read_bytes())
    assert not is_confined(other)  # the same bytes under another name
    assert is_confined(own.path, confined="on")
    own.path.write_bytes(own.path.read_bytes()[:-1] + b"\0")
    with pytest.raises(PlifError):
        runtime.load(own.path, "onnxruntime", sha256=own.sha256)


def test_opening_a_graph_in_this_process_all_the_same_is_said_in_one_line(
    artifacts: dict[str, Path], nothing_written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.warns(PlifWarning, match="opens it in this process"):
        assert not is_confined(artifacts["step.onnx"], confined="off")
    words = ["stream", str(artifacts["step.onnx"]), "sim:digits?seed=1&seconds=0.1", "--json"]
    assert run([*words, "--engine", "onnxruntime", "--confined", "off"]) == 0
    off = capsys.readouterr()
    assert off.err.count("--confined off") == 1
    assert run([*words, "--engine", "onnxruntime"]) == 0
    auto = capsys.readouterr()
    assert "confined" not in auto.err
    decisions = [
        [json.loads(line) | {"latency_ms": 0} for line in printed.out.splitlines()[:-1]] for printed in (auto, off)
    ]
    assert decisions[0] == decisions[1]


def test_all_commands_that_open_a_graph_confine_it(
    artifacts: dict[str, Path], nothing_written: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_nmnist(tmp_path / "1.bin", some_events(300))
    opened: list[Path] = []
    start = ConfinedEngine.__init__

    def count(engine: ConfinedEngine, path: Path, *others: Any) -> None:
        opened.append(path)
        start(engine, path, *others)

    monkeypatch.setattr(ConfinedEngine, "__init__", count)
    path = str(artifacts["step.onnx"])
    for words in (
        ["eval", path, "--data", "digits:8", "--engine", "onnxruntime"],
        ["predict", path, str(tmp_path / "1.bin"), "--engine", "onnxruntime"],
        ["bench", path, "--engine", "onnxruntime", "--seconds", "0.1"],
        ["stream", path, "sim:digits?seed=1&seconds=0.1", "--engine", "onnxruntime"],
    ):
        opened.clear()
        assert run(words) == 0 and opened, words


@pytest.mark.parametrize("to", ["onnx", "plif"])
def test_an_export_is_proved_without_a_confined_process(
    tmp_path: Path, nothing_written: Path, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("an export opened its own file in a confined process")

    monkeypatch.setattr(ConfinedEngine, "__init__", refuse)
    with warnings.catch_warnings():
        warnings.simplefilter("error", PlifWarning)
        assert export(digits_network(), tmp_path / f"own.{to}", to=to).passed


def test_an_engine_on_a_gpu_is_refused_where_a_confined_process_is_asked_for() -> None:
    from runtime.core.base.declared import EngineOptions
    from runtime.core.engines.onnxruntime import OnnxRuntime
    from runtime.engines.confined_child import confine_engine

    class OnGpu(OnnxRuntime):
        name, on_gpu = "on-gpu", True

    assert confine_engine(OnGpu, Path("a.onnx"), EngineOptions()) is OnGpu
    with pytest.raises(PlifError, match=r"^a\.onnx: engine on-gpu needs the GPU, .* --engine onnxruntime"):
        confine_engine(OnGpu, Path("a.onnx"), EngineOptions(confined="on"))


def test_sessions_that_are_gone_are_forgotten_in_the_process(artifacts: dict[str, Path]) -> None:
    model = runtime.load(artifacts["step.onnx"], "onnxruntime", confined="on")
    x = frames(digits_network(), np.random.default_rng(0), T=1, streams=1)[0]
    expected = model.session().step(x)
    pid = model.engine._child._process.pid  # type: ignore[attr-defined]

    def resident_mb() -> float:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    for _ in range(20):
        model.session(4).step(np.repeat(x, 4, 0))
    before = resident_mb()
    for _ in range(200):
        np.testing.assert_array_equal(model.session(4).step(np.repeat(x, 4, 0))[:1], expected)
    assert resident_mb() < before + 20


def test_the_list_of_written_artifacts_is_bounded_and_survives_damage(
    nothing_written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confined_child, "MOST", 10)
    digests = [hashlib.sha256(bytes([k])).hexdigest() for k in range(25)]
    file = nothing_written / "plif" / "written.sha256"
    for digest in digests:
        confined_child.record_written(digest)
        confined_child.record_written(digest)
        assert confined_child.has_written(digest) and len(file.read_text().split()) <= 10
    assert file.read_text().split() == digests[-10:]
    assert file.parent.stat().st_mode & 0o077 == 0
    file.write_bytes(b"\xff\0" * 40)
    assert not confined_child.has_written(digests[-1])
    confined_child.record_written(digests[-1])
    assert confined_child.has_written(digests[-1])
    file.write_bytes(b"0" * (2 * confined_child.MOST * confined_child.LINE + 1))
    assert not confined_child.has_written("0" * 64)


def test_without_a_place_for_the_list_nothing_fails_and_all_is_confined(
    monkeypatch: pytest.MonkeyPatch, artifacts: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    own = export(digits_network(), tmp_path / "own.onnx", verify=False)
    assert is_confined(own.path)
