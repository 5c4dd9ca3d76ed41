"""What libplif does with files, snapshots and recordings of others, under clang's libFuzzer and its sanitizers.

    python -m tests.fuzz.libfuzzer --minutes 10 [PLIF SNAPSHOT RECORDING]

The first inputs are good ones; what ends in a fault is kept as crash-* in the folder where this runs. The smallest such input
belongs into tests/fuzz/cases/, whose files every test run reads (tests/fuzz/test_native_cases.py).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from plif_export import export
from runtime.events import make_events
from tests.fuzz.native import build
from tests.libplif import CSession, Handle
from tests.libplif_sources import NATIVE
from tests.networks import firing
from tests.recordings import WRITERS, some_events
from tests.sanitizers import CHECKS, OPTIONS, find_sanitizers

HERE = Path(__file__).parent
KINDS = ("PLIF", "SNAPSHOT", "RECORDING")
NETWORKS = (
    ("c4k3s1-BN-PLIF-APk2s2-c6k3s2-BN-PLIF-FC30-PLIF-APk10s10", (2, 8, 8)),
    ("BN-c3k3s1-BN-IF-MPk2s2-c5k3s1-LIF-FC15-PLIF-APk5s5", (2, 6, 6)),
)
# In the order of plif_fuzz.c.
SESSIONS = (
    *(("duration:20ms", "sum", "never"), ("duration:40ms,every=10ms", "kofn:2/6,margin=0.02", "every:9")),
    *(
        ("count:T=7", "sum,exit=0.05", "every:9"),
        ("events:n=50,max=5ms", "own:50ms,margin=0.01,idle=auto", "every:20/3"),
    ),
    *(("time:T=16", "leak:50ms", "never"), ("duration:30ms,T=9,pad=zero", "leak:50ms,idle=2k", "silence:30")),
    *(("duration:30ms,T=50", "own:40ms", "decay:20ms"),),
    ("duration:7ms,orientation=sj,resize=crop,value=binary", "sum", "every:8/8"),
)
HEADER, MOVING = 280, 5_488  # bytes of a snapshot: whose it is, and what moves but for the arrays
SUFFIXES = (".raw", ".bin", ".dat", ".aedat", ".bs2")


def write_seeds(folder: Path) -> Path:
    """Good inputs of each kind in folders of their names; the .plif file that the snapshots are of."""
    for kind in KINDS:
        (folder / kind).mkdir()
    files = [
        export(firing(*network), folder / f"{i}{precision}.plif", to="plif", precision=precision, verify=False).path
        for i, network in enumerate(NETWORKS)
        for precision in ("fp32", "int8")
    ]
    for file in files:
        (folder / "PLIF" / file.stem).write_bytes(file.read_bytes())
    i = np.arange(60)
    events = make_events(i * 1997, i % 8, i % 7, i % 2 == 1)
    handle = Handle(files[0])
    for n, (framing, decide, reset) in enumerate(SESSIONS):
        extent = {"total_events": 60, "first_us": 0, "last_us": 60 * 1997}
        session = CSession(handle, framing=framing, decide=decide, reset=reset, **extent)
        list(session.feed(events[:40]))
        (folder / "SNAPSHOT" / str(n)).write_bytes(bytes([n]) + session.snapshot()[HEADER : HEADER + MOVING])
        session.free()
    handle.close()
    for name in ("nmnist", "evt2", "evt21", "evt3", "dat", "aedat2", "aedat31"):
        write, suffix = WRITERS[name]
        which = next(n for n, one in enumerate(SUFFIXES) if suffix.endswith(one))
        for count in (5, 60, 600):
            (folder / "RECORDING" / f"{name}{count}").write_bytes(bytes([which]) + write(some_events(count, 1)))
    return files[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.0, help="for each kind")
    parser.add_argument("kinds", nargs="*", choices=[[], *KINDS], help="all when not given")
    asked = parser.parse_args()
    found = find_sanitizers()
    if found is None or found.compiler != "clang":
        parser.error("needs clang with its sanitizers: apt-get install clang libclang-rt-dev")
    failed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = write_seeds(folder)
        build(folder, "-fsanitize=fuzzer-no-link")
        for kind in asked.kinds or KINDS:
            flags = [f"-fsanitize=fuzzer,{CHECKS['clang']}", "-fno-sanitize-recover=all", "-g1", "-O1", "-std=gnu11"]
            source = [f"-I{NATIVE}", f"-DFUZZ_{kind}", str(HERE / "plif_fuzz.c")]
            objects = sorted(map(str, folder.glob("*.o")))
            subprocess.run(
                ["clang", *flags, *source, *objects, "-o", str(folder / "fuzz"), "-lm", "-pthread"], check=True
            )
            limits = [
                f"-max_total_time={int(60 * asked.minutes)}",
                "-timeout=20",
                "-rss_limit_mb=6000",
                "-len_control=0",
            ]
            command = [
                str(folder / "fuzz"),
                str(folder / kind),
                *limits,
                "-max_len=40000",
                "-use_value_profile=1",
                "-verbosity=0",
            ]
            done = subprocess.run(command, env={**os.environ, **OPTIONS, "FUZZ_MODEL": str(model)})
            print(f"{kind}: {'a fault' if done.returncode else 'no fault'}", flush=True)
            failed |= done.returncode != 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
