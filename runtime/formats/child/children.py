"""Child processes in Python that read untrusted files within limits of time, memory and rights.

The child imports nothing from the user's current folder, as with `python -P` since Python 3.11. So a file json.py or aedat.py
in that folder does not replace the module of that name.

A library that reads a damaged file may loop for ever. So a `Child` has limits that depend on the size of the file:

    processor time  FREE_SECONDS, and a second more for each BYTES_PER_SECOND of the file
    waiting         WAITS times as long; it counts while we wait for the child, not while the child waits for us
    memory          set by its script
    files           MOST_OPEN at once, and it writes to none: the system has no limit for all files of a process together

sandbox.py removes all other rights before the script begins. The child may read Python and its libraries, the script and its
standard input.
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
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from runtime.core.base.errors import PlifError
from runtime.formats.child.sandbox import SYSTEM, Rights, drop_rights

SAFE_PATH = "import sys; sys.path[:] = [place for place in sys.path if place]; "
ROOT = Path(__file__).parents[3]  # the folder of `runtime`, also when it is not installed
SETUP = f"{SAFE_PATH}sys.path.append({str(ROOT)!r}); del sys.argv[0]; "
CONFINED = "from runtime.formats.child.children import confine; confine({network}, {threads}, {files}); "
RUN = "import runpy; runpy.run_path(sys.argv[0], run_name='__main__')"
# Small messages that are packed well take longest: a second for 1.7 MB here. A slow board takes ten times as long.
FREE_SECONDS, BYTES_PER_SECOND = 10, 100_000
WAITS = 10  # a disk may be slow, and other programs may have the processors
SLICE_S = 1.0
MOST_OPEN = 64
PARTS = ("limits", "seccomp", "landlock")
# Variables that locate Python and its libraries. Others may hold secrets, and the child of a network source could send them.
ENVIRONMENT = re.compile(
    r"PATH|HOME|TZ|LANG|LC_\w+|LD_\w+|\w*(PYTHON|LIBRARY_|PLUGIN_)PATH|PYTHON(HOME|UTF8|USERBASE|NOUSERSITE)"
)
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "BLOSC_NTHREADS"), "1")


def script_command(script: Path, *arguments: str, prelude: str = "") -> list[str]:
    """Return the command line that runs a Python script in a child process, without imports from nearby folders.

    prelude  Python code that runs before the script
    """
    return [sys.executable, "-c", SETUP + prelude + RUN, str(script), *arguments]


def filter_environment() -> dict[str, str]:
    """Return the environment variables that a confined child process may see."""
    return {name: text for name, text in os.environ.items() if ENVIRONMENT.fullmatch(name)}


class Child:
    """A confined child process that runs a script to read an untrusted file of `size` bytes.

    The script gets its seconds of processor time as the first argument, before `arguments`, and passes them to
    `limit_resources`. `read` returns the standard output of the script.

    stdin    a descriptor, which the script may also open by its name; PIPE for `write`
    network  the script may connect
    threads  the script may create threads
    pass_fds  descriptors that the script gets under the same numbers: pipes, memory files, and files and folders that it
              may also open by their names
    wait_s   seconds of waiting in place of those for the file's size; they begin anew with each `wait`
    Raises PlifError when no process can be started.
    """

    def __init__(
        self,
        script: Path,
        *arguments: str,
        size: int,
        stdin: int | None = None,
        network: bool = False,
        threads: bool = False,
        pass_fds: Sequence[int] = (),
        wait_s: float | None = None,
    ) -> None:
        import subprocess  # imported here because most formats do not need it

        self.seconds = FREE_SECONDS + math.ceil(size / BYTES_PER_SECOND)
        self._wait_s = float(WAITS * self.seconds) if wait_s is None else wait_s
        self._remaining_s = self._wait_s
        try:
            prelude = CONFINED.format(network=network, threads=threads or network, files=tuple(pass_fds))
            self._process = subprocess.Popen(
                script_command(script, str(self.seconds), *arguments, prelude=prelude),
                stdin=subprocess.DEVNULL if stdin is None else stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=pass_fds,
                env={**filter_environment(), **ONE_THREAD, "TMPDIR": os.devnull},
            )
        except OSError as error:
            raise PlifError(
                f"no process can be started here to read the file ({error.strerror}): end other programs"
            ) from None
        assert self._process.stdout is not None
        self._pipe = self._process.stdout.fileno()
        if self._process.stdin is not None:
            os.set_blocking(self._process.stdin.fileno(), False)  # a child that does not read must not block us
        self._buffer = bytearray()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.__exit__(None, None, None)

    def wait(self, seconds: float) -> bool:
        """Wait for at most `seconds`; return whether the child process has output or has ended by then.

        Time that was spent in earlier waits does not count.
        """
        self._remaining_s = seconds
        is_ready = bool(self._buffer) or self._wait_for_pipe(self._pipe, select.POLLIN)
        self._remaining_s = self._wait_s
        return is_ready

    def read(self, count: int) -> bytes:
        """Read `count` bytes of the child process's output; fewer if the process ended."""
        while len(self._buffer) < count and self._wait_for_pipe(self._pipe, select.POLLIN):
            if not (piece := os.read(self._pipe, 1 << 16)):
                break
            self._buffer += piece
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    def write(self, data: bytes) -> None:
        """Write bytes to the standard input of the child process, if its `stdin` is PIPE.

        The rest is dropped when the child has ended or does not read it in time.
        """
        assert self._process.stdin is not None
        pipe, remaining = self._process.stdin.fileno(), memoryview(data)
        with suppress(BrokenPipeError):
            while remaining and self._wait_for_pipe(pipe, select.POLLOUT):
                remaining = remaining[os.write(pipe, remaining) :]

    def _wait_for_pipe(self, pipe: int, event: int) -> bool:
        """Wait until a pipe of the child process is readable, writable or closed; return False after the time limit."""
        poll = select.poll()
        poll.register(pipe, event)
        while self._remaining_s > 0:
            began_s = time.monotonic()
            ready = poll.poll(1000 * min(SLICE_S, self._remaining_s))
            # At most one slice: while Ctrl-Z stops both processes, the clock runs on.
            self._remaining_s -= min(time.monotonic() - began_s, SLICE_S)
            if ready:
                return True
        return False

    def end(self) -> tuple[int, str | None]:
        """Wait until the child process exits; return its exit code and, if a limit ended it, the reason.

        The code is negative for a signal. The reason is half a line for a message.
        """
        while self.read(1 << 16):
            pass
        code = self._wait_for_exit()
        if code is None:
            self._process.kill()
            code = self._process.wait()
            return code, f"reading it has not come to an end after {self._wait_s:g} s"
        if code == -signal.SIGXCPU:
            return code, f"reading it takes more than {self.seconds} s of processor time"
        return code, None

    def _wait_for_exit(self) -> int | None:
        """Wait until the child process exits, and return its exit code; None after the time limit.

        It may have closed its output and live on.
        """
        from subprocess import TimeoutExpired

        with suppress(TimeoutExpired):
            return self._process.wait(self._remaining_s) if self._remaining_s > 0 else None
        return None


def find_missing_protections() -> dict[str, str]:
    """Test a confined child process, and return the protections that it lacks on this machine, {name: reason}.

    The names are those of PARTS.
    """
    with Child(Path(__file__), size=0) as child:
        output = child.read(1 << 16)
        child.end()
    missing: dict[str, str] = json.loads(output) if output else dict.fromkeys(PARTS, "no reader can be started here")
    return missing


def describe_confinement() -> tuple[list[str], dict[str, str]]:
    """Return (active protections, {missing protection: reason}) of child processes on this machine."""
    missing = find_missing_protections()
    return [part for part in PARTS if part not in missing], missing


# --- in the process that reads ----------------------------------------------------------------------------------

_pages: TextIO | None = None  # the memory use of this process; opened before the sandbox forbids it
_missing: dict[str, str] = {}


def confine(network: bool, threads: bool, files: tuple[int, ...]) -> None:
    """Give up all rights of this process, except those that a child process which reads untrusted files needs.

    It may read Python and its libraries, the script, its standard input, and the files and folders of other descriptors.
    """
    global _pages
    with suppress(OSError):  # not every system has it
        _pages = open("/proc/self/statm")  # noqa: SIM115  open as long as the process lives
    libraries = filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":"))
    read: tuple[str | int, ...] = (
        *sys.path,
        *_find_linked_folders(),
        sys.prefix,
        sys.base_prefix,
        *SYSTEM,
        *libraries,
        sys.argv[0],
        0,
        *files,
    )
    _missing.update(drop_rights(Rights(read, network=network, threads=threads)))


def _find_linked_folders() -> Iterator[str]:
    """Yield the real folders of packages that are symbolic links in sys.path, as some installers create them.

    A link may stand for a package, or for each file of a package.
    """
    for site in sys.path:
        with suppress(OSError):
            for package in os.scandir(site) if site.endswith(("site-packages", "dist-packages")) else ():
                if package.is_symlink():
                    yield os.path.realpath(package)
                elif package.is_dir() and (link := next(filter(os.DirEntry.is_symlink, os.scandir(package)), None)):
                    yield os.path.dirname(os.path.realpath(link))


def limit_resources(seconds: int, memory: int) -> None:
    """Limit this process to `seconds` of processor time, and to `memory` bytes more than it uses now.

    It is called before the process reads an untrusted file.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    if seconds != resource.RLIM_INFINITY:
        seconds += math.ceil(used.ru_utime + used.ru_stime)
        _lower_limit(resource.RLIMIT_CPU, seconds, seconds + 1)  # end() recognises the first limit by SIGXCPU
    _lower_limit(resource.RLIMIT_CORE, 0)
    _lower_limit(resource.RLIMIT_FSIZE, 0)
    _lower_limit(resource.RLIMIT_NOFILE, MOST_OPEN)
    if _pages is not None:
        _pages.seek(0)
        used_bytes = int(_pages.read().split()[0]) * resource.getpagesize()
        _lower_limit(resource.RLIMIT_AS, used_bytes + memory)


def _lower_limit(resource_id: int, soft: int, hard: int | None = None) -> None:
    """Lower a resource limit of this process; a limit that is lower already stays."""
    hard, most = soft if hard is None else hard, resource.getrlimit(resource_id)[1]
    if most != resource.RLIM_INFINITY:
        soft, hard = min(soft, most), min(hard, most)
    resource.setrlimit(resource_id, (soft, hard))


if __name__ == "__main__":
    from runtime.formats.child import children

    print(json.dumps(children._missing))
