"""Python in a process of its own, which imports nothing from the folder that the user happens to be in.

What `python -P` does, since Python 3.11: a file json.py or aedat.py there is not taken for the module of that name.

A `Child` reads a file of somebody else. It keeps to the measure of that file, since a library that it uses may turn in a circle:

    processor time  FREE_SECONDS, and a second more for each BYTES_PER_SECOND of the file
    waiting         WAITS times as long; it counts while we wait for the child, and not while the child waits for us
    memory          as much as its script says
    files           MOST_OPEN at once, and into none it writes a byte: there is no limit for all files of a process together

And it has no rights but these, from before its script begins (sandbox.py): to read Python with its libraries, the script and what
its standard input is.
"""

from __future__ import annotations

import json
import math
import os
import re
import resource
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from runtime.core.base.errors import PlifError
from runtime.formats.child.sandbox import SYSTEM, Rights, give_up

SAFE_PATH = "import sys; sys.path[:] = [place for place in sys.path if place]; "
ROOT = Path(__file__).parents[3]  # where `runtime` lies, also where it is no installed package
SETUP = f"{SAFE_PATH}sys.path.append({str(ROOT)!r}); del sys.argv[0]; "
CONFINED = "from runtime.formats.child.children import confine; confine({network}); "
RUN = "import runpy; runpy.run_path(sys.argv[0], run_name='__main__')"
# Small messages that are packed well take longest: a second for 1.7 MB here. A slow board takes ten times as long.
FREE_SECONDS, BYTES_PER_SECOND = 10, 100_000
WAITS = 10  # a disk may be slow, and other programs may have the processors
SLICE_S = 1.0
MOST_OPEN = 64
PARTS = ("limits", "seccomp", "landlock")
# What Python and its libraries are found by. The rest may hold secrets, and a reader of a server has somebody to tell.
ENVIRONMENT = re.compile(
    r"PATH|HOME|TZ|LANG|LC_\w+|LD_\w+|\w*(PYTHON|LIBRARY_|PLUGIN_)PATH|PYTHON(HOME|UTF8|USERBASE|NOUSERSITE)"
)
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "BLOSC_NTHREADS"), "1")


def run_script(script: Path, *arguments: str, first: str = "") -> list[str]:
    """The command that runs a script; its own folder is not imported from, either. first: code that is run before it"""
    return [sys.executable, "-c", SETUP + first + RUN, str(script), *arguments]


def environment() -> dict[str, str]:
    """What a process without rights gets of ours."""
    return {name: text for name, text in os.environ.items() if ENVIRONMENT.fullmatch(name)}


class Child:
    """Runs a script that reads a file of `size` bytes; what it writes to its standard output is read here.

    The script gets the seconds of processor time as its first argument, before `arguments`, and calls `keep_within` with them.
    stdin    a descriptor: what it is, the script may also open by its name; PIPE for `write`
    network  it may connect
    Raises PlifError where no process can be started.
    """

    def __init__(
        self, script: Path, *arguments: str, size: int, stdin: int | None = None, network: bool = False
    ) -> None:
        import subprocess  # here: who opens other files does not need it

        self.seconds = FREE_SECONDS + math.ceil(size / BYTES_PER_SECOND)
        self._left_s = float(WAITS * self.seconds)
        try:
            self._process = subprocess.Popen(
                run_script(script, str(self.seconds), *arguments, first=CONFINED.format(network=network)),
                stdin=subprocess.DEVNULL if stdin is None else stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**environment(), **ONE_THREAD, "TMPDIR": os.devnull},
            )
        except OSError as error:
            raise PlifError(
                f"no process can be started here to read a file in ({error.strerror}): end others"
            ) from None
        assert self._process.stdout is not None
        self._pipe = self._process.stdout.fileno()
        if self._process.stdin is not None:
            os.set_blocking(
                self._process.stdin.fileno(), False
            )  # one that does not read is not waited for without an end
        self._kept = bytearray()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.__exit__(None, None, None)

    def wait(self, seconds: float) -> bool:
        """Whether there is something to read, or the end, within so many seconds. Those that were waited before do not count."""
        self._left_s = seconds
        found = bool(self._kept) or self._ready(self._pipe, select.POLLIN)
        self._left_s = float(WAITS * self.seconds)
        return found

    def read(self, count: int) -> bytes:
        """So many bytes; fewer where the script has ended, or was ended."""
        while len(self._kept) < count and self._ready(self._pipe, select.POLLIN):
            if not (piece := os.read(self._pipe, 1 << 16)):
                break
            self._kept += piece
        taken = bytes(self._kept[:count])
        del self._kept[:count]
        return taken

    def write(self, data: bytes) -> None:
        """Gives it bytes, where `stdin` is PIPE; fewer where it has ended, or does not take them in time."""
        assert self._process.stdin is not None
        pipe, left = self._process.stdin.fileno(), memoryview(data)
        with suppress(BrokenPipeError):
            while left and self._ready(pipe, select.POLLOUT):
                left = left[os.write(pipe, left) :]

    def _ready(self, pipe: int, event: int) -> bool:
        """Waits until a pipe can be read or written, be it the end; False where that took too long."""
        poll = select.poll()
        poll.register(pipe, event)
        while self._left_s > 0:
            began_s = time.monotonic()
            ready = poll.poll(1000 * min(SLICE_S, self._left_s))
            # Never more than the slice: after Ctrl-Z, which stops the child, too, the clock has gone on.
            self._left_s -= min(time.monotonic() - began_s, SLICE_S)
            if ready:
                return True
        return False

    def end(self) -> tuple[int, str | None]:
        """Waits for its end: its exit code, negative for a signal; and half a line where a limit ended it."""
        while self.read(1 << 16):
            pass
        if self._left_s <= 0:
            self._process.kill()
        code = self._process.wait()
        if self._left_s <= 0:
            return code, f"reading it has not come to an end after {WAITS * self.seconds} s"
        if code == -signal.SIGXCPU:
            return code, f"reading it takes more than {self.seconds} s of processor time"
        return code, None


def not_confined() -> dict[str, str]:
    """{what a `Child` lacks of seccomp and landlock on this machine: why}, as one that is started says."""
    with Child(Path(__file__), size=0) as child:
        said = child.read(1 << 16)
        child.end()
    found: dict[str, str] = json.loads(said) if said else dict.fromkeys(PARTS, "no reader can be started here")
    return found


def confinement() -> tuple[list[str], dict[str, str]]:
    """(what keeps a `Child` from the rest of this machine, {what does not: why})"""
    lacks = not_confined()
    return [part for part in PARTS if part not in lacks], lacks


# --- in the process that reads ----------------------------------------------------------------------------------

_pages: TextIO | None = None  # how much memory it has; opened before it may open nothing
_lacks: dict[str, str] = {}


def confine(network: bool) -> None:
    """Gives up all rights but those that a `Child` has."""
    global _pages
    with suppress(OSError):  # where the system has it
        _pages = open("/proc/self/statm")  # noqa: SIM115  as long as the process lives
    libraries = filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":"))
    read: tuple[str | int, ...] = (
        *sys.path,
        *_linked(),
        sys.prefix,
        sys.base_prefix,
        *SYSTEM,
        *libraries,
        sys.argv[0],
        0,
    )
    _lacks.update(give_up(Rights(read, network=network, threads=network)))


def _linked() -> Iterator[str]:
    """Where packages lie of which links stand in sys.path, as some installers make them: of each, or of all files in each."""
    for site in sys.path:
        with suppress(OSError):
            for package in os.scandir(site) if site.endswith(("site-packages", "dist-packages")) else ():
                if package.is_symlink():
                    yield os.path.realpath(package)
                elif package.is_dir() and (link := next(filter(os.DirEntry.is_symlink, os.scandir(package)), None)):
                    yield os.path.dirname(os.path.realpath(link))


def keep_within(seconds: int, memory: int) -> None:
    """Limits this process, which is about to read a file: to so many seconds and bytes beyond what it has taken so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    if seconds != resource.RLIM_INFINITY:
        seconds += math.ceil(used.ru_utime + used.ru_stime)
        _limit(resource.RLIMIT_CPU, seconds, seconds + 1)  # at the first SIGXCPU, by which end() knows it
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_NOFILE, MOST_OPEN)
    if _pages is not None:
        _pages.seek(0)
        now = int(_pages.read().split()[0]) * resource.getpagesize()
        _limit(resource.RLIMIT_AS, now + memory)


def _limit(what: int, soft: int, hard: int | None = None) -> None:
    """Nobody may raise a limit that is lower already."""
    hard, most = soft if hard is None else hard, resource.getrlimit(what)[1]
    if most != resource.RLIM_INFINITY:
        soft, hard = min(soft, most), min(hard, most)
    resource.setrlimit(what, (soft, hard))


if __name__ == "__main__":
    from runtime.formats.child import children

    print(json.dumps(children._lacks))
