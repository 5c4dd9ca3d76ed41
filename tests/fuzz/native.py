"""The native code under the address and the undefined-behaviour sanitizer, with programs and arguments that lie.

    python -m tests.fuzz.native --minutes 10 [--seed 0] [--paths scalar,avx2,avx512]
    python -m tests.fuzz.native --count 20

Programs of random networks are run as they are, on every CPU path that this processor has, and must give the same bits on
each. Then their fields, pointers and sizes are changed: what plif_program_check and plif_call_check let pass is run, with
every buffer exactly as large as the program says, and must touch nothing beyond. What decodes, filters and bins gets random
bytes, lines, states and sizes in the same way. Needs clang or gcc with sanitizers, on x86-64 (tests/sanitizers.py): the
library is built anew, and runs in child processes, which a fault ends.
"""

from __future__ import annotations

import argparse
import ctypes as c
import os
import random
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from runtime import native
from runtime.core.base.errors import PlifError
from tests.fuzz.run_packets import collected, decoded, filtered, straight
from tests.fuzz.run_programs import programs
from tests.libplif_sources import SOURCES
from tests.sanitizers import OPTIONS, find_sanitizers

FLAGS = ("-std=gnu11", "-O1", "-ffp-contract=off", "-Wno-psabi", "-Wno-unknown-pragmas", "-pthread", "-fPIC")


def child(folder: Path, seed: int, end: int, until_s: float, names: list[str]) -> None:
    """Cases from `seed` to `end`, or until that time; each writes its number into a file first, for the one that a fault ends."""
    event = packet = native.set_signatures(c.CDLL(str(folder / "event.so")))
    here = event.plif_paths(0)
    paths = [i for i, name in enumerate(native.PATHS) if here >> i & 1 and (not names or name in names)]
    pool = event.plif_pool_new(2)
    count = {"networks": 0, "refused": 0, "ran": 0}
    packet_count, filter_count = {"refused": 0, "ran": 0}, {"refused": 0, "ran": 0}
    while seed < end and time.monotonic() < until_s:
        (folder / "case").write_text(str(seed))
        rng = random.Random(seed)
        try:
            programs(event, rng, paths, pool, count)
        except PlifError as error:  # the compiler may refuse a network that was drawn, and says why
            count["not compiled"] = count.get("not compiled", 0) + 1
            assert str(error)
        for _ in range(300):
            decoded(packet, rng, packet_count)
            collected(packet, rng, packet_count)
            straight(packet, rng, packet_count)
        for _ in range(100):
            filtered(packet, rng, filter_count)
        seed += 1
    print(
        f"paths {', '.join(native.PATHS[i] for i in paths)}; programs {count}; packets {packet_count}; filters {filter_count}",
        flush=True,
    )


def _fault(text: str) -> str:
    """What a sanitizer says, with its frames in our code; else the end of the text."""
    lines = [
        line for line in text.splitlines() if "ERROR: " in line or "runtime error" in line or "/runtime/native/" in line
    ]
    return "\n".join(lines) if lines else text[-2000:]


def build(folder: Path, *more: str) -> None:
    """event.so in that folder, with more flags; its source files are compiled side by side."""
    found = find_sanitizers()
    assert found is not None, "no sanitizers here"
    files, command = SOURCES, [found.compiler, *FLAGS, *found.flags, *more]

    def compiled(file: Path) -> None:
        subprocess.run([*command, "-c", str(file), "-o", str(folder / f"{file.stem}.o")], check=True)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(compiled, files))
    objects = [str(folder / f"{file.stem}.o") for file in files]
    subprocess.run([*command, "-shared", *objects, "-o", str(folder / "event.so"), "-lm"], check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1e6)
    parser.add_argument(
        "--count",
        type=int,
        default=1 << 60,
        help="networks, each with 60 changed programs, 900 packets and 100 chains of filters",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--paths", default="", help="names, with commas; all that this processor has")
    parser.add_argument("--folder", type=Path, help="where event.so is already; it is built anew without")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    names = [name for name in asked.paths.split(",") if name]
    if asked.child:
        child(asked.child, asked.seed, asked.seed + asked.count, time.monotonic() + 60 * asked.minutes, names)
        return 0
    found_here = find_sanitizers()
    if found_here is None:
        parser.error("no sanitizers here: apt-get install clang libclang-rt-dev, or gcc, on x86-64")
    with tempfile.TemporaryDirectory() as name:
        folder = asked.folder or Path(name)
        if asked.folder is None:
            build(folder)
        environment = {**os.environ, **OPTIONS, "LD_PRELOAD": found_here.runtime, "OMP_NUM_THREADS": "1"}
        end_s, seed, end, found = time.monotonic() + 60 * asked.minutes, asked.seed, asked.seed + asked.count, 0
        while (left_s := end_s - time.monotonic()) > 0 and seed < end:
            limits = [
                "--seed",
                str(seed),
                "--count",
                str(end - seed),
                "--minutes",
                str(left_s / 60),
                "--paths",
                asked.paths,
            ]
            command = [sys.executable, "-m", "tests.fuzz.native", "--child", str(folder), *limits]
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            print(done.stdout, end="", flush=True)
            if done.returncode == 0:
                break
            found += 1
            seed = int((folder / "case").read_text())
            print(f"seed {seed} ended with {done.returncode}:\n{_fault(done.stderr)}", flush=True)
            seed += 1
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
