"""Runs inside the container of tests/systemd.py: the unit as it stands with a camera, then other commands within its limits.

Prints one JSON document: what `camera` found as "plif", and for each name in within.json [result, what the journal has of it].
"""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.request
from pathlib import Path

DROP_IN = Path("/etc/systemd/system/plif.service.d/try.conf")
UNIT = Path("/etc/systemd/system/plif.service")
SEND = ("/opt/plif/bin/plif", "send", "sim:digits?seed=3&seconds=1", "udp://{}:3333", "--json")


def main() -> None:
    found: dict[str, object] = {"plif": camera()}
    for name, commands in json.loads(Path("/opt/try/within.json").read_text()).items():
        found[name] = within(commands)
    print(json.dumps(found))


def camera() -> dict[str, object]:
    """The service starts, answers with the token of its file, takes each event, and ends."""
    Path("/var/lib/plif").mkdir()
    Path("/var/lib/plif/model.onnx").write_bytes(Path("/opt/try/model.onnx").read_bytes())
    started = call("start", "plif")
    files = list(Path("/run/plif").glob("*.token"))
    if started.returncode or not files:
        return {"started": started.stderr, "journal": journal()}
    token, mode = files[0].read_text().strip(), files[0].stat().st_mode & 0o777
    host = re.findall(r"from=([\d.]+)", UNIT.read_text())[-1]  # the camera's; who sends to an own address sends from it
    subprocess.run(["ip", "address", "add", f"{host}/32", "dev", "lo"], check=True, timeout=60)
    send = [word.format(host) for word in SEND]
    wanted = json.loads(subprocess.run(send, capture_output=True, check=True, timeout=60).stdout)["events"]
    end_s, events = time.monotonic() + 60, -1
    while events != wanted and time.monotonic() < end_s:
        time.sleep(0.1)
        ask = urllib.request.Request("http://127.0.0.1:8080/status", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(ask, timeout=30) as answer:
            events = sum(source["events_in"] for source in json.load(answer)["sources"].values())
    state = {name: property_of("plif", name) for name in ("ActiveState", "StatusText", "NRestarts")}
    call("stop", "plif")
    said = journal()
    return {
        "state": state,
        "events": events,
        "events sent": wanted,
        "mode": mode,
        "result": property_of("plif", "Result"),
        "token in journal": token in said,
        "token left": [str(file) for file in files if file.exists()],
        "journal": said,
    }


def within(commands: list[str]) -> list[str]:
    """Instead of a stream these commands, which end, one after the other; all else of the unit as it is."""
    own = "\n".join(["ExecStart=", *(f"ExecStart={command}" for command in commands)])
    DROP_IN.parent.mkdir(exist_ok=True)
    DROP_IN.write_text(f"[Service]\nType=oneshot\nRestart=no\nWatchdogSec=0\n{own}\n")
    call("daemon-reload")
    call("start", "plif")
    return [property_of("plif", "Result"), journal()]


def call(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemctl", *words], capture_output=True, text=True, timeout=200)


def property_of(unit: str, name: str) -> str:
    return call("show", "--value", f"--property={name}", unit).stdout.strip()


def journal() -> str:
    """What the unit printed since this was asked last."""
    subprocess.run(["journalctl", "--sync"], timeout=60)
    command = ["journalctl", "--output=cat", "--no-pager", "--unit=plif", "--cursor-file=/run/seen"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout


if __name__ == "__main__":
    main()
