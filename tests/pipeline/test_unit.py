"""docs/plif.service: little is open to it, and everything that a stream needs works within it, under a real systemd."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import systemd
from tests.conftest import REPOSITORY

UNIT = REPOSITORY / "docs" / "plif.service"
PLIF, MODEL = "/opt/plif/bin/plif", "/var/lib/plif/model.onnx"
MOST = 2.0  # of 10, by systemd-analyze; 1.2 with version 257
# What the score is made of where no systemd-analyze can say it; each is worth a tenth or more.
CLOSED = ["DynamicUser", "NoNewPrivileges", "PrivateDevices", "PrivateTmp", "PrivateUsers", "ProtectClock"]
CLOSED += ["ProtectControlGroups", "ProtectHome", "ProtectHostname", "ProtectKernelLogs", "ProtectKernelModules"]
CLOSED += ["ProtectKernelTunables", "RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID", "LockPersonality"]
CLOSED += ["MemoryDenyWriteExecute"]
REFUSED = """
import ctypes, mmap, os, socket
def refused(what):
    try:
        what()
    except (OSError, ValueError):
        return True
libc = ctypes.CDLL(None, use_errno=True)
def call(*words):
    if libc.syscall(*words) < 0:
        raise OSError(ctypes.get_errno(), "refused")
for name, what in {
    "memory that is written and run": lambda: mmap.mmap(-1, 4096, prot=7),
    "other sockets": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    "namespaces": lambda: call(272, 0x10000000),
    "files elsewhere": lambda: open("/var/lib/other", "w"),
    "homes": lambda: os.listdir("/root"),
    "devices": lambda: os.listdir("/dev/bus"),
    "priority": lambda: call(141, 0, 0, -1),
}.items():
    print(name, "refused" if refused(what) else "OPEN")
filtered = libc.syscall(317, 2, 0, ctypes.byref(ctypes.c_uint32(0x7FFF0000)))  # seccomp: is SECCOMP_RET_ALLOW there?
print("own filter", "works" if filtered == 0 else ctypes.get_errno())
landlock = libc.syscall(444, None, 0, 1)  # its version; 38 and 95 where the kernel has none
print("own landlock", "works" if landlock > 0 or ctypes.get_errno() in (38, 95) else ctypes.get_errno())
"""
READ = """
import sys
from pathlib import Path
from runtime.core.base.errors import PlifError
from runtime.core.events import open_source
for path in sorted(Path(sys.argv[1]).glob("*.*")):
    try:
        print(path.name, sum(map(len, open_source(str(path)).packets())))
    except PlifError as error:
        print(str(error).replace(sys.argv[1], ""))
"""
WITHIN = {  # name -> commands, one after the other
    "onnxruntime": [f'{PLIF} stream {MODEL} "sim:digits?seed=3&seconds=1" --engine onnxruntime --record ort --json'],
    "event": [f'{PLIF} stream {MODEL} "sim:digits?seed=3&seconds=1" --engine event --record event --json'],
    "threads": [
        f"{PLIF} bench {MODEL} --engine {engine} --threads 2 --seconds 0.1" for engine in ("onnxruntime", "event")
    ],
    "replay": [f"{PLIF} stream {MODEL} ort --json"],
    "recordings": ["/opt/plif/bin/python /opt/try/read.py /opt/plif/source/tests/data/recordings"],
    "refused": ["/opt/plif/bin/python /opt/try/refused.py"],
}


def test_the_unit_scores_below_three_of_ten_where_systemd_analyze_can_say_it() -> None:
    settings = re.findall(r"^([A-Za-z]+)=(.*)$", UNIT.read_text(), re.MULTILINE)
    assert not [name for name in CLOSED if (name, "yes") not in settings]
    assert {("ProtectSystem", "strict"), ("CapabilityBoundingSet", ""), ("SystemCallArchitectures", "native")} <= {
        *settings
    }
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze (apt: systemd); the settings are there")
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(UNIT)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    score = re.search(r"exposure level for plif.service: (\d+\.\d)", said)
    assert score is not None and float(score[1]) <= MOST, said


@pytest.mark.machines
@pytest.mark.skipif(bool(reason := systemd.missing()), reason=str(reason))
def test_everything_that_a_stream_needs_works_within_the_unit(digits_onnx: Path, tmp_path: Path) -> None:
    shutil.copy(digits_onnx, tmp_path / "model.onnx")
    shutil.copy(Path(__file__).with_name("unit_driver.py"), tmp_path / "driver.py")
    (tmp_path / "refused.py").write_text(REFUSED)
    (tmp_path / "read.py").write_text(READ)
    (tmp_path / "within.json").write_text(json.dumps(WITHIN))
    said = systemd.boot(tmp_path, "driver.py", UNIT)
    found = json.loads(said.splitlines()[-1])
    camera = found.pop("plif")
    assert camera["state"] == {
        "ActiveState": "active",
        "StatusText": camera["state"]["StatusText"],
        "NRestarts": "0",
    }, camera
    assert camera["events"] == camera["events sent"] > 1000 and camera["mode"] == 0o600
    assert camera["result"] == "success", camera
    assert (
        not camera["token in journal"] and not camera["token left"] and "/run/plif/plif-8080.token" in camera["journal"]
    )
    assert set(found) == set(WITHIN)
    wrong = {name: text for name, (result, text) in found.items() if result != "success"}
    assert not wrong, wrong
    recordings = [sys.executable, str(tmp_path / "read.py"), str(REPOSITORY / "tests/data/recordings")]
    here = subprocess.run(
        recordings, cwd=REPOSITORY, env={**os.environ, "PYTHONPATH": "."}, capture_output=True, text=True
    )
    assert here.stdout in found["recordings"][1] and here.stdout.count("\n") > 12
    assert "OPEN" not in found["refused"][1] and found["refused"][1].count("works") == 2, found["refused"]
