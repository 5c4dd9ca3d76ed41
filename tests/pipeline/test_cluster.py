"""A cluster runs what anybody with its token sends: a local one is open to nobody else, and two nodes take no other token."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

import runtime
from runtime.measure.evaluate.evaluation import evaluate
from tests.conftest import REPOSITORY
from tests.live import free_port
from tests.pipeline.test_eval_survives import KILLED, fill

pytest.importorskip("ray", reason="clusters need Ray")
pytestmark = [pytest.mark.machines, pytest.mark.filterwarnings("ignore:denormals")]


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


@pytest.mark.large
def test_two_nodes_with_one_token_give_the_same_bytes_and_take_no_other(
    folder: Path, data: str, tmp_path: Path
) -> None:
    """docs/cluster.md, on one machine. `--block` nodes end with their program; `ray stop` would end everybody's."""
    (tmp_path / ".ray").mkdir(mode=0o700)
    (tmp_path / ".ray" / "auth_token").write_text(secrets.token_hex(32))
    environment = {**without_ray(), "HOME": str(tmp_path)}
    port, ray = free_port(), [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus", "1"]
    head = ["--head", "--port", str(port), "--include-dashboard", "false", "--ray-client-server-port", str(free_port())]
    plif = [sys.executable, "-c", "from runtime.cli.main import main; main()", "eval", str(folder / "step.onnx")]
    command = [*plif, "--data", data, "--batch", "8", "--cluster", f"127.0.0.1:{port}", "--out"]

    def say(out: str, **more: str) -> subprocess.CompletedProcess[str]:
        given = {"env": {**environment, **more}, "capture_output": True, "text": True}
        return subprocess.run([*command, str(tmp_path / out)], timeout=300, **given)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as short, ExitStack() as stack:
        for which in ([*head, "--temp-dir", short], ["--address", f"127.0.0.1:{port}"]):
            node = subprocess.Popen(
                [*ray, *which], env={**environment, "RAY_AUTH_MODE": "token"}, stdout=subprocess.PIPE
            )
            stack.enter_context(node)
            stack.callback(node.terminate)
            assert node.stdout is not None
            assert any(b"Ray runtime started" in line for line in node.stdout)
        for why, more in {"InvalidAuthToken": {"RAY_AUTH_TOKEN": "b" * 64}, "there is none": {"HOME": short}}.items():
            refused = say(why, RAY_AUTH_MODE="token", **more)
            assert refused.returncode == 2 and refused.stderr.count("\n") == 1 and why in refused.stderr
        assert say("out").returncode == 0
    evaluate(runtime.load(folder / "step.onnx"), data, batch=1, out=tmp_path / "alone")
    assert (tmp_path / "out" / "predictions.csv").read_bytes() == (tmp_path / "alone" / "predictions.csv").read_bytes()
