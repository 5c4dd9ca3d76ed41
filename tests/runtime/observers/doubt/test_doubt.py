"""An engine that was chosen by its time, and has become slower: what was measured is forgotten, and a note says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

import runtime
from plif_export import export
from runtime import native
from runtime.core.engines.model import EngineChoice
from runtime.core.stream.observe import Observer
from runtime.engines import tuner
from runtime.observers.doubt import CALLS, SlowEngineDetector
from tests.networks import firing
from tests.runtime.engines.tuner.test_engine_choice import Measuring

pytestmark = [
    pytest.mark.skipif(not native.is_built(), reason="the native library is not built here: it needs a C compiler"),
]
MEASURED = {"event": {"active": 1.0, "silent": 0.5}, "onnxruntime": {"active": 2.0, "silent": 1.5}}


class Notes(Observer):
    def __init__(self) -> None:
        self.said: list[str] = []

    def on_note(self, source: str, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The file of a measurement, which this process keeps, too."""
    file = tmp_path / "kept.json"
    file.write_text("{}")
    choice = tuner.TuningResult("event", "measured now", MEASURED, "key", file)
    monkeypatch.setitem(tuner.choices, "key", choice)
    yield file


def doubting(rows: int, said: list[str]) -> SlowEngineDetector:
    found = SlowEngineDetector(EngineChoice("event", "auto", "", MEASURED, "key"))
    found.on_start(SimpleNamespace(session=SimpleNamespace(streams=rows), source=SimpleNamespace(say=said.append)))  # type: ignore[arg-type]
    return found


def test_a_choice_is_forgotten_where_most_steps_take_three_times_as_long(kept: Path) -> None:
    said: list[str] = []
    for ms, slow in ((2.9, CALLS), (3.1, CALLS - 1), (3.1, CALLS // 2)):  # not three times as long, or too few of them
        doubt = doubting(1, said)
        for i in range(CALLS):
            doubt.on_step(ms if i < slow else 1.0)
    doubt = doubting(2, said)
    for ms in CALLS * [5.9] + 100 * [1.0] + (CALLS - 1) * [6.1]:
        doubt.on_step(ms)
    assert not said and kept.exists(), "two rows may take twice as long, and what was fast long ago counts for nothing"
    doubt.on_step(6.1)
    assert len(said) == 1 and not kept.exists() and "key" not in tuner.choices
    assert "the 2 ms for which engine event was chosen: the next start measures again" in said[0]
    for _ in range(2 * CALLS):
        doubt.on_step(6.1)
    assert len(said) == 1


def test_a_stream_tells_of_a_choice_that_no_longer_holds_and_keeps_its_engine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(tuner.NO_CALIBRATION, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Measuring(tmp_path, monkeypatch, event=1e-6)  # faster than any step can be
    export(firing(), tmp_path / "step.onnx")
    model, notes = runtime.load(tmp_path / "step.onnx"), Notes()
    (kept,) = (tmp_path / "cache").rglob("*.json")
    list(model.stream("sim:digits?seed=1&seconds=11", framing="duration:20ms", observers=[notes]))
    assert len(notes.said) == 1 and "engine event was chosen" in notes.said[0] and not kept.exists()
    named = runtime.load(tmp_path / "step.onnx", "event")
    list(named.stream("sim:digits?seed=1&seconds=11", framing="duration:20ms", observers=[notes]))
    assert len(notes.said) == 1, "an engine that was asked for is not compared"
