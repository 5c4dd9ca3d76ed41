"""SECURITY.md, "Nothing is sent anywhere": every command runs with an empty home folder and is watched (watch.c, preloaded).

Watched are names that are looked up, addresses that are spoken to, and files that are written, in Python, in native code and in
all processes that a command starts. The commands share a process, except for what they start: a library is imported only once.
What is written into the temporary folder has to be gone at the end.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest

from plif_export.core.targets import list_targets
from runtime.core.cli.main import list_all_commands
from runtime.core.engines.available import explain_missing
from runtime.engines.webgpu.vulkan import SOFTWARE
from tests.docs.workshop import fill
from tests.live import free_port

# What may stay in the home folder: docs/files.md has this list.
CACHES = (".cache/plif/engines", ".local/state/plif", ".cache/matplotlib", ".config/matplotlib")

# Runs each command, and says of each what it answered and what was seen meanwhile.
RUNNER = """
import contextlib, io, json, os, sys
from runtime.core.cli.main import run

if __name__ == "__main__":
    said, commands = [], json.loads(sys.argv[1])
    with open(os.environ["WATCH_LOG"], "a+") as log:
        for command in commands:
            out, err = io.StringIO(), io.StringIO()
            log.seek(0, 2)
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                sys.argv = ["plif", *command.split()]  # which `plif train --devices` hands on to its processes
                code = run(sys.argv[1:])
            said.append((code, err.getvalue(), log.read().splitlines()))
    print(json.dumps(said))
"""
TINY = "train c4k8s8-BN-PLIF-FC20-PLIF-APk2s2 --data digits:4 --T 2 --batch-size 2 --epochs 1"
# command -> the files and folders that it was asked for
MADE = {
    "--help": "",
    "--version": "",
    "info": "",
    "info model.onnx": "",
    "data": "",
    "check model.pt": "",
    "verify model.onnx --against model.pt": "",
    "export model.pt -o o.onnx --precision int8": "o.onnx o.onnx.report.json o.onnx.certificate.json",
    "export model.pt -o o.plif --to plif": "o.plif o.plif.report.json",
    "export model.pt -o o.c --to c": "o.c o.h o.c.report.json",
    "export model.pt -o o.html --to web": "o.html o.html.report.json",
    "export model.pt -o o_openvino --to openvino": "o_openvino o_openvino.report.json",
    "export model.pt -o o.nir --to nir --set votes=fold": "o.nir o.nir.report.json",
    "export model.pt -o o_triton --to triton": "o_triton o_triton.report.json",
    "export model.pt -o o.engine --to tensorrt": "",
    "export model.pt -o o.engine --to tensorrt-rtx": "",
    "eval model.onnx --data digits:10 --out evaluated": "evaluated",
    "eval model.onnx --data digits:8 --workers 2": "",
    "predict model.onnx recordings --out predicted.csv": "predicted.csv",
    "eval model.onnx --data digits:10 --calibrate-exit 50% -o early.onnx": "early.onnx",
    "stream model.onnx recording.bin": "",
    "stream model.onnx recording.bin --engine event --record recorded": "recorded",
    "stream model.onnx recording.bin --engine onnxruntime": "",
    "stream o_openvino recording.bin --engine openvino": "",
    "stream model.pt recording.bin --engine torch": "",
    "stream model.onnx udp://127.0.0.1:PORT?format=t64&sensor=34x34&end=0.3s --framing duration:20ms --dashboard 0": "",
    "send recording.bin udp://127.0.0.1:9 --speed max": "",
    "record sim:digits?seed=1&seconds=60 --guide --classes a,b --rounds 2 --seconds 1 --pause 0.1 --out asked": "asked",
    "bench model.onnx o_openvino --seconds 0.1": "",
    f"{TINY} --out t.pt --tensorboard": "t.pt t.csv t.weights.csv t.resume.pt t.tensorboard",
    "paper figures t.pt --data digits:4 --out figures": "figures",
    "paper --list": "",
}
LARGE = {
    "demo --out demonstrated": "demonstrated",
    "data gesture-sim --train 1 --test 1 --out simulated": "simulated",
    f"{TINY} --out u.pt --devices cpu:2": "u.pt u.csv u.weights.csv u.resume.pt",
    "eval model.onnx --data digits:8 --cluster local --out clustered": "clustered",
}
# Targets that are refused with one line where their GPU is not.
NO_GPU = [name for name in ("tensorrt", "tensorrt-rtx") if explain_missing(name)]
# Whom a command may speak to beyond what it names: processes that share a work meet at this machine's own address. So do those of
# Ray, which also asks for this machine's name, and asks port 9 for those of others (runtime/core/base/telemetry.py).
CLUSTER = "--cluster local"
MEETS = f"{CLUSTER}|--devices"
OWN = r"(name (localhost|127\.0\.0\.1)|address (::ffff:)?127\.0\.0\.1:\d+)$"


class Seen(NamedTuple):
    code: int
    err: str
    log: list[str]  # lines of watch.c


class Watch:
    """Runs programs that are watched, in a folder with the workshop's files and with an empty home."""

    def __init__(self, library: Path, base: Path, temporary: Path, workshop: Path) -> None:
        self.folder, self.home, self.log = (base / name for name in ("here", "home", "log"))
        self.temporary = temporary
        shutil.copytree(workshop, self.folder)
        self.home.mkdir()
        self.before = set(self.folder.iterdir())
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH") if name in os.environ}
        self.environment = kept | {
            "HOME": str(self.home), "TMPDIR": str(self.temporary), "LD_PRELOAD": str(library), "WATCH_LOG": str(self.log),
            "PYTHONDONTWRITEBYTECODE": "1",  # whoever installs plif has compiled it
        }  # fmt: skip

    def python(self, *arguments: str) -> str:
        """What a watched Python prints."""
        command = [sys.executable, *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run(self, commands: Sequence[str]) -> dict[str, Seen]:
        script = self.folder.parent / "runner.py"
        script.write_text(RUNNER)
        said = json.loads(self.python(str(script), json.dumps(commands).replace("PORT", str(free_port()))))
        return {command: Seen(*seen) for command, seen in zip(commands, said, strict=True)}

    def seen(self) -> list[str]:
        """All of the log."""
        return self.log.read_text().splitlines() if self.log.exists() else []

    def unasked(self, log: Sequence[str], made: str, command: str = "") -> list[str]:
        """The lines of what was neither asked for nor named in the documents."""
        exactly = [f"address {address}" for address in re.findall(r"udp://([\d.]+:\d+)", command)]
        exactly += [f"write {self.temporary}"]
        exactly += [f"write {self.home / cache}" for path in CACHES for cache in Path(path).parents]
        # what was asked for, and what lies beside it meanwhile
        written = [f"{self.folder}/{dot}{name}" for name in made.split() for dot in ("", ".")]
        written += ["/dev/null", f"{self.temporary}/", *(f"{self.home}/{cache}" for cache in CACHES)]
        if command.startswith("info") or "webgpu" in command:
            written += ["/dev/udmabuf", "/dev/dri/", "/dev/nvidia"]  # Vulkan's drivers open what may be a GPU
        if CLUSTER in command:
            written += ["/proc/"]  # which process to end first where memory is short
        allowed = [f"{re.escape(line)}$" for line in exactly] + [f"write {re.escape(start)}" for start in written]
        allowed += [OWN] if re.search(MEETS, command) else []
        return [line for line in log if not re.match("|".join(allowed), line)]

    def left(self, made: str = "") -> set[Path]:
        """What lies here at the end and was neither asked for nor named in the documents, or was asked for and is missing."""
        asked = {self.folder / name for name in made.split()}
        kept = [self.home / cache for cache in CACHES]
        found = [path for base in (self.home, self.temporary) for path in base.rglob("*") if not path.is_dir()]
        unnamed = {path for path in found if not any(path.is_relative_to(one) for one in kept)}
        return unnamed | ((set(self.folder.iterdir()) - self.before) ^ asked)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """watch.c, compiled."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or sys.platform != "linux":
        pytest.skip("what a process does is watched by a preloaded library, which needs Linux and a C compiler")
    made = tmp_path_factory.mktemp("watch") / "watch.so"
    source = Path(__file__).with_name("watch.c")
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([compiler, *flags, "-o", made, source, "-ldl"], check=True)
    return made


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workshop")
    fill(folder)
    return folder


@pytest.fixture
def watch(library: Path, tmp_path: Path, workshop: Path) -> Iterator[Watch]:
    with TemporaryDirectory() as temporary:  # its name is short: Ray puts sockets there
        yield Watch(library, tmp_path, Path(temporary), workshop)


@pytest.fixture(scope="module")
def ran(
    library: Path, tmp_path_factory: pytest.TempPathFactory, workshop: Path
) -> Iterator[tuple[Watch, dict[str, Seen]]]:
    with TemporaryDirectory() as temporary:
        watch = Watch(library, tmp_path_factory.mktemp("watched"), Path(temporary), workshop)
        yield watch, watch.run([*MADE])


@pytest.mark.parametrize("command", MADE)
def test_a_command_asks_nobody_and_writes_what_was_asked_for(ran: tuple[Watch, dict[str, Seen]], command: str) -> None:
    watch, seen = ran
    code, err, log = seen[command]
    assert code == (2 if command.split()[-1] in NO_GPU else 0), err
    assert not watch.unasked(log, MADE[command], command)


def test_nothing_is_left_but_what_was_asked_for_and_the_caches_that_the_documents_name(
    ran: tuple[Watch, dict[str, Seen]],
) -> None:
    assert not ran[0].left(" ".join(MADE.values()))


@pytest.mark.large
@pytest.mark.parametrize("command", LARGE)
def test_a_long_command_asks_nobody_and_writes_what_was_asked_for(watch: Watch, command: str) -> None:
    if CLUSTER in command:
        pytest.importorskip("ray", reason="clusters need Ray")
    code, err, log = watch.run([command])[command]
    assert code == 0, err
    assert not watch.unasked(log, LARGE[command], command)
    assert not watch.left(LARGE[command])


def test_every_command_and_every_target_is_watched() -> None:
    lines = [line.split() for line in (*MADE, *LARGE)]
    watched = {both if (both := " ".join(line[:2])) in list_all_commands() else line[0] for line in lines}
    assert {name for name in watched if not name.startswith("-")} == set(list_all_commands())
    assert {line[line.index("--to") + 1] for line in lines if "--to" in line} | {"onnx"} == set(list_targets())


@pytest.mark.parametrize("ours", ["runtime", "plif_train", "plif_export"])
def test_importing_one_of_our_packages_silences_libraries_that_are_imported_behind_it(watch: Watch, ours: str) -> None:
    pytest.importorskip("openvino")
    watch.python("-c", f"import {ours}, onnxruntime, openvino; openvino.convert_model")
    assert not watch.seen() and not watch.left()


@pytest.mark.machines
def test_a_program_that_exports_and_streams_with_openvino_sends_nothing(watch: Watch) -> None:
    pytest.importorskip("openvino")
    said = watch.python(
        "-c",
        "import plif_export, runtime\n"
        "path = plif_export.export('model.pt', 'o_openvino', to='openvino').path\n"
        "print(len(list(runtime.load(path).stream('recording.bin'))))",
    )
    assert int(said) > 0
    made = "o_openvino o_openvino.report.json"
    assert not watch.unasked(watch.seen(), made) and not watch.left(made)


@pytest.mark.machines
def test_the_plug_in_for_gpus_sends_nothing(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SOFTWARE, "1")
    if (why := explain_missing("webgpu")) is not None:
        pytest.skip(f"the engine webgpu cannot run here: {why}")
    watch.environment |= {SOFTWARE: "1", "MESA_SHADER_CACHE_DISABLE": "true"}
    command = "eval model.onnx --data digits:4 --workers 1 --engine webgpu"
    code, err, log = watch.run([command])[command]
    assert code == 0, err
    assert not watch.unasked(log, "", command)
    assert not watch.left()


def test_a_switch_that_the_user_has_set_stays(watch: Watch) -> None:
    watch.environment["RAY_USAGE_STATS_ENABLED"] = "1"
    assert watch.python("-c", "import runtime, os; print(os.environ['RAY_USAGE_STATS_ENABLED'])") == "1\n"


# What openvino_telemetry does, and by datagrams: in a process that was forked.
REPORT = """
import multiprocessing, os, socket
def send():
    open(os.path.expanduser("~/id"), "w").close()
    try:
        socket.getaddrinfo("reports.invalid", 443)
    except OSError:
        pass
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.connect(("127.0.0.1", 9))
        out.sendto(b"", ("127.0.0.2", 9))
multiprocessing.get_context("fork").Process(target=send).start()
"""


def test_the_watch_sees_what_a_process_of_a_process_does(watch: Watch) -> None:
    watch.python("-c", REPORT)
    expected = [f"write {watch.home}/id", "name reports.invalid", "address 127.0.0.1:9", "address 127.0.0.2:9"]
    assert watch.seen() == expected == watch.unasked(expected, "")
    assert watch.left() == {watch.home / "id"}
