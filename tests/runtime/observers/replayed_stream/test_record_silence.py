"""Recordings of feeds that fall silent, and their replays."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.commands.send.recording import send
from runtime.core.api import Model
from runtime.core.stream.observe import Observer
from runtime.observers.replayed_stream.recorder import Recorder
from tests.live import SOURCES, FedSource, StreamThread, balanced, free_port, packets_of, said, until
from tests.runtime.core.test_stream_live import artifact, model

__all__ = ["artifact", "model"]  # fixtures


class Camera(FedSource):
    """A source that is silent after its packets (or where None stands) until `on` is set; it ends when it is closed."""

    def __init__(self, packets: list[np.ndarray | None]) -> None:
        super().__init__(packets)
        self.on = threading.Event()

    def packets(self, max_events: int = 65536) -> Iterator[np.ndarray]:
        self.begin(max_events)
        for packet in [*self.feed, None]:
            if packet is None:
                yield from self.wait_with_ticks(self.on, 20)
                self.on.clear()
            else:
                yield packet
            if self.stopped.is_set():
                return

    def close(self) -> None:
        self.stopped.set()
        self.on.set()


def test_evidence_fades_and_decisions_go_on_while_a_camera_is_silent_and_a_replay_has_them(
    model: Model, tmp_path: Path
) -> None:
    packets = packets_of(SOURCES[1])
    later = [packet.copy() for packet in packets]
    for packet in later:
        packet["t"] += 1_000_000
    camera = Camera([*packets, None, *later])
    options: dict[str, Any] = {"decide": "leak:20ms,margin=0.01,idle=500", "overload": "drop:1000", "reset": "never"}
    with Recorder(tmp_path / "r") as recorder:
        running = model.stream(camera, observers=[recorder], **options)
        there = StreamThread(running)
        until(lambda: any(d.label for d in there.decisions) and there.decisions[-1].why == "idle")
        camera.on.set()
        until(
            lambda: running.streams[0].account.used == 2 * sum(map(len, packets))
        )  # the last frame is not held back, either
        count = len(there.decisions)
        until(lambda: len(there.decisions) > count + 10)
        running.controls.end()
        there.end()
    summary = running.summary()
    assert balanced(summary) and summary["events_late"] == summary["events_dropped"] == 0
    assert summary["events_used"] == 2 * sum(map(len, packets))
    replay = model.stream(str(tmp_path / "r"))
    assert said(list(replay)) == said(there.decisions)
    assert replay.summary()["events_used"] == summary["events_used"]


def test_a_camera_that_is_lost_has_no_answer_whatever_the_rule(model: Model, artifact: Path, tmp_path: Path) -> None:
    """udp, `lost`, a rule that never forgets; and back again: the replay knows all of it."""
    port = free_port()
    notes: list[str] = []

    class Notes(Observer):
        def on_note(self, source: str, text: str) -> None:
            notes.append(text)

    spec = f"udp://127.0.0.1:{port}?format=t64&sensor=34x34&lost=150ms"
    with Recorder(tmp_path / "r") as recorder:
        running = model.stream(spec, decide="sum", reset="never", observers=[recorder, Notes()], overload="drop:1000")
        there = StreamThread(running)
        for turn in (1, 2):
            sent = send("sim:digits?seed=1&seconds=0.3", f"udp://127.0.0.1:{port}", speed="max")
            until(lambda: running.streams[0].account.events_in == turn * sent)  # noqa: B023
            until(lambda: running.streams[0].source.lost and running.last.why == "idle")
        count = len(there.decisions)
        until(lambda: len(there.decisions) > count + 5)
        running.controls.end()
        there.end()
    assert there.decisions[-1].label is None and any(d.label for d in there.decisions)
    assert [note.split()[-1] for note in notes].count("lost") == 2 and running.summary()["returns"] == 1
    assert balanced(running.summary())
    assert said(list(model.stream(str(tmp_path / "r")))) == said(there.decisions)


def test_ticks_that_were_edited_are_one_line(model: Model, tmp_path: Path) -> None:
    camera = Camera(packets_of(SOURCES[1]))
    with Recorder(tmp_path / "r") as recorder:
        running = model.stream(camera, observers=[recorder], overload="drop:1000")
        there = StreamThread(running)
        until(lambda: len(there.decisions) > 80)
        running.controls.end()
        there.end()
    path = tmp_path / "r" / "decisions.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for name, value in (("until_us", "soon"), ("until_us", None), ("until_us", 1 << 70), ("silent_after", -1)):
        edited = [{**line, name: value} if "silent_after" in line else line for line in lines]
        path.write_text("".join(json.dumps(line) + "\n" for line in edited))
        with pytest.raises(Exception, match="is damaged"):
            list(model.stream(str(tmp_path / "r")))
