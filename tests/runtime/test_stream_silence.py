"""A live feed that falls silent: its time goes on, its answer fades, no event is lost, and a replay gives the same."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.api import Model
from runtime.commands.send.recording import send
from runtime.events import Framer, make_events, open_source
from runtime.events.sources.base import TICK
from runtime.observers.record.recorder import Recorder
from runtime.stream.observe import Observer
from runtime.stream.source_framer import SourceFramer
from tests.live import SOURCES, FedSource, StreamThread, balanced, free_port, packets_of, said, step, until
from tests.runtime.test_stream_live import artifact, model

__all__ = ["artifact", "model"]  # fixtures
SHAPE = (2, 34, 34)
FRAMINGS = ("duration:10ms", "events:n=300,max=10ms")


def at(*t_us: int) -> np.ndarray:
    return make_events(list(t_us), [3] * len(t_us), [4] * len(t_us), [True] * len(t_us))


# --- frames -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_tick_closes_the_frames_that_have_ended_and_no_other(framing: str) -> None:
    framer = Framer(framing, SHAPE, (34, 34))
    assert framer.clock_us is None and list(framer.tick(10**9)) == [], "time begins with the first event"
    assert framer.push(at(1000, 4000)) == []
    assert list(framer.tick(10_999)) == []
    first, second, third = framer.tick(31_500)
    assert [(f.t_start_us, f.t_end_us, f.events) for f in (first, second, third)] == [
        (1000, 11_000, 2),
        (11_000, 21_000, 0),
        (21_000, 31_000, 0),
    ]
    framer.resume(33_000)
    assert framer.push(at(33_000)) == []
    (last,) = framer.close()
    step(framer, [first, second, third, last])
    assert last.t_start_us == 31_000 and last.events == 1 and not last.discontinuity
    assert framer.account.balanced and framer.account.used == 3


@pytest.mark.parametrize("framing", FRAMINGS)
def test_events_that_were_long_on_their_way_are_not_late_because_of_ticks(framing: str) -> None:
    framer = Framer(framing, SHAPE, (34, 34))
    framer.push(at(1000, 4000))
    ticked = list(framer.tick(5_000_000))
    assert len(ticked) == 499
    framer.resume(5000)
    (again,) = framer.push(at(5000, 12_000))
    assert (again.t_start_us, again.t_end_us, again.events, again.discontinuity) == (1000, 11_000, 1, False)
    assert framer.account.late == 0 and framer.account.waiting == 4
    step(framer, [*ticked, again, *framer.tick(100_000)])
    framer.resume(500)  # before all of that: late, as it would have been
    framer.push(at(500))
    assert framer.account.late == 1 and framer.account.used == 4 and framer.account.balanced


class Camera(FedSource):
    """A source that is silent after its packets (or where None stands) until `on` is set; it ends when it is closed."""

    def __init__(self, packets: list[np.ndarray | None]) -> None:
        super().__init__(packets)
        self.on = threading.Event()

    def packets(self, max_events: int = 65536) -> Iterator[np.ndarray]:
        self.begin(max_events)
        for packet in [*self.feed, None]:
            if packet is None:
                yield from self.ticking(self.on, 20)
                self.on.clear()
            else:
                yield packet
            if self.stopped.is_set():
                return

    def close(self) -> None:
        self.stopped.set()
        self.on.set()


def test_a_sender_that_gathers_events_is_not_silent_meanwhile() -> None:
    """Each packet reaches a second back, and ticks come in between: the frames are those of the recording."""
    events = np.concatenate(packets_of(SOURCES[2]))
    halves = [events[events["t"] < 800_000], events[events["t"] >= 800_000]]

    class Gathering(FedSource):
        def packets(self, max_events: int = 65536) -> Iterator[np.ndarray]:
            for half in halves:
                yield half
                for _ in range(5):
                    time.sleep(0.005)
                    yield TICK

    frames = list(SourceFramer(Gathering([]), "duration:5ms", SHAPE))
    recording = list(SourceFramer(open_source(SOURCES[2]), "duration:5ms", SHAPE))
    assert len(frames) == len(recording) and all((a.x == b.x).all() for a, b in zip(frames, recording, strict=True))


# --- decisions --------------------------------------------------------------------------------------------------------


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


# --- lag --------------------------------------------------------------------------------------------------------------


def test_lag_counts_from_the_packet_with_the_last_event_of_the_frame() -> None:
    """0.2 s between two packets: the frame that the second one closes is as old as the first one."""

    class Pause(FedSource):
        def packets(self, max_events: int = 65536) -> Iterator[np.ndarray]:
            yield at(0, 1000)
            arrived.append(time.perf_counter())
            time.sleep(0.2)
            yield at(35_000)
            arrived.append(time.perf_counter())

    arrived: list[float] = []
    first, second, third, last = SourceFramer(Pause([]), "duration:10ms", SHAPE)
    assert first.due_s <= arrived[0]
    assert all(arrived[0] + 0.2 <= frame.due_s <= arrived[1] for frame in (second, third, last))
