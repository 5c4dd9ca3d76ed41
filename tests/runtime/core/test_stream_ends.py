"""How streams end: a reader that fails, signals, readers that hang, a pipe that nobody writes to; and the account then."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.core.api import Model
from runtime.core.base.errors import PlifError
from runtime.core.stream.observe import Observer
from tests.conftest import interruptible
from tests.live import SOURCES, FedSource, SlowObserver, StreamThread, balanced, packets_of, until
from tests.runtime.core.test_stream_live import artifact, model

__all__ = ["artifact", "model"]  # fixtures
RULES = {"decide": "leak:100ms", "reset": "never", "overload": "drop:1000"}


class Silent(FedSource):
    """Gives its packets, then nothing until it is closed."""

    def packets(self, max_events: int = 65536) -> Iterator[np.ndarray]:
        yield from super().packets(max_events)
        self.stopped.wait()


class Broken(FedSource):
    """Gives its packets, then fails when `fail` is set."""

    def __init__(self, packets: list[np.ndarray | None]) -> None:
        super().__init__(packets)
        self.fail = threading.Event()

    def packets(self, max_events: int = 65536) -> Iterator[np.ndarray]:
        yield from super().packets(max_events)
        self.fail.wait()
        raise PlifError("the plug was pulled")


# --- a reader that fails --------------------------------------------------------------------------------------------


def test_a_reader_that_fails_ends_the_stream_although_another_source_is_silent(model: Model) -> None:
    broken, silent = Broken(packets_of(SOURCES[1])), Silent([])
    running = model.stream([broken, silent], **RULES)
    there = StreamThread(running)
    until(lambda: len(there.decisions) > 10 and not running.streams[0].queue.has_frames)
    time.sleep(0.05)  # and now nothing wakes the loop
    broken.fail.set()
    assert "plug" in str(there.end().error) and balanced(running.summary())


def test_a_reader_that_fails_while_the_stream_is_stopped_ends_it(model: Model) -> None:
    class Stops(Observer):
        def on_decision(self, decision: Any) -> None:
            if decision.step == 3:
                until(lambda: len(running.streams[0].queue._queue) > 10)
                running.controls.stop()

    broken = Broken(packets_of(SOURCES[1]))
    running = model.stream(broken, observers=[Stops()], **RULES)
    there = StreamThread(running)
    until(lambda: not running.controls.running)
    time.sleep(0.01)  # the loop sleeps now, and frames wait
    broken.fail.set()
    assert "plug" in str(there.end().error) and len(there.decisions) == 4 and balanced(running.summary())


# --- the account ----------------------------------------------------------------------------------------------------


class Breaks(SlowObserver):
    """Ctrl-C at an inconvenient moment: in the middle of step 20, before or after the network has seen it."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where

    def on_reset(self, source: str, step: int, why: str) -> None:
        if self.where == "before" and step == 20:
            raise KeyboardInterrupt

    def on_decision(self, decision: Any) -> None:
        if self.where == "after" and decision.step == 20:
            raise KeyboardInterrupt


@pytest.mark.parametrize("where", ("before", "after"))
@pytest.mark.parametrize("kind", ("file", "paced", "feed", "both"))
def test_after_an_interrupt_what_was_used_is_what_the_network_saw(model: Model, where: str, kind: str) -> None:
    feed = Silent(packets_of(SOURCES[1], each=37))
    sources = {"file": [SOURCES[0]], "paced": [SOURCES[0]], "feed": [feed], "both": [SOURCES[0], feed]}[kind]
    seen = Breaks(where)
    speed = "real" if kind == "paced" else "max"
    running = model.stream(sources, decide="sum", reset="every:5", speed=speed, overload="drop:1000", observers=[seen])
    with pytest.raises(KeyboardInterrupt):
        list(running)
    summary = running.summary()
    assert balanced(summary) and summary["events_used"] == sum(seen.events.values()) > 0
    for name, one in summary.get("sources", {}).items():
        assert balanced(one) and one["events_used"] == seen.events.get(name, 0)


def test_a_recording_beside_a_feed_that_is_ended_was_not_overloaded(model: Model) -> None:
    seen = SlowObserver()
    running = model.stream([SOURCES[0], Silent([])], observers=[seen], **{**RULES, "overload": "merge:2"})
    for decision in running:
        if decision.step == 5:
            until(lambda: len(running.streams[0].queue._queue) == 2)  # full, and its reader waits with one more in hand
            time.sleep(0.02)
            break
    running.close()
    summary = running.summary()["sources"][SOURCES[0]]
    assert summary["frames_merged"] == 0 and seen.notes == []
    assert balanced(summary) and summary["events_used"] == seen.events[SOURCES[0]]


def test_what_was_not_stepped_is_dropped_and_everything_sent_is_in_the_account(model: Model) -> None:
    packets = packets_of(SOURCES[1], each=37)
    seen, feed = SlowObserver(), Silent(packets)
    running = model.stream(feed, observers=[seen], **RULES)
    there = StreamThread(running)
    until(lambda: running.streams[0].account.events_in == sum(map(len, packets)) and seen.events)
    running.controls.end()
    there.end()
    summary = running.summary()
    assert balanced(summary) and summary["events_in"] == sum(map(len, packets))
    assert summary["events_used"] == seen.events["fed"] and summary["events_dropped"] > 0  # the open frame, at least


# --- signals --------------------------------------------------------------------------------------------------------


def started(artifact: Path, *more: str, deaf_to: tuple[int, ...] = ()) -> Any:
    command = [sys.executable, "-c", "from runtime.core.cli.main import main; main()", "stream", str(artifact)]
    return interruptible([*command, "sim:digits?seed=1&seconds=80000", *more], deaf_to)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("hows", ((signal.SIGINT, signal.SIGINT, signal.SIGTERM), (signal.SIGTERM,), (signal.SIGHUP,)))
def test_signals_however_many_end_a_stream_in_order(artifact: Path, tmp_path: Path, hows: tuple[int, ...]) -> None:
    process = started(artifact, "--json", "--record", str(tmp_path / "r"))
    assert process.stdout is not None
    for _ in range(20):
        process.stdout.readline()
    for wait_s, how in zip((0, 0.002, 0.03), hows, strict=False):
        time.sleep(wait_s)
        process.send_signal(how)
    rest, err = process.communicate(timeout=30)
    assert process.returncode == 130 and err.splitlines()[-1] == "plif: interrupted" and "Traceback" not in err, err
    summary = json.loads(rest.splitlines()[-1])["summary"]
    metrics = json.loads((tmp_path / "r" / "metrics.json").read_text())
    lines = [json.loads(line) for line in (tmp_path / "r" / "decisions.jsonl").read_text().splitlines()]
    assert metrics.pop("complete") and metrics == summary and len(lines) == summary["frames"]
    assert balanced(summary) and summary["events_used"] == sum(line["events"] for line in lines)


@pytest.mark.parametrize(("command", "code"), [("stream", 130), ("info", 143)])
def test_a_signal_before_the_command_begins_is_an_interrupt(command: str, code: int) -> None:
    """SIGTERM in the moment after it is caught for the first time."""
    at_once = (
        "import os, signal; from runtime.core.cli import main as cli; catch = cli.catch_signals;"
        "cli.catch_signals = lambda gracefully: (catch(gracefully), os.kill(os.getpid(), signal.SIGTERM)); cli.main()"
    )
    process = interruptible([sys.executable, "-c", at_once, command, "nothing.onnx"])
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (code, "plif: interrupted\n")


def test_a_signal_while_the_model_is_loaded_is_an_interrupt_too(artifact: Path, tmp_path: Path) -> None:
    process = started(artifact, "--record", str(tmp_path / "r"))
    status = Path(f"/proc/{process.pid}/status")
    if not status.exists():
        pytest.skip("no /proc here")
    until(lambda: int(status.read_text().split("SigCgt:")[1].split()[0], 16) >> (signal.SIGHUP - 1) & 1)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in err and "interrupted" in err


def test_a_signal_that_was_ignored_before_stays_ignored(artifact: Path) -> None:
    """nohup plif stream ..."""
    process = started(artifact, "--json", deaf_to=(signal.SIGHUP,))
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    lines = [process.stdout.readline() for _ in range(600)]
    assert process.poll() is None and "step" in lines[-1]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130


def test_a_loop_that_hangs_is_broken_off_in_the_end() -> None:
    program = """
import os
import runtime.core.cli.signals
runtime.core.cli.signals.PATIENCE_S = 0.2
with runtime.core.cli.signals.StreamSignals() as ending:
    ending.end_gracefully(lambda: print("asked", flush=True))
    try:
        print("hangs", flush=True)
        os.read(os.pipe()[0], 1)
    except KeyboardInterrupt:
        print("broken off", ending.stop_requested)
"""
    process = interruptible([sys.executable, "-c", program])
    assert process.stdout is not None and process.stdout.readline() == "hangs\n"
    process.send_signal(signal.SIGTERM)
    rest, err = process.communicate(timeout=30)
    assert rest == "asked\nbroken off True\n" and process.returncode == 0, err


@pytest.mark.parametrize("event", ("c_call", "c_return"), ids=("before", "begun and not yet known to run"))
def test_a_signal_while_the_thread_that_waits_for_signals_is_started_ends_the_stream(event: str) -> None:
    program = f"""
import os, signal, sys, threading
import runtime.core.cli.signals
def signalled(frame, event, function):  # what makes the thread, a function of C, has another name in each Python
    if event == {event!r} and frame.f_code is threading.Thread.start.__code__ and "start" in function.__name__:
        os.kill(os.getpid(), signal.SIGTERM)
sys.setprofile(signalled)
with runtime.core.cli.signals.StreamSignals() as ending:
    ended = threading.Event()
    ending.end_gracefully(ended.set)
    print(ended.wait(30), ending.stop_requested)
"""
    process = interruptible([sys.executable, "-c", program])
    out, err = process.communicate(timeout=60)
    assert (out, err, process.returncode) == ("True True\n", "", 0)


# --- readers that hang ----------------------------------------------------------------------------------------------


class Stuck(FedSource):
    """A reader that does not hear of its end."""

    def packets(self, max_events: int = 65536) -> Iterator[np.ndarray]:
        yield from super().packets(max_events)
        self.released = threading.Event()
        self.released.wait()
        yield from packets_of(SOURCES[1])

    def close(self) -> None:
        pass


def test_readers_that_do_not_end_are_left_behind_together_and_named(model: Model, monkeypatch: Any) -> None:
    monkeypatch.setattr("runtime.observers.live_queue.queue.CLOSING_S", 0.4)
    seen, stuck = SlowObserver(), [Stuck(packets_of(SOURCES[1])) for _ in range(3)]
    running = model.stream(stuck, observers=[seen], **RULES)
    for decision in running:
        if decision.step == 10:
            break
    until(lambda: all(hasattr(one, "released") for one in stuck))
    began_s = time.monotonic()
    running.close()
    assert time.monotonic() - began_s < 1.15, "one deadline for all"
    summary = running.summary()
    assert len([note for note in seen.notes if "did not end" in note]) == 3
    assert len([note for note in summary["notes"] if "did not end" in note]) == 3 and balanced(summary)
    for one in stuck:
        one.released.set()
    for stream in running.streams:
        stream.queue._thread.join(timeout=10)
    assert running.summary() == summary and not any(stream.queue.has_frames for stream in running.streams)


# --- a pipe that nobody writes to -------------------------------------------------------------------------------------


def test_controls_end_a_stream_on_a_pipe_and_a_speed_that_is_not_kept_is_said(model: Model, monkeypatch: Any) -> None:
    reads, writes = os.pipe()
    with os.fdopen(reads) as stdin, os.fdopen(writes, "w") as writer:
        monkeypatch.setattr("sys.stdin", stdin)
        seen = SlowObserver()
        running = model.stream("-", sensor=(34, 34), speed="real", observers=[seen])
        there = StreamThread(running)
        writer.write("".join(f"{1000 * i},{i % 34},5,1\n" for i in range(100)))
        writer.flush()
        until(lambda: len(there.decisions) == 9)
        running.controls.end()
        there.end()
    assert balanced(running.summary()) and running.summary()["events_in"] == 100
    assert "--speed real" in seen.notes[0]


# --- stop and start -------------------------------------------------------------------------------------------------
