"""A real systemd, booted in a container over this machine's files, which it cannot change, with no network but its own loopback.

    boot(folder, "driver.py")       runs folder/driver.py there as root and waits; the folder is /opt/try there, to be written

/opt/plif/bin/plif and python are those of this working tree there, so docs/plif.service runs as it stands.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY

MOUNTED = """
set -e
mount -t tmpfs none "$1" && mkdir "$1/up" "$1/work" "$1/root"
mount -t overlay none -o "lowerdir=/,upperdir=$1/up,workdir=$1/work" "$1/root"
root=$1; shift
exec systemd-nspawn --quiet --register=no --keep-unit --private-network --directory "$root/root" "$@"
"""
DRIVER = """
[Unit]
DefaultDependencies=no
Requires=systemd-journald.service
After=systemd-journald.service
[Service]
Type=oneshot
Environment=PYTHONPATH={path} LD_LIBRARY_PATH=/opt/plif/python/lib
ExecStart=/opt/plif/python/bin/{python} /opt/try/{script}
StandardOutput=file:/opt/try/driver.log
StandardError=inherit
TimeoutStartSec=240
ExecStopPost=/bin/systemctl --force --no-block exit
"""
PROGRAM = """#!/bin/sh
PYTHONPATH={path} LD_LIBRARY_PATH=/opt/plif/python/lib exec /opt/plif/python/bin/{python} {words} "$@"
"""


def missing() -> str | None:
    """Why none can be booted here."""
    if os.getuid() or not all(map(shutil.which, ("systemd-nspawn", "unshare"))):
        return "needs root and systemd-nspawn (apt: systemd-container)"
    done = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, text=True)
    return f"may mount nothing here: {done.stderr.strip()}" if done.returncode else None


def boot(folder: Path, script: str, unit: Path) -> str:
    """Runs `folder`/`script` under systemd with this further unit; returns what it printed."""
    python = Path(os.path.realpath(sys.executable)).name
    packages = [place for place in sys.path if place.endswith("-packages")]
    path = ":".join(["/opt/plif/source", *(f"/opt/plif/packages{i}" for i in range(len(packages)))])
    made = folder / "made"
    (made / "bin").mkdir(parents=True)
    for program, words in {"plif": "-m runtime.core.cli", "python": ""}.items():
        (made / "bin" / program).write_text(PROGRAM.format(python=python, path=path, words=words))
        (made / "bin" / program).chmod(0o755)
    (made / "root").mkdir()
    folder.chmod(0o755)
    shown = {
        "/opt/plif/bin": made / "bin",
        "/opt/plif/python": Path(sys.base_prefix),
        "/opt/plif/source": REPOSITORY,
        "/etc/systemd/system/driver.service": made / "driver.service",
        f"/etc/systemd/system/{unit.name}": unit,
        **{f"/opt/plif/packages{i}": Path(place) for i, place in enumerate(packages)},
    }
    (made / "driver.service").write_text(DRIVER.format(python=python, path=path, script=script))
    binds = [f"--bind-ro={here}:{there}" for there, here in shown.items()]
    command = ["unshare", "-m", "sh", "-c", MOUNTED, "sh", str(made / "root"), *binds, f"--bind={folder}:/opt/try"]
    done = subprocess.run([*command, "--boot", "systemd.unit=driver.service"], capture_output=True, timeout=300)
    log = folder / "driver.log"
    assert log.exists(), done.stdout[-2000:] + done.stderr
    return log.read_text()
