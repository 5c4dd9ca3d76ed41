"""One process for a worker that has imported NumPy, h5py and its like, and forks a confined reader for each file.

The readers are those of runtime/formats/child: the same program, confinement and limits, and a process of its own for each
file. Only their imports are made once. For tests of formats and not of the child: `usefixtures("warm_child")`.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

import pytest

from tests.selection.imports import REPOSITORY

IMPORTS = (
    "numpy",
    "h5py",
    "hdf5plugin",
    "aedat",
    "rosbags.rosbag1",
    "rosbags.rosbag2",
    "runtime.formats.child.records",
)


class WarmServer:
    """The process that forks readers; it ends with the pipe that it listens to."""

    def __init__(self) -> None:
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-c", "from tests.warm_child import serve; serve()", str(theirs.fileno())]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
        self.process = subprocess.Popen(command, pass_fds=(theirs.fileno(),), cwd=REPOSITORY, env=environment)
        theirs.close()

    def close(self) -> None:
        self.socket.close()
        self.process.wait()


class WarmReader:
    """A forked reader, with the part of subprocess.Popen that `Child` uses."""

    def __init__(self, server: WarmServer, command: list[str], stdin: int, env: dict[str, str]) -> None:
        output, theirs = os.pipe()
        self.status, their_status = os.pipe()
        request = json.dumps([command[2], command[3:], env]).encode()
        with open(os.devnull) if stdin == subprocess.DEVNULL else contextlib.nullcontext(stdin) as given:
            given = given if isinstance(given, int) else given.fileno()
            socket.send_fds(server.socket, [request], [given, theirs, their_status])
        os.close(theirs)
        os.close(their_status)
        self.stdin: BinaryIO | None = None
        self.stdout: BinaryIO = open(output, "rb", buffering=0)  # noqa: SIM115  closed by __exit__
        self.pid = int.from_bytes(os.read(self.status, 4), "little")
        self.returncode: int | None = None

    def kill(self) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(int.from_bytes(os.read(self.status, 4), "little"))
        return self.returncode

    def __exit__(self, *_: object) -> None:
        self.stdout.close()
        self.wait()
        os.close(self.status)


def serve() -> None:
    """Fork a reader for each request; its parent, a fork too, waits for it and sends its pid and its status."""
    requests = socket.socket(fileno=int(sys.argv[1]))
    for name in IMPORTS:
        with contextlib.suppress(ImportError):
            __import__(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        request, descriptors, _, _ = socket.recv_fds(requests, 1 << 20, 3)
        if not request:
            return
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            requests.close()
            given, output, status = descriptors
            if (reader := os.fork()) == 0:
                os.close(status)
                read(json.loads(request), given, output)
            os.close(given)
            os.close(output)
            os.write(status, reader.to_bytes(4, "little"))
            os.write(status, os.waitpid(reader, 0)[1].to_bytes(4, "little"))
            os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)


def read(request: tuple[str, list[str], dict[str, str]], given: int, output: int) -> None:
    """Become the reader: the code of its command line, with its arguments, environment, input and output."""
    code, arguments, environment = request
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor, place in ((given, 0), (output, 1), (nothing, 2)):
        os.dup2(descriptor, place)
    os.closerange(3, max(given, output, nothing) + 1)
    os.environ.clear()
    os.environ.update(environment)
    sys.stdin, sys.stdout = open(0), open(1, "w")  # noqa: SIM115  until the process ends
    sys.argv = ["-c", *arguments]
    status = 1
    try:
        exec(code, {"__name__": "__main__", "runpy": runpy})
        sys.stdout.flush()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(status)


@pytest.fixture(scope="session")
def warm_server() -> Iterator[WarmServer]:
    server = WarmServer()
    yield server
    server.close()


@pytest.fixture
def warm_child(warm_server: WarmServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers without a pipe to their input are forked instead of started."""
    from runtime.formats.child import children  # a part, which may be removed

    start = subprocess.Popen

    def fork(command: Any, *args: Any, **options: Any) -> Any:
        is_reader = isinstance(command, list) and command[1:2] == ["-c"] and children.SETUP in command[2]
        if not is_reader or options["stdin"] == subprocess.PIPE or options["pass_fds"] or "network=True" in command[2]:
            return start(command, *args, **options)
        return WarmReader(warm_server, command, options["stdin"], options["env"])

    monkeypatch.setattr(subprocess, "Popen", fork)
