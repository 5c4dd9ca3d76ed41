"""How recordings of streams end: by a signal, and after a stop."""

from __future__ import annotations

import itertools
import json
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from runtime.core.api import Model
from runtime.core.events import make_events, read_events
from runtime.observers.replayed_stream.recorder import Recorder
from runtime.sources.udp.datagrams import encode_datagrams
from tests.conftest import interruptible
from tests.live import FedSource, SlowObserver, StreamThread, balanced, free_port, packets_of, said, until
from tests.runtime.core.test_stream_live import artifact, model

__all__ = ["artifact", "model"]  # fixtures


def test_sigterm_while_a_camera_sends_leaves_a_recording_with_every_event_that_replays_the_same(
    model: Model, artifact: Path, tmp_path: Path
) -> None:
    port, folder = free_port(), tmp_path / "r"
    command = [
        sys.executable,
        "-m",
        "runtime.core.cli",
        "stream",
        str(artifact),
        f"udp://127.0.0.1:{port}?sensor=34x34",
    ]
    process = interruptible([*command, "--framing", "duration:10ms", "--json", "--record", str(folder)])
    ended = threading.Event()

    def camera() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for begin_us in itertools.count(0, 1000):
                events = make_events(begin_us + np.arange(0, 1000, 20), np.arange(50) % 34, np.arange(50) % 30, True)
                with suppress(ConnectionRefusedError):
                    sender.sendto(b"".join(encode_datagrams(events, "t64", 50)), ("127.0.0.1", port))
                if ended.wait(0.001):
                    return

    sending = threading.Thread(target=camera)
    sending.start()
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(100)]
        process.send_signal(signal.SIGTERM)
        rest, err = process.communicate(timeout=60)
    finally:
        ended.set()
        sending.join()
    *was, last = [json.loads(line) for line in [*lines, *rest.splitlines()]]
    summary = last["summary"]
    assert process.returncode == 130 and "Traceback" not in err and balanced(summary)
    (events,) = folder.glob("*.aedat")
    assert json.loads((folder / "metrics.json").read_text()) == {**summary, "complete": True}
    assert len(read_events(events)) == summary["events_in"] > 4000
    again = [decision.to_dict() for decision in model.stream(str(folder))]
    assert [[one[key] for key in ("t_us", "step", "label", "votes")] for one in again] == [
        [one[key] for key in ("t_us", "step", "label", "votes")] for one in was
    ]


def test_a_stop_of_more_than_a_second_is_a_gap_as_any_other(model: Model, tmp_path: Path) -> None:
    """What the network did not see is silence to it, and a replay finds that, too."""
    events = np.concatenate(packets_of("sim:digits?seed=1&seconds=3"))
    parts = [events[(events["t"] >= a) & (events["t"] < b)] for a, b in ((0, 600_000), (600_000, 2_300_000))]
    parts.append(events[events["t"] >= 2_300_000])

    class Stopped(FedSource):
        def packets(self, max_events: int = 65536) -> Iterator[np.ndarray]:
            self.begin(max_events)
            yield parts[0]
            until(lambda: running.streams[0].steps >= 55)
            running.controls.stop()
            yield parts[1]
            running.controls.start()
            yield parts[2]

    gaps: list[int] = []
    whys: list[str] = []

    class Resets(SlowObserver):
        def on_frame(self, source: str, frame: Any, y: np.ndarray, rates: dict[str, float], latency_ms: float) -> None:
            if frame.discontinuity:
                gaps.append(frame.t_start_us)

        def on_reset(self, source: str, step: int, why: str) -> None:
            whys.append(why)

    options: dict[str, Any] = {"overload": "drop:1000", "decide": "leak:100ms", "reset": "silence:1000"}
    with Recorder(tmp_path / "r") as recorder:
        running = model.stream(Stopped([]), observers=[Resets(0), recorder], **options)
        there = StreamThread(running)
        there.end()
    assert whys == ["policy"] and len(gaps) == 1 and 2_200_000 < gaps[0] < 2_400_000
    assert running.summary()["events_dropped"] > 1000
    assert said(list(model.stream(str(tmp_path / "r")))) == said(there.decisions)
