"""What a stream tells systemd."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import runtime
from runtime.core.api import Model
from runtime.observers.systemd import Systemd, sd_notify
from tests.recordings import some_events

ROOT = Path(__file__).parents[4]
UNIT = ROOT / "docs" / "plif.service"


@pytest.fixture(scope="module")
def model(digits_onnx: Path) -> Model:
    return runtime.load(digits_onnx, threads=1)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as taking:
        taking.bind(str(tmp_path / "notify"))
        taking.settimeout(60)
        yield taking


def test_systemd_is_told_that_it_began_lives_and_ended(model: Model, manager: socket.socket) -> None:
    told = Systemd.from_environment({"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "300000"})
    assert told is not None
    source = runtime.PushSource(34, 34)
    stream = model.stream(source, framing="duration:10ms", observers=[told])
    thread = threading.Thread(target=lambda: list(stream))
    thread.start()
    try:
        assert manager.recv(4096).decode() == "READY=1\nSTATUS=streaming push"
        told_us = [manager.recv(4096) for _ in range(5)]  # nothing was pushed: the loop waits, and lives
        assert told_us.count(b"WATCHDOG=1") >= 4
    finally:
        stream.controls.end()
        thread.join(10)
    while (text := manager.recv(4096)) != b"STOPPING=1":
        assert text.startswith((b"WATCHDOG=1", b"STATUS="))


def test_a_loop_that_hangs_sends_no_sign_of_life(model: Model, manager: socket.socket) -> None:
    class Hangs(runtime.core.stream.observe.Observer):  # type: ignore[name-defined]
        def on_decision(self, decision: Any) -> None:
            release.wait(60)

    release = threading.Event()
    told = Systemd(manager.getsockname(), 300_000)
    source = runtime.PushSource(34, 34)
    stream = model.stream(source, framing="duration:10ms", observers=[Hangs(), told])
    thread = threading.Thread(target=lambda: list(stream))
    thread.start()
    try:
        source.push(some_events(2000))
        manager.settimeout(2)  # six times what is promised
        with pytest.raises(TimeoutError):
            while True:
                manager.recv(4096)
    finally:
        release.set()
        stream.controls.end()
        thread.join(10)


def test_nobody_is_told_where_systemd_did_not_start_it() -> None:
    assert Systemd.from_environment({}) is None and not sd_notify("READY=1", "/nowhere/at/all")
    other = Systemd.from_environment(
        {"NOTIFY_SOCKET": "@plif-test", "WATCHDOG_USEC": "9", "WATCHDOG_PID": str(os.getpid() + 1)}
    )
    assert other is not None and other._every_s is None


def test_the_command_tells_systemd(digits_onnx: Path, manager: socket.socket) -> None:
    command = [sys.executable, "-m", "runtime.core.cli", "stream", str(digits_onnx), "sim:digits?seed=3&seconds=0.3"]
    environment = {**os.environ, "NOTIFY_SOCKET": manager.getsockname()}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert manager.recv(4096).startswith(b"READY=1") and manager.recv(4096)


def test_the_unit_is_one_that_systemd_understands(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze (apt: systemd)")
    unit = tmp_path / "plif.service"
    unit.write_text(UNIT.read_text().replace("/opt/plif/bin/plif", f'"{sys.executable}"'))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60)
    own = [line for line in done.stderr.splitlines() if "plif.service" in line]
    assert not own, own


def test_the_unit_and_the_page_about_services_agree() -> None:
    text = (ROOT / "docs" / "service.md").read_text()
    assert "plif.service" in text
    settings = dict(re.findall(r"^([A-Za-z]+)=(.*)$", UNIT.read_text(), re.MULTILINE))
    assert settings["Type"] == "notify" and settings["CacheDirectory"] == "plif" and int(settings["WatchdogSec"]) > 3
