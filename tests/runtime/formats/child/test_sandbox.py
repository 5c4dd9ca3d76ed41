"""What a decoder that fell to a stranger's file tries from inside, and what is seen of it outside: nothing."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from runtime.core.base.errors import PlifError
from runtime.core.events.formats.base import Losses
from runtime.formats.child import children, sandbox
from runtime.formats.child.children import Child, find_missing_protections, script_command
from runtime.formats.child.records import read_decoded_events

SCRIPT = """
import ctypes, errno, fcntl, json, os, socket, sys, tempfile, termios, threading
from runtime.formats.child.children import limit_resources
from pathlib import Path

if sys.argv[1] != "no limits":
    limit_resources(int(sys.argv[1]), 256 << 20)
port, folder = int(sys.argv[2]), Path(sys.argv[3])

def system(*words):
    library = ctypes.CDLL(None, use_errno=True)
    if library.syscall(*map(ctypes.c_long, words)) < 0:
        raise OSError(ctypes.get_errno(), "")

def thread():
    seen = []
    one = threading.Thread(target=seen.append, args=(1,))
    one.start()
    one.join()
    assert seen

def temporary():
    with tempfile.NamedTemporaryFile(delete=False) as file:
        file.write(b"kept")
    assert Path(file.name).read_bytes() == b"kept"

def lazily():
    import sqlite3
    import wave

TRIED = {
    "connects": lambda: socket.create_connection(("127.0.0.1", port), 1),
    "sends": lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"secret", ("127.0.0.1", port)),
    "listens": lambda: socket.create_server(("127.0.0.1", 0)),
    "connects locally": lambda: socket.socket(socket.AF_UNIX).connect(str(folder / "bus")),
    "starts": lambda: os.waitpid(os.posix_spawn("/bin/sh", ["sh", "-c", "exit 0"], {}), 0),
    "forks": lambda: os.fork() or os._exit(0),
    "becomes": lambda: os.execv("/bin/sh/nothing", ["sh"]),
    "reads passwd": lambda: open("/etc/passwd").read(),
    "reads a file": lambda: (folder / "secret").read_bytes(),
    "lists": lambda: os.listdir(folder),
    "writes": lambda: (folder / "written").write_bytes(b"1"),
    "appends": lambda: (folder / "secret").open("ab").write(b"1"),
    "removes": lambda: (folder / "removed").unlink(),
    "truncates": lambda: os.truncate(folder / "cut", 0),
    "empties": lambda: os.open(folder / "cut", os.O_RDONLY | os.O_TRUNC),
    "empties unopened": lambda: os.open(folder / "cut", 3 | os.O_TRUNC),
    "leases": lambda: fcntl.fcntl(0, fcntl.F_SETLEASE, fcntl.F_RDLCK),
    "changes": lambda: os.chmod(folder / "mine", 0o777),
    "dates": lambda: os.utime(folder / "mine", (1, 1)),
    "links": lambda: os.symlink("/", folder / "link"),
    "signals": lambda: os.kill(os.getppid(), 0),
    "types": lambda: fcntl.ioctl(0, termios.TIOCSTI, b"x"),
    "owns": lambda: fcntl.fcntl(1, fcntl.F_SETOWN, os.getppid()),
    "looks": lambda: open(f"/proc/{os.getppid()}/environ", "rb").read(),
    "opens many": lambda: [open(sys.argv[0]) for _ in range(10_000)],
    "traces": lambda: system(101 if os.uname().machine == "x86_64" else 117, 0x4206, os.getppid(), 0, 0),
    "queues": lambda: system(425, 8, 0),
    "clones": lambda: system(435, 0, 0),
    "watches": lambda: system(294 if os.uname().machine == "x86_64" else 26, 0),
    "asks how full a disk is": lambda: os.statvfs(folder),
    "is another": lambda: system(0x40000000 + 39),
    "threads": thread,
    "temporary": temporary,
    "lazily": lazily,
    "own file": lambda: open("/dev/stdin", "rb").read(),
    "is nobody": lambda: os.setuid(65534),
}
found = {}
for name, tried in TRIED.items():
    try:
        tried()
        found[name] = "done"
    except (OSError, RuntimeError) as error:
        found[name] = errno.errorcode.get(getattr(error, "errno", 0), str(error))
print(json.dumps(found))
"""
REFUSED = {  # what is tried: who refuses it, with what
    **dict.fromkeys(
        ("connects", "sends", "listens", "connects locally", "starts", "forks", "becomes"), ("seccomp", "EPERM")
    ),
    "threads": ("seccomp", "can't start new thread"),
    **dict.fromkeys(("asks how full a disk is", "empties", "empties unopened", "leases"), ("seccomp", "EPERM")),
    "is nobody": ("limits", "EPERM"),
    **dict.fromkeys(("reads passwd", "reads a file", "lists", "writes", "appends", "removes"), ("landlock", "EACCES")),
    **dict.fromkeys(
        ("truncates", "changes", "dates", "signals", "types", "owns", "traces", "watches"), ("seccomp", "EPERM")
    ),
    "links": ("landlock", "EACCES"),
    "looks": ("landlock", "EACCES"),
    "temporary": ("landlock", "ENOENT"),
    "opens many": ("limits", "EMFILE"),
    **dict.fromkeys(("queues", "clones", "is another"), ("seccomp", "ENOSYS")),
}
# What another rule of a machine may refuse, or not know, as well.
UNSURE = {"leases", "is nobody", "types", "traces", "queues", "clones", "is another", "becomes", "opens many"}
STILL = ("lazily", "own file")


class Tried:
    """The script, once without the sandbox and once within."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.script = place / "decoder.py"
        self.script.write_text(SCRIPT)
        self.outside = self.run(confined=False)
        self.inside = self.run()
        self.connected = self.run(network=True)

    def run(self, confined: bool = True, network: bool = False) -> dict[str, str]:
        folder = self.place / f"home {confined} {network}"
        folder.mkdir()
        for name in ("secret", "removed", "cut", "mine"):
            (folder / name).write_bytes(b"secret")
        (folder / "mine").chmod(0o600)
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            socket.socket(type=socket.SOCK_DGRAM) as port,
            socket.socket(socket.AF_UNIX) as bus,
            self.script.open("rb") as file,
        ):
            port.bind(server.getsockname())
            bus.bind(str(folder / "bus"))
            bus.listen()
            server.setblocking(False)
            port.setblocking(False)
            arguments = (str(server.getsockname()[1]), str(folder))
            if confined:
                with Child(self.script, *arguments, size=1 << 20, stdin=file.fileno(), network=network) as child:
                    said = child.read(1 << 16)
                    assert child.end() == (0, None)
            else:
                command = script_command(self.script, "no limits", *arguments)
                done = subprocess.run(command, stdin=file, stdout=subprocess.PIPE, check=True)
                said = done.stdout
            found: dict[str, str] = json.loads(said)
            for name, asked in (("connects", lambda: server.accept()[0].close()), ("sends", lambda: port.recv(9))):
                with suppress(BlockingIOError):
                    asked()
                    found[f"{name} seen"] = "yes"
        left = {
            each.name: (each.read_bytes(), each.stat().st_mode & 0o777) for each in folder.iterdir() if each.is_file()
        }
        as_it_was = {"secret": 0o644, "removed": 0o644, "cut": 0o644, "mine": 0o600}
        umask = os.umask(0)
        os.umask(umask)
        if left != {name: (b"secret", mode if name == "mine" else 0o666 & ~umask) for name, mode in as_it_was.items()}:
            found["files seen"] = "yes"
        return found


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> Tried:
    return Tried(tmp_path_factory.mktemp("tried"))


@pytest.fixture(scope="module")
def lacks() -> dict[str, str]:
    return find_missing_protections()


@pytest.mark.parametrize("name", REFUSED)
def test_a_decoder_that_fell_can_do_nothing_but_decode(tried: Tried, lacks: dict[str, str], name: str) -> None:
    by, error = REFUSED[name]
    if by in lacks:
        pytest.skip(f"no {by}: {lacks[by]}")
    assert tried.inside[name] == error
    assert tried.outside[name] == "done" or name in UNSURE, tried.outside[name]


@pytest.mark.parametrize("name", ["connects seen", "sends seen", "files seen"])
def test_and_nothing_of_it_is_seen_outside(tried: Tried, lacks: dict[str, str], name: str) -> None:
    if lacks:
        pytest.skip(f"not all of it is here: {lacks}")
    assert tried.outside[name] == "yes" and name not in tried.inside


def test_a_reader_of_a_server_may_connect_and_nothing_else(tried: Tried, lacks: dict[str, str]) -> None:
    allowed = {"connects", "sends", "threads", "sends seen", "connects seen"}
    if lacks:
        pytest.skip(f"not all of it is here: {lacks}")
    assert {tried.connected[name] for name in ("connects", "sends", "threads")} == {"done"}
    assert all(said == tried.inside[name] for name, said in tried.connected.items() if name not in allowed)


@pytest.mark.parametrize("name", STILL)
def test_what_a_decoder_needs_it_has(tried: Tried, name: str) -> None:
    """Modules that are imported late, and its file by name."""
    assert tried.inside[name] == tried.outside[name] == "done"


HOARDS = """
import os, sys
from runtime.formats.child.children import limit_resources
limit_resources(int(sys.argv[1]), 256 << 20)
kept, files = 0, []
for place in (os.environ["TMPDIR"], *sys.argv[2:]):
    for number in range(3):
        try:
            files.append(os.open(f"{place}/{os.getpid()}-{number}", os.O_RDWR | os.O_CREAT))
            os.write(files[-1], bytes(1 << 20))
        except OSError:
            pass
        try:
            os.truncate(f"{place}/{os.getpid()}-{number}", 1 << 20)
        except OSError:
            pass
for file in files:
    kept += os.fstat(file).st_size
print(kept)
"""


@pytest.mark.parametrize("landlock", [True, False], ids=["landlock", "limits alone"])
def test_all_files_that_a_decoder_writes_together_hold_nothing(
    landlock: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many, wherever: also where the kernel knows no landlock, and any folder of the user's may be written."""
    script, folder = tmp_path / "script.py", tmp_path / "folder"
    script.write_text(HOARDS)
    folder.mkdir()
    if not landlock:
        monkeypatch.setattr(children, "CONFINED", "")
    with script.open() as file, Child(script, str(folder), "/dev/shm", size=1 << 20, stdin=file.fileno()) as child:
        assert child.read(100) == b"0\n" and child.end() == (0, None)
    for left in Path("/dev/shm").glob(f"{child._process.pid}-*") if Path("/dev/shm").is_dir() else ():
        left.unlink()
    assert landlock == (not list(folder.iterdir())) or "landlock" in find_missing_protections()


def test_it_does_not_get_the_secrets_that_stand_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("REGISTRY_TOKEN", "PYTHONINSPECT", "PYTHONPATH", "LC_TIME"):
        monkeypatch.setenv(name, str(tmp_path))
    script = tmp_path / "script.py"
    script.write_text("import os; print(*os.environ)")
    with Child(script, size=0) as child:
        found = set(child.read(1 << 16).decode().split())
    assert found >= {"PATH", "PYTHONPATH", "LC_TIME", "TMPDIR"} and not found & {"REGISTRY_TOKEN", "PYTHONINSPECT"}


HUNGRY = {
    "memory": ("[bytes(1 << 20) for _ in range(10_000)]", "more than 256 MiB of memory"),
    "time": ("while True: pass", "more than 1 s of processor time"),
    "files": ("[open(__file__) for _ in range(10_000)]", "Too many open files"),
    "disk": ("import tempfile; tempfile.TemporaryFile().write(b'1')", "No usable temporary directory"),
}


@pytest.mark.parametrize("what", HUNGRY)
def test_a_decoder_that_wants_more_than_its_file_is_worth_is_one_line(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "FREE_SECONDS", 1)
    code, reason = HUNGRY[what]
    program, file = tmp_path / "decoder.py", tmp_path / "file"
    program.write_text(
        f"import os\nfrom runtime.formats.child.records import run_decoder\ndef decode(path):\n {code}\nrun_decoder(decode)"
    )
    file.write_bytes(b"")
    with pytest.raises(PlifError, match=reason) as said:
        list(read_decoded_events(program, file, Losses()))
    assert str(said.value).startswith(str(file)) and "\n" not in str(said.value)


def test_info_says_what_a_reader_lacks_here(lacks: dict[str, str]) -> None:
    done = [subprocess.run([sys.executable, "-m", "runtime.core.cli", "info", *words], capture_output=True, text=True)
            for words in ((), ("--json",))]  # fmt: skip
    found = json.loads(done[1].stdout)
    assert found["sandbox_not_here"] == lacks
    assert {*found["sandbox"], *lacks} == {"limits", "seccomp", "landlock"}
    assert all(f"not {name}" in done[0].stdout and why in done[0].stdout for name, why in lacks.items())


WITHOUT = """
import json
from runtime.formats.child.children import find_missing_protections
from runtime.formats.child.sandbox import Rights, apply_seccomp
import ctypes
ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
apply_seccomp(Rights(None, network=True, processes=True, owners=True))
print(json.dumps(find_missing_protections()))
"""


def test_where_the_kernel_has_one_part_only_the_other_is_used_and_it_is_said(lacks: dict[str, str]) -> None:
    """A kernel that does not know landlock: ours, which seccomp makes one for this process and its children."""
    if "seccomp" in lacks:
        pytest.skip(f"no seccomp: {lacks['seccomp']}")
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True)
    assert json.loads(done.stdout) == {"landlock": "this kernel has none (Linux has it since 5.13)"}, done.stderr


@pytest.mark.parametrize(
    ("machine", "header"),
    [("x86_64", "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), ("aarch64", "/usr/include/asm-generic/unistd.h")],
)
def test_the_numbers_of_system_calls_are_those_of_the_kernels_headers(machine: str, header: str) -> None:
    if not Path(header).exists():
        pytest.skip(f"no {header}")
    told = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", Path(header).read_text()))
    groups = (
        sandbox.CONNECT,
        sandbox.SOCKET,
        sandbox.LISTEN,
        sandbox.PROCESSES,
        sandbox.PROGRAMS,
        sandbox.OWNERS,
        sandbox.ALWAYS,
        sandbox.CLONE,
    )
    single = (
        sandbox.OPEN,
        sandbox.OPENAT,
        sandbox.CAPGET,
        sandbox.CAPSET,
        sandbox.IOCTL,
        sandbox.FCNTL,
        sandbox.PRLIMIT,
        sandbox.SECCOMP,
    )
    names = [each for group in (*groups, *single) for each in group.split(",")]
    column = sandbox.ARCHITECTURES[machine][0]
    ours = {each.split()[0]: each.split()[column] for each in names}
    assert len(ours) > 90 and ours == {name: told.get(name, "-") for name in ours}


@pytest.mark.parametrize("whole", [True, False], ids=["a link to a package", "a package of links"])
def test_a_package_that_is_installed_by_links_is_found(
    whole: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As uv and Bazel can: it lies in a cache, which is none of the places of Python."""
    site, cache, script = tmp_path / "site-packages", tmp_path / "cache" / "linked", tmp_path / "script.py"
    for folder in (site, cache):
        folder.mkdir(parents=True)
    (cache / "__init__.py").write_text("from linked import more")
    (cache / "more.py").write_text("")
    if whole:
        (site / "linked").symlink_to(cache)
    else:
        (site / "linked").mkdir()
        for file in cache.iterdir():
            (site / "linked" / file.name).symlink_to(file)
    monkeypatch.setenv("PYTHONPATH", str(site))
    script.write_text("import linked; print(linked.more.__name__)")
    with Child(script, size=0) as child:
        assert child.read(100) == b"linked.more\n"


FEW_FILES = """
import resource, subprocess, tempfile
from pathlib import Path
from runtime.formats.child.children import Child
from runtime.core.base.errors import PlifError
opened = [open("/dev/null") for _ in range(10)]
resource.setrlimit(resource.RLIMIT_NOFILE, (opened[-1].fileno() + 1,) * 2)
try:
    Child(Path(__file__), size=0)
except PlifError as error:
    print(error)
"""


def test_where_no_process_can_be_started_it_is_one_line_and_no_folder_is_left(tmp_path: Path) -> None:
    (tmp_path / "few.py").write_text(FEW_FILES)
    (tmp_path / "tmp").mkdir()
    done = subprocess.run(
        [sys.executable, str(tmp_path / "few.py")],
        env={**os.environ, "PYTHONPATH": str(children.ROOT), "TMPDIR": str(tmp_path / "tmp")},
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith("no process can be started here") and done.stdout.count("\n") == 1, done
    assert not list((tmp_path / "tmp").iterdir())
