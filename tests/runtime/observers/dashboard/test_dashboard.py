"""The dashboard's server: nobody without the token gets anything, no other page steers it, nobody slows the stream."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runtime
from runtime.core.api import Model
from runtime.core.base.errors import PlifError
from runtime.core.base.grammar import parse_address
from runtime.core.base.latency import Latencies
from runtime.core.events import Account, Frame, Framing
from runtime.core.events.framer import UPRIGHT
from runtime.core.stream.decide import Decision
from runtime.core.stream.observe import Observer
from runtime.core.stream.run import Run
from runtime.native.rules import make_view_tables
from runtime.observers.dashboard.access import Access
from runtime.observers.dashboard.board import POINTS, SMOOTH_US, Answers, Board, rotate_to_camera
from runtime.observers.dashboard.dashboard import EXAMPLES, Dashboard
from tests.live import until

websockets = pytest.importorskip("websockets.sync.client", reason="the extra [dashboard] is not installed")

SOURCE = "sim:digits?seed=3&seconds=600"


@pytest.fixture(scope="module")
def model(digits_onnx: Path) -> Model:
    return runtime.load(digits_onnx, rates=True, threads=1)


class Live:
    """A stream in real time, in a thread, with a dashboard."""

    def __init__(self, model: Model, where: str = "127.0.0.1:0", speed: str = "real") -> None:
        self.dashboard = Dashboard(where)
        self.stream: Run = model.stream(SOURCE, speed=speed, observers=[self.dashboard])
        self.resets: list[int] = []
        self.steps = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        while self.steps == 0:
            time.sleep(0.01)

    def _run(self) -> None:
        for _ in self.stream:
            self.steps += 1

    @property
    def token(self) -> str:
        return self.dashboard.address.partition("token=")[2]

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.dashboard.port}"

    def ask(
        self, method: str, path: str, host: str | None = None, body: Any = None, **headers: str
    ) -> tuple[int, bytes, Any]:
        """(status, body, headers) of a request with any Host."""
        connection = http.client.HTTPConnection("127.0.0.1", self.dashboard.port, timeout=10)
        try:
            connection.putrequest(method, path, skip_host=True)
            connection.putheader("Host", host or self.host)
            data = b"" if body is None else json.dumps(body).encode()
            connection.putheader("Content-Length", str(len(data)))
            for name, value in headers.items():
                connection.putheader(name.replace("_", "-"), value)
            connection.endheaders(data)
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers
        finally:
            connection.close()

    def steer(self, what: str, **headers: str) -> int:
        allowed = {"Authorization": f"Bearer {self.token}", **headers}
        return self.ask("POST", "/control", body={"do": what}, **allowed)[0]

    def feed(self, token: str | None = None, **options: Any) -> Any:
        return websockets.connect(
            f"ws://{self.host}/feed",
            subprotocols=["plif", self.token if token is None else token],
            compression=None,
            **options,
        )

    def close(self) -> None:
        self.stream.controls.end()
        self._thread.join(10)
        assert not self._thread.is_alive()
        self.dashboard.close()


@pytest.fixture
def live(model: Model) -> Iterator[Live]:
    running = Live(model)
    yield running
    running.close()


def message(feed: Any, since: int = 0) -> tuple[dict[str, Any], bytes]:
    feed.send(json.dumps({"since": since}))
    data = feed.recv(timeout=10)
    length = int.from_bytes(data[:4], "little")
    return json.loads(data[4 : 4 + length]), data[4 + length :]


def refused(status: int) -> Any:
    return pytest.raises(Exception, match=f"HTTP {status}")


def test_the_page_opens_with_the_printed_address_and_not_without_its_token(live: Live) -> None:
    path = "/" + live.dashboard.address.split("/", 3)[3]
    status, body, headers = live.ask("GET", path)
    assert status == 200 and b"Votes over time" in body
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert headers["Referrer-Policy"] == "no-referrer" and headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff" and headers["X-Frame-Options"] == "DENY"
    assert headers["Set-Cookie"] is None, "cookies of one host are sent to all its ports"
    assert headers["Access-Control-Allow-Origin"] is None
    for wrong in ("/", "/?token=", "/?token=" + "x" * len(live.token), "/?token=" + live.token[:-1], "/?token=%00é"):
        status, body, _ = live.ask("GET", wrong.encode().decode("latin-1") if "é" not in wrong else "/?token=%C3%A9")
        assert status == 401 and b"Votes over time" not in body and b"token" in body


def test_nothing_on_the_page_comes_from_elsewhere(live: Live) -> None:
    body = live.ask("GET", f"/?token={live.token}")[1].decode()
    for mark in ("https://", "//cdn", "@import", "url(", '<link rel="stylesheet', "<script src"):
        assert mark not in body, mark
    assert body.count("http://") == 0


def test_every_start_has_another_token(model: Model) -> None:
    with Dashboard("127.0.0.1:0") as one, Dashboard("127.0.0.1:0") as other:
        tokens = [dashboard.address.partition("token=")[2] for dashboard in (one, other)]
        assert tokens[0] != tokens[1] and all(len(token) == 32 for token in tokens)


def test_the_feed_needs_the_token_and_gives_picture_votes_rates_and_account(live: Live, model: Model) -> None:
    for wrong in ("", "x" * 32, live.token[:-1], live.token + "x"):
        with refused(403):
            live.feed(wrong) if wrong else websockets.connect(f"ws://{live.host}/feed")
    with live.feed() as feed:
        assert feed.subprotocol == "plif", "the token does not come back"
        first, picture = message(feed)
        assert first["facts"]["classes"] == model.classes and first["facts"]["layers"] == [
            s["layer"] for s in model.card["states"]
        ]
        assert len(picture) == 2 * 34 * 34
        time.sleep(0.5)
        second, picture = message(feed, first["seen"])
        assert second["facts"] is None and second["seen"] > first["seen"] and second["points"]
        t_us, _, votes, rates = second["points"][-1]
        assert t_us > 0 and len(votes) == 10 and len(rates) == 4 and 0 < max(rates) < 1
        assert max(picture) > 0, "events are in the picture"
        account = second["account"]
        kept = ("used", "filtered", "late", "invalid", "dropped", "waiting")
        assert account["in"] == sum(account[k] for k in kept) and account["used"] > 0 <= account["waiting"]
        assert account["not_shown"] == 0
        assert sum(second["histogram"]["counts"]) > 10
        assert second["state"] == "running" and second["answer"]["step"] > first["answer"]["step"]


@pytest.mark.parametrize(
    "host",
    (
        "attacker.example",
        "attacker.example:{port}",
        "127.0.0.1.attacker.example:{port}",
        "0.0.0.0:{port}",
        "10.0.0.7:{port}",
        "",
        "[::1",
        "a b",
    ),
)
def test_a_name_that_was_pointed_at_this_machine_gets_nothing(live: Live, host: str) -> None:
    host = host.format(port=live.dashboard.port)
    allowed = {"Authorization": f"Bearer {live.token}"}
    for method, path in (
        ("GET", f"/?token={live.token}"),
        ("GET", "/status"),
        ("GET", "/healthz"),
        ("POST", "/control"),
    ):
        status, body, _ = live.ask(method, path, host=host or " ", body={"do": "stop"}, **allowed)
        assert status in (400, 421) and b"Votes" not in body
    with pytest.raises(Exception, match=r"HTTP 40[03]"):
        live.feed(additional_headers={"Host": host or " "})
    assert live.stream.controls.running


@pytest.mark.parametrize(
    "host", ("127.0.0.1:{port}", "localhost:{port}", "LOCALHOST:{port}", "127.0.0.1", "[::1]:{port}")
)
def test_the_names_of_this_machine_are_answered(live: Live, host: str) -> None:
    assert live.ask("GET", "/healthz", host=host.format(port=live.dashboard.port))[0] == 200


@pytest.mark.parametrize(
    "origin",
    (
        "http://attacker.example",
        "null",
        "http://127.0.0.1:1",
        "http://localhost:{port}",
        "file://",
        "http://127.0.0.1:{port}.attacker.example",
    ),
)
def test_another_page_reaches_neither_the_feed_nor_start_stop_reset(live: Live, origin: str) -> None:
    origin = origin.format(port=live.dashboard.port)
    for what in ("start", "stop", "reset"):
        assert live.steer(what, Origin=origin) == 403
    with refused(403):
        live.feed(origin=origin)
    assert live.stream.controls.running
    assert live.steer("reset", Sec_Fetch_Site="cross-site") == 403 == live.steer("reset", Sec_Fetch_Site="same-site")


def test_a_form_or_a_link_of_another_page_steers_nothing(live: Live) -> None:
    # what a page can send without a preflight: no Authorization, simple content types, GET
    for headers in (
        {},
        {"Content_Type": "text/plain"},
        {"Cookie": f"token={live.token}"},
        {"Authorization": live.token},
    ):
        assert live.ask("POST", f"/control?token={live.token}", body={"do": "stop"}, **headers)[0] == 401
    assert live.ask("GET", f"/control?token={live.token}&do=stop")[0] == 405
    assert live.ask("OPTIONS", "/control", Origin="http://attacker.example")[0] in (401, 403, 405)
    assert live.stream.controls.running


def test_stop_start_and_reset_do_what_they_say(live: Live) -> None:
    assert live.steer("stop") == 200
    time.sleep(0.3)
    before = live.steps
    time.sleep(0.3)
    assert live.steps <= before + 1 and not live.stream.controls.running
    with live.feed() as feed:
        assert message(feed)[0]["state"] == "stopped"
    assert live.ask("GET", "/healthz")[0] == 200, "a stream that was stopped on purpose is healthy"
    assert live.steer("start", Origin=f"http://{live.host}", Sec_Fetch_Site="same-origin") == 200
    time.sleep(0.3)
    assert live.steps > before + 3
    assert live.stream.summary()["events_dropped"] == 0, "a recording waits"
    votes = sum(live.stream.last.votes) if live.stream.last else 0
    assert live.steer("reset") == 200
    until(lambda: live.stream.last is not None and sum(live.stream.last.votes) < votes)


@pytest.mark.parametrize(
    "body", ({"do": "format"}, {"do": ["stop"]}, {}, [], "stop", None, {"do": "stop", "x": "y" * 5000})
)
def test_a_command_that_is_none_is_refused(live: Live, body: Any) -> None:
    status = live.ask("POST", "/control", body=body, Authorization=f"Bearer {live.token}")[0]
    assert status in (400, 413) and live.stream.controls.running


@pytest.mark.parametrize(
    "text", ("", "stop", "[]", '{"since": "x"}', '{"since": null}', '{"since": 1e999}', "[" * 3000, "x" * 5000)
)
def test_a_question_that_is_none_closes_the_feed_and_nothing_else(live: Live, text: str) -> None:
    with live.feed() as feed:
        feed.send(text)
        with pytest.raises(Exception, match=r"close|1009|1000|received"):
            feed.recv(timeout=5)
    with live.feed() as feed:
        assert message(feed)[0]["state"] == "running"


def test_pages_that_do_not_read_slow_nothing_and_pile_nothing_up(model: Model) -> None:
    """A hundred questions and not one answer read, from eight pages; meanwhile the stream runs at full speed."""
    running, pages = Live(model, speed="max"), ExitStack()
    try:
        feeds = [pages.enter_context(running.feed(max_queue=1)) for _ in range(8)]
        for feed in feeds:
            for _ in range(100):
                feed.send('{"since": 0}')
        time.sleep(0.5)
        before, deadline_s = running.steps, time.perf_counter() + 30
        while running.steps < before + 100 and time.perf_counter() < deadline_s:  # a stuck stream makes none
            time.sleep(0.01)
        assert running.steps >= before + 100
        board = next(iter(running.dashboard._boards.values()))
        assert len(board._points) <= POINTS
        with running.feed() as fast:
            assert message(fast)[0]["state"] == "running"
        for feed in feeds:
            feed.socket.close()
    finally:
        running.close()
        pages.close()


class Votes(Observer):
    """What the board shall show: every step's votes, smoothed; asks for a reset after step 30."""

    def __init__(self) -> None:
        self.smooth = np.zeros(10)
        self.expected: list[list[float]] = []

    def on_start(self, run: Run) -> None:
        self.controls = run.controls

    def on_reset(self, source: str, step: int, why: str) -> None:
        if why != "copy":
            assert step == 31
            self.smooth[:] = 0

    def on_frame(self, source: str, frame: Frame, y: np.ndarray, rates: dict[str, float], latency_ms: float) -> None:
        keep = float(np.exp(-20_000 / SMOOTH_US)) if self.expected else 0.0
        self.smooth = keep * self.smooth + (1 - keep) * y
        self.expected.append(self.smooth.tolist())

    def on_decision(self, decision: Decision) -> None:
        if decision.step == 30:
            self.controls.reset()


def test_saved_changes_tell_idle_from_not_sure() -> None:
    answers = Answers()
    for step, (label, why) in enumerate(
        [(None, "idle"), (None, "idle"), (None, "not sure"), ("=wave", None), (None, "idle")]
    ):
        answers.add(Decision(20_000 * step, step, label, None, 0.5, [], 1.0, why=why))
    header, *lines = answers.to_csv().splitlines()
    assert header == "when,t_us,step,label,score,why"
    assert [line.split(",")[2:] for line in lines] == [
        ["0", "", "0.5", "idle"], ["2", "", "0.5", "not sure"], ["3", "'=wave", "0.5", ""], ["4", "", "0.5", "idle"]
    ]  # fmt: skip
    assert [one["why"] for one in answers.changes()] == ["idle", "not sure", None, "idle"]


def test_votes_go_on_when_one_of_several_copies_begins_afresh(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.observers.dashboard.board.POINT_S", 0.0)  # a point for each step
    votes = Votes()
    with Dashboard("127.0.0.1:0") as dashboard:
        list(model.stream("sim:digits?seed=3&seconds=1", reset="every:8/4", observers=[votes, dashboard]))
        data = dashboard.message(0, None)
    points = json.loads(data[4 : 4 + int.from_bytes(data[:4], "little")])["points"]
    assert len(points) == len(votes.expected) > 40 and max(map(max, votes.expected)) > 0.1
    np.testing.assert_allclose([point[2] for point in points], votes.expected, atol=1e-4)


def test_a_half_open_connection_keeps_nobody_from_ending(live: Live) -> None:
    with socket.create_connection(("127.0.0.1", live.dashboard.port)) as idle:
        idle.sendall(b"GET / HTTP/1.1\r\nHost: ")
        began_s = time.perf_counter()
        live.close()
        assert time.perf_counter() - began_s < 6


def test_the_last_message_says_that_the_stream_has_ended(model: Model) -> None:
    running = Live(model)
    with running.feed() as feed:
        message(feed)
        running.close()
        data = feed.recv(timeout=5)
        assert json.loads(data[4 : 4 + int.from_bytes(data[:4], "little")])["state"] == "ended"


def test_the_status_is_for_programs_that_have_the_token(live: Live) -> None:
    assert live.ask("GET", "/status")[0] == 401
    status, body, _ = live.ask("GET", "/status", Authorization=f"Bearer {live.token}")
    document = json.loads(body)
    assert status == 200 and document["state"] == "running" and document["sources"][SOURCE]["events_in"] > 0


def test_the_dashboard_changes_no_answer(model: Model) -> None:
    source = "sim:digits?seed=5&seconds=2"
    plain = [d.votes for d in runtime.load(model.path, threads=1).stream(source)]
    with Dashboard("127.0.0.1:0") as dashboard:
        shown = [d.votes for d in model.stream(source, observers=[dashboard])]
    assert plain == shown


# --- addresses, names, tokens ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8080", ("127.0.0.1", 8080)),
        ("0", ("127.0.0.1", 0)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("[::1]:8080", ("::1", 8080)),
    ],
)
def test_an_address_is_a_port_and_perhaps_a_host(text: str, expected: tuple[str, int]) -> None:
    assert parse_address("--dashboard", text, EXAMPLES, host="127.0.0.1", least_port=0) == expected


@pytest.mark.parametrize("text", ("", "x", "70000", "-1", "host:", ":8080", "host:x", "١٢"))
def test_what_is_no_address_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(PlifError, match=r"expected \[HOST:\]PORT"):
        Dashboard(text)


def test_a_port_that_is_taken_is_one_line() -> None:
    with Dashboard("127.0.0.1:0") as first, pytest.raises(PlifError, match="cannot listen there"):
        Dashboard(f"127.0.0.1:{first.port}")


def test_on_the_network_an_address_in_numbers_or_a_known_name_is_needed() -> None:
    access = Access("0.0.0.0", "t", ["camera7.example"])
    assert (
        access.is_known_host("192.168.1.20:8080")
        and access.is_known_host("Camera7.example:443")
        and access.is_known_host("localhost")
    )
    assert access.is_known_host(f"{socket.gethostname()}:8080")
    assert (
        not access.is_known_host("attacker.example")
        and not access.is_known_host("0.0.0.0:8080")
        and not access.is_known_host(None)
    )


def test_listening_on_the_network_says_so_and_loopback_does_not() -> None:
    with Dashboard("127.0.0.1:0") as here, Dashboard("0.0.0.0:0") as everywhere:
        assert here.warning is None
        assert everywhere.warning is not None and "whole network" in everywhere.warning
        assert everywhere.address.startswith("http://127.0.0.1:")


def test_a_service_may_bring_its_own_token_and_a_weak_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLIF_DASHBOARD_TOKEN", "A-long_enough-token-0123456789")
    with Dashboard("127.0.0.1:0") as dashboard:
        assert dashboard.address.endswith("?token=A-long_enough-token-0123456789")
    for weak in ("short", "with blanks in it and long enough", "&" * 30):
        monkeypatch.setenv("PLIF_DASHBOARD_TOKEN", weak)
        with pytest.raises(PlifError, match="24 to 200"):
            Dashboard("127.0.0.1:0")


# --- the board ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", ("stored", "upright", "sj", "paper"))
@pytest.mark.parametrize("upright", ("identity", "rotate180", "flip_y"))
def test_the_picture_shows_the_world_as_the_camera_saw_it(orientation: str, upright: str) -> None:
    """Whatever orientation a network was trained on: one event comes out where the upright view has it."""
    side = 8
    framing = Framing.parse(f"duration:10ms,orientation={orientation}")
    frame = np.zeros((2, side, side), np.float32)
    of_x, of_y, of_p = make_view_tables(str(framing), frame.shape, (side, side), UPRIGHT.index(upright))
    frame.reshape(-1)[of_x[1] + of_y[2] + of_p[1]] = 1
    x, y = (6, 5) if upright == "rotate180" else (1, 5) if upright == "flip_y" else (1, 2)
    channel, row, column = np.argwhere(rotate_to_camera(frame, orientation, upright))[0]
    assert (channel, row, column) == (1, y, x)


def test_an_hour_at_full_speed_keeps_the_board_small() -> None:
    board = Board(
        3, 10, ["conv1"], (2, 4, 4), Framing.parse("duration:1ms"), "identity", Latencies(), Latencies(), Account()
    )
    frame = Frame(np.ones((2, 4, 4), np.float32), 0, 1000, 32)
    for step in range(20_000):
        board.add_step(frame, np.array([0.1, 0.2, 0.0]), {"conv1": 0.1})
        board.add_decision(Decision(1000 * step, step, "a", 0, 0.1, [1, 2, 0], 0.1))
    assert len(board._points) <= POINTS
    assert len(board.message(0, "x", None)) < 200_000


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    program = (
        "import sys, importlib.util as u; real = u.find_spec; "
        "u.find_spec = lambda n, p=None: None if n == 'uvicorn' else real(n, p); "
        "from runtime.core.cli.main import run; sys.exit(run(['stream', 'm.onnx', 'x', '--dashboard', '0']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 2 and "pip install 'plif[dashboard]'" in done.stderr and done.stderr.count("\n") == 1
