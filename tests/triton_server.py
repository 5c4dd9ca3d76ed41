"""A real Triton server for tests: the binary that nvidia-pytriton brings, in an environment of its own (`make triton`).

Found under .triton/ of this repository, or where PLIF_TRITON says. It needs NumPy 1, so it cannot share the tests' own.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
MOST_SECONDS = 100  # a server ends by itself after that, whatever became of the test


def environment() -> Path | str:
    """The folder of the environment that has a server, or why there is none."""
    folder = Path(os.environ.get("PLIF_TRITON") or REPOSITORY / ".triton")
    found = sorted(folder.glob("lib/python3.*/site-packages/pytriton/tritonserver/bin/tritonserver"))
    return folder if found else f"no Triton server in {folder.name}/ (make triton installs one)"


@contextmanager
def serving(repository: Path, log: Path) -> Iterator[str]:
    """Runs a server on a repository; gives HOST:PORT of its HTTP service."""
    folder = environment()
    assert isinstance(folder, Path), folder
    (packages,) = folder.glob("lib/python3.*/site-packages")
    version = packages.parent.name.removeprefix("python")
    server = packages / "pytriton" / "tritonserver"
    backends = log.parent / "backends" / "python"
    backends.mkdir(parents=True, exist_ok=True)
    for file in (
        server / "backends" / "python" / "libtriton_python.so",
        server / "backends" / "python" / "triton_python_backend_utils.py",
        server / "python_backend_stubs" / version / "triton_python_backend_stub",
    ):
        if not (backends / file.name).exists():
            (backends / file.name).symlink_to(file)
    libraries = [str(packages / "nvidia_pytriton.libs"), *_libpython(folder)]
    port = _free_port()
    command = [
        *("timeout", str(MOST_SECONDS), str(server / "bin" / "tritonserver")),
        *(f"--model-repository={repository}", f"--backend-directory={backends.parent}"),
        *(f"--http-port={port}", "--http-address=127.0.0.1", "--allow-grpc=false", "--allow-metrics=false"),
    ]
    settings = {
        **os.environ,
        "LD_LIBRARY_PATH": ":".join(libraries),
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",  # how the backend finds its Python; it ignores PYTHONPATH
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
    }
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=settings, start_new_session=True)
    try:
        _wait_until_ready(port, process, log)
        yield f"127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(3)  # it would wait for connections that are open
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def _libpython(folder: Path) -> list[str]:
    """Where libpython3.x.so lies, which the backend's stub is linked to."""
    python = next(folder.glob("bin/python3.*"))
    code = "import sysconfig; print(sysconfig.get_config_var('LIBDIR'))"
    found = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    return [path for path in (found, sysconfig.get_config_var("LIBDIR")) if path]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    began = time.monotonic()
    while time.monotonic() - began < 60:
        if process.poll() is not None:
            raise AssertionError(f"the server ended with {process.returncode}:\n{log.read_text()[-3000:]}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise AssertionError(f"the server was not ready after 60 s:\n{log.read_text()[-3000:]}")
