"""One rule for network peers: whatever a peer does, a client ends in the time that was given, with one line.

The same hostile server (hostile_peer.py) is run against Triton's client, tcp:// and Ray; hostile answers against what reads
them. The deadlines are short here, and a test asserts only that a call ends, not how fast.
"""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from runtime.core.base.errors import PlifError
from runtime.core.events import make_events, open_source
from runtime.core.measure.evaluate.loop import Outcome, Tally
from runtime.core.measure.evaluate.predictions import Prediction
from runtime.observers.cluster import ray_workers
from runtime.observers.evaluation_workers.shards import ShardPlan, Shards
from runtime.observers.evaluation_workers.worker import Job
from runtime.observers.triton_repository.client import TritonSession
from runtime.sources import inivation
from runtime.sources.udp.datagrams import encode_datagrams
from tests.live import free_port, until
from tests.reliability.hostile_peer import BEHAVIOURS, Behaviour, HostilePeer, drip, send_endlessly, stay_silent

SHORT_S = 0.3
ENDS_S = 60.0  # far above every deadline here, far below for ever
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # an HTTP/2 server's first frame, as Ray's head sends it
HEADER = re.compile(rb"\A(?:GET|POST) .*\r\n\r\n", re.DOTALL)


def end_in_time(call: Callable[[], Any]) -> Any:
    """Return what the call returns, or the exception that it raises; fail if it does not end."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(call())
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(ENDS_S)
    assert not thread.is_alive(), "it waits for ever"
    return outcome[0]


def require_line(outcome: Any, start: str) -> None:
    assert isinstance(outcome, PlifError), f"{outcome!r}"
    assert str(outcome).startswith(start) and "\n" not in str(outcome)


def ask_triton(peer: HostilePeer, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = end_in_time(lambda: TritonSession(peer.address, "digits", timeout_s=SHORT_S))
    require_line(outcome, f"http://{peer.address}/v2/models/digits: ")


def ask_inivation(peer: HostilePeer, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dv_processing", reason="the extra [inivation] is not installed")
    monkeypatch.setattr(inivation, "ANSWER_S", 2.0)  # the child process starts within that time
    require_line(
        end_in_time(lambda: open_source(f"tcp://{peer.address}")), f"tcp://{peer.address}: nobody answers there"
    )


def ask_ray(peer: HostilePeer, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="clusters need Ray")
    monkeypatch.setattr(ray_workers, "ANSWER_S", 4.0)
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)

    def connect() -> None:
        with ray_workers._connect(peer.address, 1):
            raise AssertionError("this is no cluster")

    require_line(end_in_time(connect), f"--cluster {peer.address}: no Ray cluster answers there")


TRITON = [
    (OK + b"X: ", b"x"),
    (CHUNKED + b"-1\r\n", b"["),
    (CHUNKED + b"-5\r\n", b"["),
    (CHUNKED + b"0\r\n", b"X: a\r\n"),
]
CLIENTS = {
    **{f"triton{number}": (ask_triton, begin, more) for number, (begin, more) in enumerate(TRITON)},
    "inivation": (ask_inivation, b"", b"\x01"),
    "ray": (ask_ray, SETTINGS, b"\x00"),
}
CASES = [
    pytest.param(*client, behaviour, id=f"{behaviour.__name__}-{name}")
    for name, client in CLIENTS.items()
    for behaviour in BEHAVIOURS
    if name != "ray" or behaviour in (stay_silent, drip, send_endlessly)  # Ray connects again, so others are silence
]


@pytest.mark.parametrize(("client", "begin", "more", "behaviour"), CASES)
def test_a_client_ends_in_time_with_one_line(
    client: Callable[..., None], begin: bytes, more: bytes, behaviour: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = (lambda data: bool(HEADER.match(data))) if client is ask_triton else (lambda data: True)
    with HostilePeer(behaviour, begin, more, asked) as peer:
        client(peer, monkeypatch)


def test_an_answer_has_a_size_even_if_its_framing_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk of size -1 would be read to its end, which never comes."""
    with HostilePeer(send_endlessly, CHUNKED + b"-1\r\n", b"[", lambda data: bool(HEADER.match(data))) as peer:
        outcome = end_in_time(lambda: TritonSession(peer.address, "digits", timeout_s=ENDS_S))
    require_line(outcome, f"http://{peer.address}/v2/models/digits: no answer (more than 4194304 bytes)")


GREETER = """
import sys, time
while sys.stdin.buffer.read(1):
    {what}
"""
SIZE = 'sys.stdout.buffer.write(b"C" + (10).to_bytes(8, "little") + b"[346, 260]"); sys.stdout.buffer.flush()'
HEAD = "sys.stdout.buffer.write(b'C' + (1 << 20).to_bytes(8, 'little'))"
BYTE = HEAD + "\n    while True: sys.stdout.buffer.write(b'['); sys.stdout.buffer.flush(); time.sleep(0.01)"
OTHER = SIZE.replace("[346, 260]", "[640, 480]")


def write_reader(path: Path, what: str) -> Path:
    path.write_text(GREETER.format(what=what))
    return path


@pytest.mark.parametrize("then", ("time.sleep(99)", BYTE, OTHER + "; time.sleep(99)"), ids=("silent", "drip", "other"))
@pytest.mark.parametrize("ends_by", ("close", "end="))
def test_a_stream_whose_server_does_not_come_back_ticks_and_ends(
    then: str, ends_by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reader says the size, ends, and then stands for a server that misbehaves. It ends long before ANSWER_S."""
    pytest.importorskip("dv_processing", reason="the extra [inivation] is not installed")
    program = write_reader(tmp_path / "reader.py", SIZE + "; sys.exit()")
    monkeypatch.setattr(inivation, "CHILD_PROGRAM", program)
    monkeypatch.setattr(inivation, "ANSWER_S", ENDS_S if then == "time.sleep(99)" else 2.0)
    monkeypatch.setattr(inivation, "RETRY_S", 0.01)
    source: Any = open_source("tcp://127.0.0.1:7777" + "?end=1s" * (ends_by == "end="))
    write_reader(program, then)
    source.tick_s, ticks, said = 0.01, [], list[str]()
    source.say = said.append

    def read() -> None:
        for packet in source.packets():
            ticks.append(len(packet))
            if ends_by == "close" and len(ticks) == 5:
                source.close()

    assert end_in_time(read) is None
    assert source.lost and source.returns == 0 and ticks and not any(ticks)
    if ends_by == "end=":
        assert any("another sensor" in line for line in said) == ("640" in then)


def test_the_reader_of_another_sensor_is_ended_so_the_right_one_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("dv_processing", reason="the extra [inivation] is not installed")
    program = write_reader(tmp_path / "reader.py", SIZE + "; sys.exit()")
    monkeypatch.setattr(inivation, "CHILD_PROGRAM", program)
    monkeypatch.setattr(inivation, "ANSWER_S", 2 * ENDS_S)
    monkeypatch.setattr(inivation, "RETRY_S", 0.01)
    source: Any = open_source("tcp://127.0.0.1:7777")
    write_reader(program, OTHER + "; time.sleep(99)")

    def hear(text: str) -> None:
        if "another sensor" in text:
            write_reader(program, SIZE + "; time.sleep(99)")
        elif "back after" in text:
            source.close()

    source.say = hear
    assert end_in_time(lambda: list(source.packets())) == [] and source.returns == 1


def test_a_flood_of_one_sender_withholds_no_event_of_another() -> None:
    """The jump in time of the first sender is accepted after a second, and each turn finds datagrams of the second one."""
    name = f"udp://127.0.0.1:{free_port()}?format=t64&sensor=34x34&from=any"
    source: Any = open_source(name)
    seen = set[int]()
    receive = source._receive_datagrams

    def receive_more(view: memoryview, room: int) -> Any:  # no turn without a datagram
        flood.send(body)
        while not (datagrams := receive(view, room))[0]:
            flood.send(body)
        return datagrams

    def read() -> None:
        for packet in source.packets():
            seen.update(packet["x"].tolist())
            if 1 in seen:
                source.close()

    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
    ):
        for sender in (flood, one):
            sender.connect(("127.0.0.1", source.port))
        for t_us, x in ((10_000_000, 2), (100_000_000, 1)):
            one.send(encode_event(t_us, x))
        body = encode_event(time.monotonic_ns() // 1000, 5)
        source._receive_datagrams = receive_more
        assert end_in_time(read) is None
    assert 1 in seen


def encode_event(t_us: int, x: int) -> bytes:
    return next(encode_datagrams(make_events(np.array([t_us]), np.array([x]), np.array([0]), np.array([1])), "t64", 1))


@pytest.mark.parametrize("form", ("t64", "t32", "spif", "jaer"))
@pytest.mark.parametrize(
    "body", (b"", b"x", b"\xff" * 65_000, b"\xff" * 13, bytes(8)), ids=("empty", "one", "huge", "times", "zeros")
)
def test_datagrams_of_any_bytes_end_no_stream(form: str, body: bytes) -> None:
    sensor = "" if form == "jaer" else "&sensor=34x34"
    source: Any = open_source(f"udp://127.0.0.1:{free_port()}?format={form}{sensor}")

    def read() -> None:
        for packet in source.packets():
            assert np.all(packet["x"] < 128)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(("127.0.0.1", source.port))
        for _ in range(5):
            sender.send(body)
        stopping = threading.Thread(
            target=lambda: (until(lambda: source.datagrams["received"] == 5), source.close()), daemon=True
        )
        stopping.start()
        assert end_in_time(read) is None
    assert source.datagrams["received"] == 5


@pytest.fixture
def shards(tmp_path: Path) -> Iterator[Shards]:
    plan = ShardPlan("a", "d", 2, "l", "event", None, 2, 2)
    folder = Shards(tmp_path, plan)
    folder.write(0, Outcome([Prediction(i, "p", 0, (0.5, 0.25), 4, 10, 1.0) for i in (0, 1)], {"l": (0.5, 1)}))
    yield folder


def run_worker(folder: Shards, answer: Callable[[], object], ready: bool = True) -> Any:
    """Run the driver with a worker that gives this answer, or none; Ray is a stand-in."""

    def get(_: object, timeout: float | None = None) -> object:
        return answer()

    def wait(pending: list[object], timeout: float | None = None) -> tuple[list[object], list[object]]:
        if not ready and timeout is None:
            threading.Event().wait()
        return (pending[:1], []) if ready else ([], pending)

    ray: Any = SimpleNamespace(
        remote=lambda **_: (
            lambda kind: SimpleNamespace(
                remote=lambda *_: SimpleNamespace(run=SimpleNamespace(remote=lambda k: object()))
            )
        ),
        wait=wait,
        get=get,
        exceptions=SimpleNamespace(RayActorError=BrokenPipeError),
    )
    job: Any = SimpleNamespace(folder=folder.folder, plan=folder.plan, report_death=Job.report_death)
    tallies: list[Tally] = []
    return end_in_time(lambda: (list(ray_workers._run_shards(ray, job, deque([0]), 1, tallies.append)), tallies))


def raise_error() -> object:
    raise MemoryError("no\nmemory")


WRONG = (
    None, 5, (0,), (1, Tally(2)), (0, Tally(3)), (0, Tally(2, 3)), (0, Tally(2, -1)), (0, {"samples": 2}),
    (0, Tally(2, float("nan"))), ("0", Tally(2)),  # type: ignore[arg-type]
)  # fmt: skip


def test_an_answer_of_a_worker_is_a_tally_of_its_shard(shards: Shards) -> None:
    assert run_worker(shards, lambda: (0, Tally(2, 1, 1))) == ([0], [Tally(2, 1, 1)])
    for wrong in WRONG:
        require_line(run_worker(shards, lambda: wrong), f"{shards.folder}: the worker of shard 0 answered")  # noqa: B023
    require_line(run_worker(shards, raise_error), f"{shards.folder}: the worker of shard 0 failed (MemoryError")
    require_line(run_worker(shards, lambda: None, ready=False), f"{shards.folder}: no worker has answered for")


NAN, INF = float("nan"), float("inf")
SCORES, TRUTH, TIME = 3, 2, 6  # places in a line


@pytest.mark.parametrize(
    "change",
    [
        lambda head, rows: rows[0].__setitem__(SCORES, [NAN, 1.0]),
        lambda head, rows: rows[0].__setitem__(SCORES, ["a", "b"]),
        lambda head, rows: rows[0].__setitem__(SCORES, [1.0, 2.0, 3.0]),
        lambda head, rows: rows[0].__setitem__(SCORES, 1.0),
        lambda head, rows: rows[0].__setitem__(TRUTH, "zero"),
        lambda head, rows: rows[0].__setitem__(TIME, INF),
        lambda head, rows: rows[0].pop(),
        lambda head, rows: rows.pop(),
        lambda head, rows: head.update(rates={"l": [INF, 1]}),
        lambda head, rows: head.update(rates={"l": [1.0, 0]}),
        lambda head, rows: head.update(calls={"3": -3}),
        lambda head, rows: head.update(calls={"999999999": 1}),
        lambda head, rows: head.update(traces=[[0, 0, [[NAN, 2]], [1]]]),
        lambda head, rows: head.update(traces=[[0, 0, 5, None]]),
        lambda head, rows: head.update(traces=[[0, 0, [[1, 2]], [1, 1]]]),
        lambda head, rows: head.clear(),
    ],
)
def test_a_shard_of_a_worker_that_is_not_as_promised_is_one_line(
    change: Callable[[dict[str, Any], list[Any]], None], shards: Shards
) -> None:
    path = shards.path(0)
    head, *rows = map(json.loads, path.read_text().splitlines())
    path.write_text("\n".join(map(json.dumps, (head, *rows))))
    assert len(shards.read(0).predictions) == 2
    change(head, rows)
    path.write_text("\n".join(map(json.dumps, (head, *rows))))
    require_line(end_in_time(lambda: shards.read(0)), f"{path}: is damaged")


def test_a_shard_that_is_deep_or_huge_is_one_line(shards: Shards, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shards.path(0)
    with monkeypatch.context() as context:
        context.setattr("runtime.observers.evaluation_workers.shards.MAX_BYTES", path.stat().st_size - 1)
        require_line(end_in_time(lambda: shards.read(0)), f"{path}: is damaged")
    path.write_text("[" * 100_000)
    require_line(end_in_time(lambda: shards.read(0)), f"{path}: is damaged")
