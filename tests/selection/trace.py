"""Which files of the repository the slow cases of a file of tests open; writes them into tests/costs.json.

    python -m tests.selection.trace [FILE...]   each FILE in a process of its own; without one, all that have slow cases

Linux tells of each file that any process opens (inotify), so children count, and so does everything else that runs: run
nothing else in this folder meanwhile.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
import subprocess
import sys
import threading
from pathlib import Path

from runtime.core.parts import FILE
from tests.selection.costs import read_costs, write_costs
from tests.selection.imports import REPOSITORY
from tests.selection.sources import CORE, find_area, list_files

IN_OPEN, IN_ISDIR = 0x20, 0x40000000
EVENT = struct.Struct("iIII")


class OpenWatch:
    """Collects the files of the repository that any process opens, until it is closed."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor = libc.inotify_init1(os.O_CLOEXEC)
        self.folders: dict[int, str] = {}
        self.names: set[str] = set()
        for folder in sorted({os.path.dirname(name) for name in list_files()}):
            for place in (folder, f"{folder}/__pycache__"):
                watch = libc.inotify_add_watch(self.descriptor, os.fsencode(REPOSITORY / place), IN_OPEN)
                if watch >= 0:
                    self.folders[watch] = folder
        self.ended, self.end = os.pipe()
        self.thread = threading.Thread(target=self._collect)
        self.thread.start()

    def _collect(self) -> None:
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        poll.register(self.ended, select.POLLIN)
        while True:
            ready = [descriptor for descriptor, _ in poll.poll()]
            if self.descriptor not in ready:
                return
            data = os.read(self.descriptor, 1 << 16)
            while data:
                watch, mask, _, length = EVENT.unpack_from(data)
                name = data[EVENT.size : EVENT.size + length].rstrip(b"\0").decode()
                data = data[EVENT.size + length :]
                if watch in self.folders and not mask & IN_ISDIR and name:
                    stem = f"{name.partition('.')[0]}.py" if name.endswith(".pyc") or ".pyc." in name else name
                    self.names.add(f"{self.folders[watch]}/{stem}".lstrip("/"))

    def close(self) -> set[str]:
        """Stop; return the paths of the files that were opened."""
        os.write(self.end, b"x")
        self.thread.join()
        for descriptor in (self.descriptor, self.ended, self.end):
            os.close(descriptor)
        return self.names & set(list_files())


def find_opened_files(test_file: str, cases: list[str]) -> list[str] | None:
    """Run slow cases of a file of tests in a process of their own; return the files that they open, None if one fails.

    The core, part.py files (each process reads all of them) and Python files of tests/ are left out (sources.py).
    """
    watch = OpenWatch()
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *(f"{test_file}::{case}" for case in cases)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    names = watch.close()
    if done.returncode:
        print(done.stdout[-2000:], file=sys.stderr)
        return None
    tests = {name for name in names if name.startswith("tests/") and name.endswith(".py")}
    return sorted(name for name in names - tests if find_area(name) != CORE and Path(name).name != FILE)


def main() -> None:
    costs = read_costs()
    if unknown := [name for name in sys.argv[1:] if name not in costs]:
        sys.exit(f"{unknown[0]}: not in tests/costs.json; run `python -m tests.selection.measure` first")
    for test_file in sys.argv[1:] or [name for name, cost in costs.items() if cost.slow]:
        opened = find_opened_files(test_file, list(costs[test_file].slow))
        if opened is not None:
            costs[test_file].opens = opened
            write_costs(costs)
        print(f"{test_file}: {'a case failed' if opened is None else len(opened)}", flush=True)


if __name__ == "__main__":
    main()
