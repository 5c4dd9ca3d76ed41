"""A cluster runs what anybody with its token sends: a local one is open to nobody else, and two nodes take no other token."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

import runtime
from runtime.core.measure.evaluate.evaluation import evaluate
from tests.conftest import REPOSITORY
from tests.live import free_port, until
from tests.pipeline.test_eval_survives import KILLED, SAMPLES, fill

pytest.importorskip("ray", reason="clusters need Ray")
pytestmark = pytest.mark.machines


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("cluster"))


@pytest.fixture(scope="module")
def data(folder: Path) -> str:
    return f"nmnist:{folder / 'nmnist'}"


# A program that looks at its own local cluster: where its processes listen, who may read its folder, what it left at home.
ALONE = (
    KILLED.partition("def progress")[0]
    + """
import ipaddress, json

def listens(pids):
    inodes = set()
    for pid in pids:
        try:
            files = [os.readlink(file) for file in Path(f"/proc/{pid}/fd").iterdir()]
        except OSError:  # a process or a file of it that is gone
            continue
        inodes.update(file.removeprefix("socket:[").rstrip("]") for file in files)
    for name in ("tcp", "tcp6"):
        for line in Path("/proc/net", name).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                raw = bytes.fromhex(fields[1].partition(":")[0])
                address = ipaddress.ip_address(b"".join(raw[i : i + 4][::-1] for i in range(0, len(raw), 4)))
                yield str(getattr(address, "ipv4_mapped", None) or address)

def progress(done, total, note, told=[]):
    if not told:
        told.append(True)
        hosts = sorted(listens([os.getpid(), *(pid for pid, _ in below(os.getpid()))]))
        folders = [oct(place.stat().st_mode)[-3:] for place in Path(os.environ["RAY_TMPDIR"]).iterdir()]
        print(json.dumps({"hosts": hosts, "folders": folders, "home": os.listdir(os.environ["HOME"])}))

evaluate(runtime.load(model), data, cluster="local", workers=1, limit=8, progress=progress)
"""
)


def test_a_local_cluster_is_open_to_nobody_else(folder: Path, data: str, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as short:  # paths of sockets have 103 characters
        environment = {**without_ray(), "HOME": str(tmp_path), "RAY_TMPDIR": short}
        command = [sys.executable, "-c", ALONE, str(folder / "step.onnx"), data, "", "live", "1"]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, timeout=500, check=True)
    seen = json.loads(done.stdout)
    assert len(seen["hosts"]) > 3 and set(seen["hosts"]) == {"127.0.0.1"}
    assert seen["folders"] == ["700"] and seen["home"] == []


def without_ray() -> dict[str, str]:
    mine = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return {**mine, "PYTHONPATH": str(REPOSITORY), "RAY_USAGE_STATS_ENABLED": "0"}


def test_a_local_cluster_whose_driver_was_killed_ends_and_leaves_nothing(
    folder: Path, data: str, tmp_path: Path
) -> None:
    """Ray's own agents would live for a minute more, and its folder for ever."""
    with tempfile.TemporaryDirectory() as short:
        command = [sys.executable, "-c", KILLED, str(folder / "step.onnx"), data, str(tmp_path), "die", "1", "local"]
        done = subprocess.run(command, env={**without_ray(), "RAY_TMPDIR": short}, timeout=500)
        assert done.returncode == -signal.SIGKILL and list(tmp_path.glob("shards/0*"))
        until(lambda: not os.listdir(short))
        assert not list(holding(short))


def holding(folder: str) -> Iterator[int]:
    """The processes that have a file of a folder open."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):  # gone, or somebody else's
            files = f"/proc/{pid}/fd"
            if any(os.readlink(f"{files}/{file}").startswith(folder) for file in os.listdir(files)):
                yield int(pid)


@pytest.fixture
def nodes(folder: Path, data: str, tmp_path: Path) -> Iterator[tuple[list[str], dict[str, str], list[int]]]:
    """docs/cluster.md, on one machine: the command that evaluates on two nodes, its environment, and the nodes' processes.
    `--block` nodes end with their program; `ray stop` would end everybody's."""
    (tmp_path / ".ray").mkdir(mode=0o700)
    (tmp_path / ".ray" / "auth_token").write_text(secrets.token_hex(32))
    environment, running = {**without_ray(), "HOME": str(tmp_path)}, []
    port, ray = free_port(), [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus", "1"]
    head = ["--head", "--port", str(port), "--include-dashboard", "false", "--ray-client-server-port", str(free_port())]
    plif = [sys.executable, "-c", "from runtime.core.cli.main import main; main()", "eval", str(folder / "step.onnx")]
    command = [*plif, "--data", data, "--batch", "8", "--cluster", f"127.0.0.1:{port}", "--out"]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as short, ExitStack() as stack:
        for which in ([*head, "--temp-dir", short], ["--address", f"127.0.0.1:{port}"]):
            node = subprocess.Popen(
                [*ray, *which], env={**environment, "RAY_AUTH_MODE": "token"}, stdout=subprocess.PIPE
            )
            stack.enter_context(node)
            stack.callback(node.terminate)
            assert node.stdout is not None
            assert any(b"Ray runtime started" in line for line in node.stdout)
            running.append(node.pid)
        yield command, environment, running


@pytest.mark.large
def test_two_nodes_with_one_token_give_the_same_bytes_and_take_no_other(
    nodes: tuple[list[str], dict[str, str], list[int]], folder: Path, data: str, tmp_path: Path
) -> None:
    command, environment, _ = nodes

    def say(out: str, **more: str) -> subprocess.CompletedProcess[str]:
        given = {"env": {**environment, **more}, "capture_output": True, "text": True}
        return subprocess.run([*command, str(tmp_path / out)], timeout=300, **given)

    empty = str(folder)
    for why, more in {"InvalidAuthToken": {"RAY_AUTH_TOKEN": "b" * 64}, "there is none": {"HOME": empty}}.items():
        refused = say(why, RAY_AUTH_MODE="token", **more)
        assert refused.returncode == 2 and refused.stderr.count("\n") == 1 and why in refused.stderr
    assert say("out").returncode == 0
    evaluate(runtime.load(folder / "step.onnx"), data, batch=1, out=tmp_path / "alone")
    assert (tmp_path / "out" / "predictions.csv").read_bytes() == (tmp_path / "alone" / "predictions.csv").read_bytes()


@pytest.mark.large
def test_a_machine_that_dies_is_one_line_and_its_work_is_done_by_the_others(
    nodes: tuple[list[str], dict[str, str], list[int]], folder: Path, data: str, tmp_path: Path
) -> None:
    command, environment, (_, second) = nodes
    out = tmp_path / "out"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([*command, str(out), "--json"], env=environment, **pipes)
    until(lambda: list(out.glob("shards/0*")))
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == second and "raylet/raylet" in (place / "cmdline").read_text():
                os.kill(int(place.name), signal.SIGKILL)
    said, err = process.communicate(timeout=300)
    assert process.returncode == 0 and json.loads(said)["samples"] == SAMPLES
    assert "(raylet)" not in err and all(line.startswith("plif: ") for line in err.splitlines()), err
    # one core is left: the second actor begins when the first one has nothing more to do
    subprocess.run([*command, str(tmp_path / "again"), "--workers", "2"], env=environment, timeout=100, check=True)
    evaluate(runtime.load(folder / "step.onnx"), data, batch=1, out=tmp_path / "alone")
    for place in (out, tmp_path / "again"):
        assert (place / "predictions.csv").read_bytes() == (tmp_path / "alone" / "predictions.csv").read_bytes()
