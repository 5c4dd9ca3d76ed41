"""What libplif does with files, snapshots, recordings and rules of others, under clang's libFuzzer and its sanitizers.

    python -m tests.fuzz.libfuzzer --minutes 10 [PLIF SNAPSHOT RECORDING RULES] [--corpus FOLDER]
    python -m tests.fuzz.libfuzzer --keep --corpus FOLDER          the smallest part of it that reaches the same becomes corpus/

The first inputs are good ones and those of corpus/; what ends in a fault is kept as crash-* in the folder where this runs. The
smallest such input belongs into cases/. Every test run reads both (tests/fuzz/test_fuzz.py).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from plif_export import export
from runtime.artifacts.plif_file import file as plif_file
from runtime.core.events import make_events
from tests.fuzz.artifacts import NETWORKS, write_plif_files
from tests.fuzz.native import build
from tests.libplif import CSession, Handle
from tests.libplif_sources import NATIVE
from tests.networks import firing
from tests.recordings import EVT3_HEADER, WRITERS, some_events
from tests.sanitizers import CHECKS, OPTIONS, find_sanitizers

HERE = Path(__file__).parent
LONGEST = {"PLIF": 80_000, "SNAPSHOT": 8_000, "RECORDING": 10_000, "RULES": 1_000}  # bytes of an input, by its kind
KINDS = tuple(LONGEST)
PATHS = 5  # kernels of a file: scalar, avx2, ...
PATH_AT = (
    plif_file.HEADER.size - 32 - 28
)  # the first byte of the header's zeros, which no reader looks at, and plif_fuzz.c does
THREADS_AT = PATH_AT + 1
# Of the snapshots: framing, decide, reset, filter
SESSIONS = (
    ("duration:20ms", "sum", "never", None),
    ("duration:40ms,every=10ms", "kofn:2/6,margin=0.02", "every:9", None),
    ("count:T=7", "sum,exit=0.05", "every:9", None),
    ("events:n=50,max=5ms", "own:50ms,margin=0.01,idle=auto", "every:20/3", None),
    ("time:T=16", "leak:50ms", "never", None),
    ("duration:30ms,T=9,pad=zero", "leak:50ms,idle=2k", "silence:30", None),
    ("duration:30ms,T=50", "cusum:40ms,drift=0.05", "decay:20ms", None),
    ("duration:7ms,orientation=sj,resize=crop,value=binary", "sum", "every:8/8", None),
    ("duration:20ms", "sum", "never", "hot:30ms,refractory:1ms"),
    ("events:n=9,max=5ms", "kofn", "silence:30", "background:5ms,roi:1:1:7:7,down:2,rotate:90"),
    ("duration:40ms,every=20ms,follow=on", "cusum:50ms,drift=0.05,margin=0.02,idle=auto", "every:9", None),
    (
        "duration:20ms,resize=nearest,orientation=upright",
        "cusum,other=60ms,release=0.01",
        "decay:20ms",
        "refractory:1ms",
    ),
)
HEADER, MOVING = 312, 5_500  # bytes of a snapshot: whose it is, and what moves but for the arrays
SUFFIXES = (".raw", ".bin", ".dat", ".aedat", ".bs2")
# Sensor and network (three bytes), then framing, decide, reset, filter, a file that "@" names; calls follow behind a zero
RULES = (
    b"\x02\x03\x0aduration:1ms,every=500us\nkofn:2/3\nevery:9/3\nhot:@,flip:x\n3,4\n",
    b"\x02\x0b\x0aevents:n=5,max=20ms,value=binary\nown:80ms,other=1s\nsilence:5\nbackground:5ms,down:2\n",
    b"\x01\x02\x2aduration:1ms,T=9,pad=zero\nleak:9ms,idle=auto\ndecay:5ms\nrefractory:1ms,rotate:270\n",
    b"\x02\x83\x03\x09\x00\xc9count:T=4,polarity=swapped\nsum,exit=0.1\n\nroi:square,swap\n",
    b"\x02\x03\x0aduration:1ms,value=binary,resize=nearest,shape=square\nsum\n\n\n",
    b"\x01\x0b\x0aevents:n=5,max=20ms,resize=nearest,orientation=upright\nsum\nnever\nroi:square\n",
    b"\x02\x03\x0aduration:40ms,every=20ms,follow=on\ncusum:40ms,drift=0.05\nevery:9\n\n",
    b"\x0a\x04\x0aduration:20ms,follow=on,shape=square\ncusum,other=60ms,release=0.01,idle=auto\ndecay:20ms\nflip:x\n",
    b"\x0a\x0c\x0aduration:20ms,resize=nearest,orientation=upright\ncusum:9ms\nsilence:3\nrotate:90\n",
    b"\x06\x83\x12\x32\x00\x05time:T=4,orientation=sj,resize=crop\n\n\nroi:1:2:9:9,hot:5ms\n",
)
CALLS = bytes(range(16)) * 3 + bytes([0, 9, 1, *range(40)] * 5)
# Packets of a figure far away, 10 ms apart from event to event: a few columns of the lower half of 40x30 pixels
FIGURE = b"".join(
    bytes([0, 15, 0, *(b for k in range(15) for b in (4 if k == 0 else 3, 18 + (n + k) % 4, 12 + (n + 2 * k) % 12))])
    for n in range(14)
)


def harness(kind: str) -> list[str]:
    """What a compiler has to be told of plif_fuzz.c for inputs of one kind."""
    rows = (",".join(json.dumps(text) if text else "0" for text in session) for session in SESSIONS)
    sessions = ",".join(f"{{{row}}}" for row in rows)
    defines = [f"-DFUZZ_{kind}", f"-DHEADER={HEADER}", f"-DPATH_AT={PATH_AT}", f"-DSESSIONS={sessions}"]
    return [f"-I{NATIVE}", *defines, str(HERE / "plif_fuzz.c")]


def model(folder: Path) -> Path:
    """The .plif file that the snapshots are of."""
    return export(firing(*NETWORKS[0][:2]), folder / "model.plif", to="plif", precision="int8", verify=False).path


def write_seeds(folder: Path) -> None:
    """Good inputs of each kind in folders of their names."""
    for kind in KINDS:
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for file in write_plif_files(folder):
        for path in range(PATHS):
            data = bytearray(file.read_bytes())
            data[PATH_AT], data[THREADS_AT] = path, path % 2
            (folder / "PLIF" / f"{file.stem}{path}").write_bytes(data)
    i = np.arange(60)
    events = make_events(i * 1997, i % 8, i % 7, i % 2 == 1)
    handle = Handle(model(folder))
    for n, (framing, decide, reset, filters) in enumerate(SESSIONS):
        asked = {"framing": framing, "decide": decide, "reset": reset, **({"filter": filters} if filters else {})}
        session = CSession(handle, **asked, total_events=60, first_us=0, last_us=60 * 1997)
        list(session.feed(events[:40]))
        (folder / "SNAPSHOT" / str(n)).write_bytes(bytes([n]) + session.snapshot()[HEADER : HEADER + MOVING])
        session.free()
    handle.close()
    for name in ("nmnist", "evt2", "evt21", "evt3", "dat", "aedat2", "aedat31"):
        write, suffix = WRITERS[name]
        which = next(n for n, one in enumerate(SUFFIXES) if suffix.endswith(one))
        for count in (5, 60, 600):
            filters = 5 * (count % 7)
            data = bytes([which + filters + 100 * (which == 1)]) + write(some_events(count, 1))
            (folder / "RECORDING" / f"{name}{count}").write_bytes(data)
    for format in range(7):
        (folder / "RECORDING" / f"words{format}").write_bytes(bytes([200, format, 50, 0]) + bytes(range(200)))
    words = WRITERS["evt3"][0](some_events(60, 1))[len(EVT3_HEADER) :]
    for n, rules in enumerate(RULES):
        (folder / "RULES" / str(n)).write_bytes(rules + b"\0" + CALLS + bytes([3, len(words) // 2]) + words + b"\x07")
        (folder / "RULES" / f"figure{n}").write_bytes(rules + b"\0" + FIGURE)

    for kind, longest in LONGEST.items():
        longer = [file.name for file in (folder / kind).iterdir() if file.stat().st_size > longest]
        assert not longer, f"libFuzzer would cut these seeds, of {kind}: {longer}"


def unpack(kind: str, folder: Path) -> list[Path]:
    """What every run begins with, as files of that folder: those of corpus/ and of cases/."""
    archive, files = HERE / "corpus" / f"{kind}.tar.xz", {}
    with tarfile.open(archive) as tar:
        files |= {member.name: content.read() for member in tar if (content := tar.extractfile(member))}
    files |= {path.name: path.read_bytes() for path in (HERE / "cases" / kind).glob("*")}
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in sorted(files)]


def pack(kind: str, folder: Path) -> None:
    """corpus/ becomes the files of that folder."""
    with tarfile.open(HERE / "corpus" / f"{kind}.tar.xz", "w:xz") as tar:
        for file in sorted(folder.iterdir()):
            member = tarfile.TarInfo(file.name[:12])
            member.size = file.stat().st_size
            with file.open("rb") as content:
                tar.addfile(member, content)


class Place:
    """A folder with good inputs and with programs, and another one with what runs have found."""

    def __init__(self, folder: Path, corpus: Path) -> None:
        self.folder, self.corpus = folder, corpus
        write_seeds(folder)
        for kind in KINDS:
            unpack(kind, folder / kind)
            (corpus / kind).mkdir(parents=True, exist_ok=True)
        leaks = {"ASAN_OPTIONS": OPTIONS["ASAN_OPTIONS"].replace("detect_leaks=0", "detect_leaks=1")}  # no Python here
        self.environment = {**os.environ, **OPTIONS, **leaks, "FUZZ_MODEL": str(folder / "model.plif")}

    def inputs(self, kind: str) -> list[str]:
        return [str(self.corpus / kind), str(self.folder / kind)]

    def compile(self, kind: str, *command: str | Path) -> str:
        program = str(self.folder / f"fuzz-{kind}")
        subprocess.run(["clang", "-std=gnu11", "-O1", *command, "-o", program, "-lm", "-pthread"], check=True)
        return program

    def fuzzer(self, kind: str) -> str:
        flags = (f"-fsanitize=fuzzer,{CHECKS['clang']}", "-fno-sanitize-recover=all", "-g1")
        return self.compile(kind, *flags, *harness(kind), *sorted(self.folder.glob("*.o")))

    def fuzz(self, kind: str, minutes: float) -> bool:
        """Whether there was no fault; prints a line of what was done."""
        limits = [f"-max_total_time={int(60 * minutes)}", "-timeout=20", "-rss_limit_mb=6000", "-len_control=0"]
        how = [f"-max_len={LONGEST[kind]}", "-use_value_profile=1", "-print_final_stats=1"]
        command = [self.fuzzer(kind), *self.inputs(kind), *limits, *how]
        last = dict.fromkeys(SAID, "?")
        with subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, errors="replace", env=self.environment
        ) as run:
            for line in run.stderr or ():
                last |= {what: found[1] for what, pattern in SAID.items() if (found := re.search(pattern, line))}
                if not re.match(r"#\d+\s+(NEW|REDUCE|RELOAD)|\s*NEW_FUNC", line):
                    print(line, end="", file=sys.stderr, flush=True)
            _, status, usage = os.wait4(run.pid, 0)  # the time of this one child: others may run at once
            run.returncode = os.waitstatus_to_exitcode(status)
        cpu_s = usage.ru_utime + usage.ru_stime
        done = f"{last['runs']} executions, {last['edges']} of {last['all']} edges, {cpu_s:.0f} s of CPU"
        print(f"{kind}: {f'ended with {run.returncode}' if run.returncode else 'no fault'}; {done}", flush=True)
        return run.returncode == 0

    def keep(self, kind: str) -> None:
        """corpus/ becomes what reaches each edge that is known, in as few and as small inputs as libFuzzer finds."""
        with tempfile.TemporaryDirectory() as small:
            flags = ["-set_cover_merge=1", "-use_counters=0", f"-max_len={LONGEST[kind]}", "-verbosity=0"]
            command = [self.fuzzer(kind), *flags, small, *self.inputs(kind)]
            subprocess.run(command, check=True, env=self.environment)
            pack(kind, Path(small))


# What libFuzzer says of a run
SAID = {"all": r"\((\d+) inline", "edges": r"cov: (\d+)", "runs": r"executed_units: (\d+)"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.0, help="for each kind")
    parser.add_argument(
        "--corpus", type=Path, help="a folder, where what is found on the way stays; none when not given"
    )
    parser.add_argument("--jobs", type=int, default=1, help="kinds at once")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("kinds", nargs="*", choices=[[], *KINDS], help="all when not given")
    asked = parser.parse_args()
    found = find_sanitizers()
    if found is None or Path(found.compiler).name != "clang":
        print("not run: needs clang with its sanitizers (apt-get install clang libclang-rt-dev)")
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder, kinds = Path(name), asked.kinds or KINDS
        place = Place(folder, asked.corpus or folder / "found")
        build(folder, "-fsanitize=fuzzer-no-link")
        if asked.keep:
            for kind in kinds:
                place.keep(kind)
            return 0
        with ThreadPoolExecutor(asked.jobs) as pool:
            is_fine = all(list(pool.map(lambda kind: place.fuzz(kind, asked.minutes), kinds)))
    return int(not is_fine)


if __name__ == "__main__":
    sys.exit(main())
