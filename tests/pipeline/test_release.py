"""`make release`: from the archive to a decision on a recording with a C compiler alone, by the commands of docs/edge.md."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

import runtime
from docs.release import make_release
from runtime import native

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.skipif(
        not (shutil.which("cc") and shutil.which("make")), reason="no C compiler or make on this machine"
    ),
    pytest.mark.skipif(not native.is_built(), reason="the native library is not built here: it needs a C compiler"),
]


def test_the_commands_of_the_docs_lead_from_the_archive_to_a_decision(tmp_path: Path, nmnist: Path) -> None:
    archive = make_release(tmp_path / "dist", models=("nmnist-digits",), verify=False, settings=("CFLAGS=-O0", "-j2"))
    commands = re.search(r"```sh\n(tar xzf.*?)```", (ROOT / "docs/edge.md").read_text(), re.DOTALL)
    assert commands is not None and archive.name in commands[1]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.move(archive, elsewhere)
    clean = {"PATH": "/usr/bin:/bin", "HOME": str(elsewhere)}
    done = subprocess.run(
        ["sh", "-e", "-c", commands[1]], cwd=elsewhere, env=clean, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    folder = elsewhere / archive.name.removesuffix(".tar.gz")
    model, recording = folder / "models/nmnist-digits.plif", folder / "recordings/simulated-digits.bin"
    said = [line.split()[4] for line in done.stdout.splitlines()]
    assert said == [d.label or "-" for d in runtime.load(model).stream(str(recording))] and len(said) > 5
    for real in sorted(nmnist.glob("Test/[37]/*.bin"))[::12]:
        words = [folder / "decide", model, real]
        lines = subprocess.run(words, env=clean, capture_output=True, text=True, check=True).stdout.splitlines()
        assert len(lines) == 10 and lines[-1].split()[4] == real.parent.name
    if shutil.which("pkg-config"):
        flags = subprocess.run(
            ["pkg-config", "--cflags", "--libs", "plif"],
            env={**clean, "PKG_CONFIG_PATH": str(folder / "lib/pkgconfig")},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        subprocess.run(["cc", folder / "examples/step.c", "-o", folder / "step", *flags], check=True, env=clean)
    assert (folder / "README.md").read_text() == (ROOT / "docs/edge.md").read_text()
    assert {"plif.h", "session/session.c", "Makefile", "plif.pc.in"} <= {
        str(path.relative_to(folder / "src")) for path in (folder / "src").rglob("*")
    }


def test_two_releases_are_the_same_bytes_and_name_what_was_compiled(tmp_path: Path) -> None:
    """In two folders, with two umasks and two hours."""
    pytest.importorskip("cyclonedx", reason="cyclonedx-bom comes with the extra dev")
    from tests.docs.test_sbom import check_files, explain_errors

    archives = []
    for folder, umask in (("one", 0o022), ("a longer one", 0o077)):
        before = os.umask(umask)
        try:
            out = tmp_path / folder
            archives.append(make_release(out, ("nmnist-digits",), verify=False, settings=("CFLAGS=-O0", "-j2")))
        finally:
            os.umask(before)
        time.sleep(1.1)  # gzip and tar count in seconds
    assert archives[0].read_bytes() == archives[1].read_bytes()
    name = archives[0].name.removesuffix(".tar.gz")
    with tarfile.open(archives[0]) as archive:
        inside = {member.name.removeprefix(f"{name}/"): member for member in archive}
        files = {path: archive.extractfile(member).read() for path, member in inside.items() if member.isfile()}  # type: ignore[union-attr]
    assert {path for path, member in inside.items() if member.issym()} == {"lib/libplif.so", "lib/libplif.so.1"}
    bill = files["libplif.cdx.json"]
    document = json.loads(bill)
    assert not explain_errors(bill) and document["metadata"]["component"]["name"] == "libplif"
    assert check_files(document, files) == {"libplif"} and len(document["components"]) == 2
