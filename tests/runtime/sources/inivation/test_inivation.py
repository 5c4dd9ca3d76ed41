"""iniVation's TCP server, a real one in another process."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.core.base.errors import MissingExtra, PlifError
from runtime.core.cli.main import run
from runtime.core.events import EVENT_DTYPE, events_sha256, make_events, open_source
from runtime.sources import inivation
from tests.lies import NO_JSON, SAYS
from tests.live import free_port

# Serves events until it is told, on stdin, to end. os._exit: a writer that is deleted before its reader hangs in 2.0.4.
SERVER = """
import os, sys, time
import dv_processing as dv
writer = dv.io.NetworkWriter("127.0.0.1", int(sys.argv[1]), dv.io.Stream.EventStream(0, "events", "CAM", (346, 260)))
print("listening", flush=True)
while writer.getClientCount() < 1:
    time.sleep(0.01)
for k in range(int(sys.argv[2]), int(sys.argv[3])):
    store = dv.EventStore()
    for i in range(100):
        store.push_back(1000 * k + 7 * i + 1, (3 * i + k) % 346, i % 260, bool(i & 1))
    writer.writeEvents(store)
    time.sleep(0.005)
time.sleep(0.3)
os._exit(0)
"""


def served(begin: int, end: int) -> np.ndarray:
    i = np.arange(100)
    return np.concatenate(
        [make_events(1000 * k + 7 * i + 1, (3 * i + k) % 346, i % 260, i & 1) for k in range(begin, end)]
    )


@contextmanager
def server(port: int, begin: int, end: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", SERVER, str(port), str(begin), str(end)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "listening\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_events_of_an_inivation_server_arrive_whole_and_a_server_that_comes_back_is_found() -> None:
    pytest.importorskip("dv_processing", reason="the extra [inivation] is not installed")
    port = free_port()
    said: list[str] = []
    packets: list[Any] = [np.empty(0, EVENT_DTYPE)]
    with server(port, 0, 20):
        source: Any = open_source(f"tcp://127.0.0.1:{port}?end=8s")
        source.say = said.append
        assert source.sensor == (346, 260) and source.live and source._child is not None
        reading = threading.Thread(target=lambda: packets.extend(packet.copy() for packet in source.packets()))
        reading.start()
        _until(lambda: sum(map(len, packets)) == 2000)
    with server(port, 20, 30):
        _until(lambda: sum(map(len, packets)) == 3000)
        source.close()
        reading.join(timeout=10)
    assert not reading.is_alive()
    assert events_sha256(np.concatenate(packets)) == events_sha256(served(0, 30))
    assert source.returns == 1 and source.invalid == 0
    assert "lost" in said[0] and "back after" in said[-1]


def _until(true: Any, seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def test_a_server_that_is_not_there_is_one_line(capsys: Any) -> None:
    pytest.importorskip("dv_processing", reason="the extra [inivation] is not installed")
    with pytest.raises(PlifError, match="nobody answers there"):
        open_source(f"tcp://127.0.0.1:{free_port()}")


def test_a_missing_extra_names_what_to_install(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setitem(sys.modules, "dv_processing", None)  # as if it were not installed
    with pytest.raises(MissingExtra, match=r"pip install 'plif\[inivation\]'"):
        open_source("tcp://127.0.0.1:7")
    assert run(["stream", "missing.onnx", "tcp://127.0.0.1:7"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "said", [*NO_JSON, "[1e999, 1]", "[NaN, 1]", "[-5, 1]", "[1000000000, 8]"], ids=lambda value: value[:30]
)
def test_a_reader_of_a_server_that_names_no_size_is_one_line(
    said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("dv_processing")
    program = tmp_path / "reader.py"
    program.write_text(SAYS.format(said=said).replace('b"H"', 'b"C"'))
    monkeypatch.setattr(inivation, "CHILD_PROGRAM", program)
    with pytest.raises(PlifError, match="what was read of it is invalid"):
        open_source("tcp://127.0.0.1:7777")
