"""Whatever a neighbour on the network does to the dashboard, the stream is that of a run without one."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runtime
from runtime.core.api import Model
from runtime.core.events import events_sha256, open_source
from runtime.observers.dashboard.door import ACCEPTS, TICK_S, RateLimitedLog, connection_limit
from tests.conftest import REPOSITORY, interruptible
from tests.flood import HALF, QUESTION, Flood, alive
from tests.live import balanced, until
from tests.runtime.observers.dashboard.test_dashboard import SOURCE, Live, message

pytest.importorskip("websockets.sync.client", reason="the extra [dashboard] is not installed")

FILES = 1024  # the usual limit


@pytest.fixture(scope="module")
def model(digits_onnx: Path) -> Model:
    return runtime.load(digits_onnx, rates=True, threads=1)


@pytest.fixture
def live(model: Model) -> Iterator[Live]:
    running = Live(model)
    yield running
    running.close()


def decided(lines: list[str]) -> list[tuple[Any, ...]]:
    """What was decided: the JSON lines without their times of the clock."""
    steps = [json.loads(line) for line in lines if '"summary"' not in line]
    return [(s["t_us"], s["step"], s["label"], s["index"], s["score"], s["votes"]) for s in steps]


def first_events(source: str, count: int | None = None) -> np.ndarray:
    """Events [count] with which a source begins; all of them without a count."""
    packets: list[np.ndarray] = []
    for packet in open_source(source).packets():
        packets.append(packet)
        if count is not None and sum(map(len, packets)) >= count:
            break
    return np.concatenate(packets)[:count]


def status_of(port: int, token: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/status", headers={"Authorization": f"Bearer {token}"})
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


@pytest.mark.parametrize("seconds", (3, pytest.param(60, marks=pytest.mark.large)))
def test_a_flooded_dashboard_changes_neither_decisions_nor_recording(
    model: Model, tmp_path: Path, seconds: int, record_property: Callable[[str, Any], None]
) -> None:
    # a busy machine may make frames wait; they are neither merged nor dropped
    options = ["--overload", "drop:100000", "--speed", "real", "--json", "--dashboard", "0"]
    program = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({FILES}, {FILES})); "
    program += "from runtime.core.cli.main import main; main()"
    folder, err = tmp_path / "flooded", tmp_path / "err"
    command = [sys.executable, "-c", program, "stream", str(model.path), SOURCE, *options, "--record", str(folder)]
    token = "token-of-a-flooded-dashboard"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PLIF_DASHBOARD_TOKEN": token}
    with open(err, "w") as stderr:
        process = interruptible(command, stderr=stderr, env=environment)
    lines: list[str] = []
    reading = threading.Thread(target=lambda: lines.extend(process.stdout or ()))
    reading.start()
    try:
        until(lambda: lines or process.poll() is not None)
        found = re.search(r"dashboard at http://127.0.0.1:(\d+)", err.read_text())
        assert found is not None, err.read_text()
        port = int(found[1])
        flood = [sys.executable, "-m", "tests.flood", str(port), str(seconds), token]
        beside = start_beside(model, seconds) if seconds > 10 else None
        subprocess.run(flood, cwd=REPOSITORY, env=environment, check=True, timeout=seconds + 60)
        until(lambda: status_of(port, token) == 200 or process.poll() is not None)
        assert process.poll() is None, err.read_text()[-2000:]
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
    finally:
        process.kill()
        reading.join(timeout=20)
        if process.stdout is not None:
            process.stdout.close()
    said = err.read_text()
    assert process.returncode == 130 and "Traceback" not in said, said[-2000:]
    assert len(said.splitlines()) < 20, "what goes wrong is said once a minute"
    summary = json.loads(lines.pop())["summary"]
    assert balanced(summary) and summary["frames"] == len(lines) > 20 * seconds
    assert summary["events_late"] == summary["events_invalid"] == summary["frames_merged"] == 0
    quiet = runtime.load(model.path, threads=1).stream(SOURCE)
    with quiet:
        assert decided(lines) == decided([json.dumps(d.to_dict()) for d in itertools.islice(quiet, len(lines))])
    events = first_events(str(folder / "events.aedat"))
    if beside is not None:  # the lag is a time of the clock: it is recorded (docs/reliability.md), and not asserted
        alone_ms = json.loads(beside.communicate(timeout=60)[0])
        record_property("lag_ms", {"flooded": summary["lag_ms"], "beside": alone_ms})
    assert len(events) >= summary["events_in"] > 0  # the last packet is recorded whole, and framed as far as it went
    assert events_sha256(events) == events_sha256(first_events(SOURCE, len(events)))


def start_beside(model: Model, seconds: int) -> subprocess.Popen[str]:
    """The same stream without a dashboard, in the same minute on the same machine, which the flood keeps busy; prints its lag."""
    program = (
        "import json, sys, threading, runtime\n"
        "run = runtime.load(sys.argv[1], rates=True, threads=1).stream(sys.argv[2], speed='real', overload='drop:100000')\n"
        "threading.Timer(float(sys.argv[3]), run.controls.end).start()\n"
        "list(run)\n"
        "print(json.dumps(run.summary()['lag_ms']))"
    )
    command = [sys.executable, "-c", program, str(model.path), SOURCE, str(seconds)]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)


def test_half_requests_keep_nobody_out(live: Live) -> None:
    with contextlib.ExitStack() as held:
        for _ in range(150):
            one = held.enter_context(socket.create_connection(("127.0.0.1", live.dashboard.port)))
            with contextlib.suppress(OSError):  # the oldest may be gone already
                one.sendall(HALF)
        assert live.ask("GET", "/healthz")[0] == 200
        with live.feed() as feed:
            assert message(feed)[0]["state"] == "running"


def limit(monkeypatch: pytest.MonkeyPatch, limits: dict[str, float]) -> None:
    for name, value in limits.items():
        monkeypatch.setattr(f"runtime.observers.dashboard.{name}", value)


def test_no_more_connections_than_the_budget_are_held_and_the_oldest_go(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, {"door.REQUEST_S": 1000.0})  # time cuts nobody off
    most = live.dashboard._server._limiter.limit
    with contextlib.ExitStack() as held:
        ones = [
            held.enter_context(socket.create_connection(("127.0.0.1", live.dashboard.port))) for _ in range(most + 20)
        ]
        until(lambda: sum(map(alive, ones)) <= most)
        assert not any(map(alive, ones[:20])) and all(map(alive, ones[-most // 2 :]))


def test_connections_are_accepted_a_few_at_a_time(live: Live) -> None:
    """So that a flood takes little of the time of the stream, which shares its interpreter."""
    door = live.dashboard._server._limiter
    real, accepted_s = door._socket, []

    class Timed:
        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        def accept(self) -> Any:
            found = real.accept()
            accepted_s.append(time.monotonic())
            return found

    with contextlib.ExitStack() as held:
        door._socket = Timed()  # type: ignore[assignment]
        for _ in range(2 * ACCEPTS + 2):
            held.enter_context(socket.create_connection(("127.0.0.1", live.dashboard.port)))
        until(lambda: len(accepted_s) > 2 * ACCEPTS)
        door._socket = real
    assert accepted_s[2 * ACCEPTS] - accepted_s[0] > 0.9 * TICK_S, "more than two ticks' worth takes more than one"


def test_what_goes_wrong_in_the_server_is_a_note_and_no_traceback(
    live: Live, capfd: pytest.CaptureFixture[str]
) -> None:
    loop = live.dashboard._server._loop
    assert loop is not None
    for _ in range(100):
        loop.call_soon_threadsafe(lambda: 1 / 0)
    notes = next(iter(live.dashboard._boards.values())).notes
    until(lambda: any("ZeroDivisionError" in note for note in notes))
    assert live.ask("GET", "/healthz")[0] == 200
    assert sum("ZeroDivisionError" in note for note in notes) == 1 and capfd.readouterr().err == ""


def test_every_phase_of_a_request_has_an_end_and_an_open_page_has_none(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, {"door.REQUEST_S": 0.3})
    begun = (
        b"",
        HALF,
        f"POST /control HTTP/1.1\r\nHost: {live.host}\r\nAuthorization: Bearer {live.token}\r\n"
        "Content-Length: 4000\r\n\r\n{".encode(),
        f"GET /feed HTTP/1.1\r\nHost: {live.host}\r\nUpgrade: websocket\r\n".encode(),
        f"GET /status HTTP/1.1\r\nHost: {live.host}\r\nAuthorization: Bearer {live.token}\r\n\r\n".encode(),  # kept alive
    )
    behind_a_proxy = {"X-Forwarded-For": "203.0.113.9"}
    with contextlib.ExitStack() as held, live.feed(additional_headers=behind_a_proxy) as feed:
        message(feed)
        ones = [held.enter_context(socket.create_connection(("127.0.0.1", live.dashboard.port))) for _ in begun]
        for one, first in zip(ones, begun, strict=True):
            one.sendall(first)
        until(lambda: not any(alive(drained(one)) for one in ones))
        assert message(feed)[0]["state"] == "running"


def drained(one: socket.socket) -> socket.socket:
    """After an answer: what was sent is taken, so that only the end remains to be seen."""
    one.setblocking(False)
    with contextlib.suppress(OSError):
        while one.recv(65536):
            pass
    return one


def test_a_page_that_never_reads_is_closed_and_gives_its_place_back(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    # its sockets are full in a moment
    limit(monkeypatch, {"server.READ_S": 0.3, "door.REQUEST_S": 0.3, "server.FPS": 1000})
    server, flood = live.dashboard._server, Flood(live.dashboard.port, 60, live.token)
    with socket.socket() as page:
        page.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        page.connect(("127.0.0.1", live.dashboard.port))
        page.sendall(flood.handshake(live.token))
        until(lambda: len(server._clients) == 1)
        page.setblocking(False)
        with contextlib.suppress(OSError):
            for _ in range(10_000):
                page.sendall(QUESTION)
        until(lambda: not server._clients and not server._limiter._connections)
    with live.feed() as feed:
        assert message(feed)[0]["state"] == "running"


def test_troubles_are_said_once_a_minute_with_their_number() -> None:
    said: list[str] = []
    now_s = 100.0
    troubles = RateLimitedLog(said.append, lambda: now_s)
    for _ in range(1000):
        troubles.add("no files")
    assert said == ["no files"]
    now_s += 61
    troubles.add("no memory")
    assert said == ["no files", "no memory (1000 troubles since the last line)"]


def test_where_there_are_no_files_left_the_server_waits_and_comes_back(live: Live) -> None:
    """EMFILE: one line, no loop that spins, and the connection that waits meanwhile is answered in the end."""
    door = live.dashboard._server._limiter
    real, failed = door._socket, []

    class NoFiles:
        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        def accept(self) -> Any:
            failed.append(time.monotonic())
            raise OSError(24, "Too many open files")

    notes = next(iter(live.dashboard._boards.values())).notes
    door._socket = NoFiles()  # type: ignore[assignment]
    with socket.create_connection(("127.0.0.1", live.dashboard.port), timeout=30) as one:
        one.sendall(f"GET /healthz HTTP/1.1\r\nHost: {live.host}\r\n\r\n".encode())
        until(lambda: len(failed) == 2)
        assert failed[1] - failed[0] > 0.5
        door._socket = real
        assert one.recv(100).startswith(b"HTTP/1.1 200")
    assert sum("Too many open files" in note for note in notes) == 1


@pytest.mark.parametrize(("files", "connections"), ((1024, 64), (256, 32), (100_000, 64), (40, 5), (8, 4)))
def test_the_dashboard_takes_an_eighth_of_the_files_at_most(files: int, connections: int) -> None:
    assert connection_limit(files) == connections
