"""A stream as a service: its health, its numbers for Prometheus, its answers as a list."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import resource
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import runtime
from runtime.core.api import Model
from runtime.core.base.errors import PlifError
from runtime.core.base.latency import Latencies
from runtime.sources.udp.datagrams import encode_datagrams
from tests.recordings import some_events
from tests.runtime.observers.dashboard.test_dashboard import Live
from tests.runtime.sources.udp.test_udp import listen

pytest.importorskip("starlette", reason="the extra [dashboard] is not installed")
ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def model(digits_onnx: Path) -> Model:
    return runtime.load(digits_onnx, rates=True, threads=1)


class Pushed(Live):
    """A stream of events that the test pushes, with a dashboard."""

    def __init__(self, model: Model, lost_s: float | None = None, source: Any = None) -> None:
        from runtime.observers.dashboard.dashboard import Dashboard

        self.source = source or runtime.PushSource(34, 34, lost_s=lost_s)
        self.dashboard = Dashboard("127.0.0.1:0")
        self.stream = model.stream(self.source, framing="duration:10ms", observers=[self.dashboard])
        self.steps = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self.push()
        wait_until(lambda: self.steps > 0)

    def push(self) -> None:
        self.source.push(some_events(2000))

    def get(self, path: str) -> tuple[int, str]:
        status, body, _ = self.ask("GET", path, Authorization=f"Bearer {self.token}")
        return status, body.decode()

    def health(self) -> dict[str, Any]:
        status, body, _ = self.ask("GET", "/healthz")
        assert status == 200
        return json.loads(body)


def wait_until(holds: Any, seconds: float = 60) -> None:
    end_s = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end_s, "it never came true"
        time.sleep(0.02)


@pytest.fixture
def pushed(model: Model) -> Iterator[Pushed]:
    running = Pushed(model)
    yield running
    running.close()


def test_health_says_the_state_the_age_of_the_last_event_and_no_names(pushed: Pushed) -> None:
    health = pushed.health()
    assert set(health) == {"alive", "state", "last_event_age_s", "lag_ms", "refused_hosts"} and health["alive"]
    assert health["refused_hosts"] == []
    wait_until(lambda: pushed.health()["state"] == "silent")
    assert pushed.health()["last_event_age_s"] > 1
    status = json.loads(pushed.get("/status")[1])["sources"]
    assert [one["source_state"] for one in status.values()] == ["silent"]


def test_a_camera_that_is_lost_shows_in_health_status_feed_and_metrics(model: Model) -> None:
    running = Pushed(model, lost_s=0.2)
    try:
        wait_until(lambda: running.health()["state"] == "lost")
        assert '"source_state":"lost"' in running.get("/status")[1].replace(" ", "")
        with running.feed() as feed:
            feed.send('{"since": 0}')
            data = feed.recv()
            message = json.loads(data[4 : 4 + int.from_bytes(data[:4], "little")])
        assert (message["state"], message["source_state"]) == ("running", "lost")
        assert f'plif_source_state{{source="{running.source.name}",state="lost"}} 1' in running.get("/metrics")[1]
        running.push()
        wait_until(lambda: running.health()["state"] != "lost")
    finally:
        running.close()


def test_metrics_are_read_by_prometheus_and_agree_with_the_account(pushed: Pushed) -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    assert pushed.ask("GET", "/metrics")[0] == 401
    wait_until(lambda: json.loads(pushed.get("/status")[1])["sources"]["push"]["events_waiting"] < 2000)
    assert pushed.steer("reset") == 200
    pushed.push()
    wait_until(lambda: pushed.dashboard._boards["push"].resets)
    wait_until(lambda: pushed.health()["state"] == "silent")
    status, text = pushed.get("/metrics")
    account = json.loads(pushed.get("/status")[1])["sources"]["push"]
    assert status == 200
    families = {family.name: family for family in parser.text_string_to_metric_families(text)}
    values = {(s.name, *sorted(s.labels.items())): s.value for family in families.values() for s in family.samples}
    by_fate = {
        fate: values["plif_events_total", ("fate", fate), ("source", "push")] for fate in ("used", "late", "dropped")
    }
    assert by_fate == {fate: account[f"events_{fate}"] for fate in by_fate}
    assert values["plif_events_in_total", ("source", "push")] == 4000 == account["events_in"]
    assert values["plif_resets_total", ("source", "push"), ("why", "control")] == 1
    steps = values["plif_steps_total", ("source", "push")]
    assert sum(v for key, v in values.items() if key[0] == "plif_decisions_total") >= steps > 0
    for name in ("plif_latency_seconds", "plif_lag_seconds"):
        assert families[name].type == "histogram"
        buckets = [s.value for s in families[name].samples if s.name.endswith("_bucket")]
        assert buckets == sorted(buckets) and buckets[-1] == values[f"{name}_count", ("source", "push")]
    assert values["plif_running",] == 1


class Sent(Pushed):
    """A stream of datagrams, of a camera and of a stranger."""

    def push(self) -> None:
        for host in ("127.0.0.1", "127.0.0.2"):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.bind((host, 0))
                sender.sendto(next(encode_datagrams(some_events(100), "t64", 100)), ("127.0.0.1", self.source.port))


def test_datagrams_of_strangers_are_in_the_metrics_and_in_health_with_what_to_type(model: Model) -> None:
    running = Sent(model, source=listen("format=t64", sensor="&sensor=34x34"))
    try:
        wait_until(lambda: running.source.datagrams["foreign"])
        text, (host,) = running.get("/metrics")[1], running.health()["refused_hosts"]
        (status,) = json.loads(running.get("/status")[1])["sources"].values()
    finally:
        running.close()
    found = re.findall(r'plif_datagrams_total\{source="udp:[^"]+",fate="(\w+)"\} (\d+)', text)
    assert dict(found) == {fate: str(count) for fate, count in running.source.datagrams.items()}
    assert running.source.datagrams["foreign"] == running.source.datagrams["received"] == 1
    assert (host["host"], host["datagrams"], host["accept"]) == ("127.0.0.2", 1, "from=127.0.0.2")
    assert status["listens"].startswith("127.0.0.1:")
    assert status["owner"] == "127.0.0.1" and status["refused_hosts"][0]["host"] == "127.0.0.2"


def test_a_histogram_counts_what_lies_below_each_bound() -> None:
    times = Latencies()
    for ms in (0.05, 0.3, 0.3, 7, 99, 50_000):
        times.add(ms)
    assert times.count_below((0.1, 0.25, 0.5, 10, 100, 10_000)) == [
        1,
        1,
        3,
        4,
        5,
        5,
    ] and times.total_ms == pytest.approx(50106.65)


def test_a_histogram_of_prometheus_is_in_seconds() -> None:
    from runtime.observers.dashboard.metrics import BOUNDS_MS, histogram_samples

    times = Latencies()
    times.add(1.5)
    samples = dict(histogram_samples("h", "s", times))
    assert samples.pop('h_sum{source="s"}') == pytest.approx(0.0015) and samples.pop('h_count{source="s"}') == 1
    bounds = [float(name.partition('le="')[2].rstrip('"}')) for name in samples]
    assert bounds == [*(bound / 1000 for bound in BOUNDS_MS), float("inf")]
    assert list(samples.values()) == [int(bound >= 0.0015) for bound in bounds]


def test_names_of_labels_are_escaped_in_metrics() -> None:
    from runtime.observers.dashboard.metrics import format_sample

    assert format_sample("a", b='say "\\n"\n') == 'a{b="say \\"\\\\n\\"\\n"}'


def test_the_changes_of_the_answer_can_be_saved_and_need_the_token(pushed: Pushed) -> None:
    assert pushed.ask("GET", "/decisions.csv")[0] == 401 and pushed.get("/decisions.exe")[0] == 404
    wait_until(lambda: len(json.loads(pushed.get("/decisions.json")[1])) > 0)
    status, text = pushed.get("/decisions.csv?source=push")
    rows = list(csv.DictReader(io.StringIO(text)))
    changes = json.loads(pushed.get("/decisions.json")[1])
    assert status == 200 and list(rows[0]) == ["when", "t_us", "step", "label", "score", "why"]
    assert [row["label"] for row in rows] == [change["label"] or "" for change in changes][: len(rows)]
    assert all(a["label"] != b["label"] for a, b in pairwise(changes))


# --- the token -------------------------------------------------------------------------------------------------------


class Printed:
    """`plif stream ... --dashboard 0` whose output goes where `stderr` says; `line` is the first of it."""

    def __init__(self, artifact: Path, stderr: int, read: Callable[[], str], *before: str, **environment: str) -> None:
        source = "sim:digits?seed=3&seconds=600"
        command = [sys.executable, "-m", "runtime.core.cli", "stream", str(artifact), source, "--speed", "real"]
        self.process = subprocess.Popen(
            [*before, *command, "--json", "--dashboard", "0"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env={**without_places(), **environment},
        )
        self.line = read()

    def end(self) -> str:
        """Everything else that it printed to stdout."""
        assert self.process.stdout is not None
        self.process.stdout.readline()
        self.process.terminate()
        out, _ = self.process.communicate(timeout=60)
        assert self.process.returncode == 130 and '"summary"' in out
        return out


def without_places() -> dict[str, str]:
    given = ("RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR", "PLIF_DASHBOARD_TOKEN")
    return {name: value for name, value in os.environ.items() if name not in given}


def opens(line: str, token: str) -> int:
    found = re.search(r"(http://127\.0\.0\.1:\d+/)", line)
    assert found, line
    ask = urllib.request.Request(f"{found[1]}status", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(ask, timeout=60) as answer:
        return answer.status


@pytest.mark.parametrize("place", ["RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR", "TMPDIR"])
def test_a_log_gets_no_token_but_the_name_of_a_file_that_only_its_user_reads(
    digits_onnx: Path, tmp_path: Path, place: str
) -> None:
    log = tmp_path / "log"
    folder = tmp_path / "folder"
    folder.mkdir()
    with open(log, "wb") as stderr:
        running = Printed(
            digits_onnx, stderr.fileno(), lambda: until_written(log), INVOCATION_ID="1", **{place: str(folder)}
        )
    (file,) = folder.iterdir()
    token = file.read_text().strip()
    assert str(file) in running.line and file.stat().st_mode & 0o777 == 0o600 and len(token) >= 24
    assert opens(running.line, token) == 200
    out = running.end()
    assert token not in out + log.read_text() and "token=" not in log.read_text()
    assert not list(folder.iterdir()), "and the file goes with it"


def test_two_dashboards_on_one_port_each_keep_their_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from runtime.observers.dashboard.dashboard import Dashboard

    for name in ("RUNTIME_DIRECTORY", "PLIF_DASHBOARD_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with Dashboard("127.0.0.1:0") as first:
        (tmp_path / f"plif-{first.port}.token").mkdir()  # somebody was there before
        with Dashboard(f"127.0.0.2:{first.port}") as second:
            kept = {one.address: Path(one.announcement().rpartition(" in ")[2]) for one in (first, second)}
            assert all(address.endswith(f"={file.read_text().strip()}") for address, file in kept.items())
        assert kept[first.address].exists() and not kept[second.address].exists()


def test_no_half_of_a_token_is_left_where_it_could_not_be_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from runtime.observers.dashboard.access import write_token

    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))  # as a full disk: a file can be made, not written
    try:
        with pytest.raises(PlifError, match="File too large"):
            write_token("A-given_token-0123456789-abc", 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


READ_ONLY = 'mount -o rbind,ro=recursive / "$0" && mount -t tmpfs none "$0/run" && exec chroot "$0" "$@"'


def test_on_a_root_file_system_that_takes_no_writes_it_streams_and_keeps_its_token_in_run(
    digits_onnx: Path, tmp_path: Path
) -> None:
    alone = ["unshare", "--map-root-user", "--mount", "sh", "-c", READ_ONLY, str(tmp_path)]
    may = subprocess.run([*alone, "touch", str(tmp_path / "x")], capture_output=True, text=True)
    if "Read-only file system" not in may.stderr:
        pytest.skip(f"may mount nothing here: {may.stderr.strip()}")
    here = (*alone, "env", "--chdir", str(ROOT))
    with open(tmp_path.parent / "log", "w+b") as stderr:
        running = Printed(
            digits_onnx,
            stderr.fileno(),
            lambda: until_written(tmp_path.parent / "log"),
            *here,
            RUNTIME_DIRECTORY="/run",
        )
    token = Path(f"/proc/{running.process.pid}/root").joinpath(*re.search(r"in /(\S+)", running.line)[1].split("/"))
    assert opens(running.line, token.read_text().strip()) == 200
    running.end()


def until_written(log: Path) -> str:
    wait_until(lambda: "dashboard at" in log.read_text())
    return log.read_text()


def test_a_terminal_is_shown_the_address_with_its_token(digits_onnx: Path) -> None:
    ours, its = os.openpty()
    with os.fdopen(ours, errors="replace") as reads:
        running = Printed(digits_onnx, its, reads.readline, INVOCATION_ID="1", NO_COLOR="1")
        os.close(its)
        token = re.search(r"/\?token=([\w-]+)", running.line)
        assert token and opens(running.line, token[1]) == 200
        running.process.terminate()
        running.process.communicate(timeout=60)


def test_a_token_that_was_given_is_named_not_printed_and_written_nowhere(digits_onnx: Path, tmp_path: Path) -> None:
    token, log = "A-given_token-0123456789-abc", tmp_path / "log"
    with open(log, "wb") as stderr:
        given = {"PLIF_DASHBOARD_TOKEN": token, "RUNTIME_DIRECTORY": "/nowhere"}
        running = Printed(digits_onnx, stderr.fileno(), lambda: until_written(log), **given)
    assert "PLIF_DASHBOARD_TOKEN" in running.line and opens(running.line, token) == 200
    assert token not in running.end() + log.read_text()


def test_where_no_folder_takes_the_token_one_line_says_so_and_nothing_is_streamed(digits_onnx: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "runtime.core.cli",
        "stream",
        str(digits_onnx),
        "sim:digits?seconds=0.1",
        "--dashboard",
    ]
    environment = {**without_places(), "RUNTIME_DIRECTORY": "/nowhere/at/all"}
    done = subprocess.run([*command, "0"], capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 2 and not done.stdout and len(done.stderr.splitlines()) == 1, done.stderr
    assert "/nowhere/at/all" in done.stderr and "RUNTIME_DIRECTORY" in done.stderr
