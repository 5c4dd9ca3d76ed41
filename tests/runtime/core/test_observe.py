"""Observers of a stream: each hears of everything once, in order, and can steer the stream."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runtime
from runtime.core.api import Model
from runtime.core.stream.observe import Observer, Observers

pytest.importorskip("runtime.sources.sim")
SOURCE = "sim:digits?seed=3&seconds=1.2"


@pytest.fixture(scope="module")
def model(digits_onnx: Path) -> Model:
    return runtime.load(digits_onnx, rates=True)


class Log(Observer):
    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []

    def on_start(self, run: Any) -> None:
        self.heard.append(("start", run.names))

    def on_packet(self, source: str, events: np.ndarray, arrived_s: float) -> None:
        self.heard.append(("packet", events.copy()))

    def on_frame(self, source: str, frame: Any, y: np.ndarray, rates: dict[str, float], latency_ms: float) -> None:
        self.heard.append(("frame", (frame.events, y.copy(), rates)))

    def on_reset(self, source: str, step: int, why: str) -> None:
        self.heard.append(("reset", (step, why)))

    def on_decision(self, decision: Any) -> None:
        self.heard.append(("decision", decision))

    def on_summary(self, summary: dict[str, Any]) -> None:
        self.heard.append(("summary", summary))

    def of(self, kind: str) -> list[Any]:
        return [what for name, what in self.heard if name == kind]


def test_an_observer_hears_of_every_packet_frame_and_decision_once_and_in_order(model: Model) -> None:
    log = Log()
    decisions = list(model.stream(SOURCE, observers=[log], reset="every:10"))
    assert log.heard[0] == ("start", [SOURCE]) and log.heard[-1][0] == "summary"
    assert log.of("decision") == decisions
    assert [step for step, why in log.of("reset") if why == "policy"] == list(range(10, len(decisions), 10))
    kinds = [name for name, _ in log.heard if name in ("frame", "decision")]
    assert kinds == ["frame", "decision"] * len(decisions)
    summary = log.of("summary")[0]
    assert sum(len(packet) for packet in log.of("packet")) == summary["events_in"]
    assert sum(events for events, _, _ in log.of("frame")) == summary["events_used"]
    rates = log.of("frame")[5][2]
    assert len(rates) == 4 and all(0 <= rate <= 1 for rate in rates.values())


def test_who_overrides_nothing_is_never_called() -> None:
    class Some(Observer):
        def on_decision(self, decision: Any) -> None: ...

    tell = Observers([Observer(), Some()])
    assert tell.on_decision and tell.on_packet is None and tell.on_frame is None
    tell.on_note("a", "nobody hears of it")


def test_watching_changes_no_decision(model: Model) -> None:
    plain = list(model.stream(SOURCE))
    watched = list(model.stream(SOURCE, observers=[Log()]))
    assert [(d.votes, d.index) for d in plain] == [(d.votes, d.index) for d in watched]


class Steering(Observer):
    def __init__(self, verb: str) -> None:
        self.verb = verb

    def on_start(self, run: Any) -> None:
        self.controls = run.controls

    def on_decision(self, decision: Any) -> None:
        if decision.step == 9:
            getattr(self.controls, self.verb)()


def test_a_reset_from_outside_starts_afresh_and_says_so(model: Model) -> None:
    log = Log()
    steered = list(model.stream(SOURCE, observers=[Steering("reset"), log]))
    every = list(model.stream(SOURCE, reset="every:10"))
    assert [d.votes for d in steered[:20]] == [d.votes for d in every[:20]]
    assert log.of("reset") == [(10, "control")]


def test_a_reset_is_told_once_and_that_of_one_copy_as_such(model: Model) -> None:
    log = Log()
    list(model.stream(SOURCE, reset="every:8/4", observers=[Steering("reset"), log]))
    told = log.of("reset")
    assert [step for step, why in told if why == "control"] == [10]
    assert [step for step, why in told if why == "copy"][:8] == [2, 4, 6, 8, 12, 14, 16, 18]
    assert {why for _, why in told} == {"control", "copy"}


def test_an_end_from_outside_is_an_ordinary_end(model: Model) -> None:
    running = model.stream(SOURCE, observers=[Steering("end")])
    assert len(list(running)) == 10
    summary = running.summary()
    kept = sum(summary[f"events_{k}"] for k in ("used", "filtered", "late", "invalid", "dropped"))
    assert summary["events_in"] == kept


def test_an_error_in_an_observer_ends_the_stream(model: Model) -> None:
    class Broken(Observer):
        def on_decision(self, decision: Any) -> None:
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        list(model.stream(SOURCE, observers=[Broken()]))
