"""What libplif does with files, snapshots, recordings and rules of others, under clang's libFuzzer and its sanitizers.

    python -m tests.fuzz.libfuzzer --minutes 10 [PLIF SNAPSHOT RECORDING RULES] [--corpus FOLDER]
    python -m tests.fuzz.libfuzzer --coverage --corpus FOLDER      lines of libplif that FOLDER reaches, file by file
    python -m tests.fuzz.libfuzzer --keep --corpus FOLDER          the smallest part of it that reaches the same becomes corpus/

The first inputs are good ones and those of corpus/; what ends in a fault is kept as crash-* in the folder where this runs. The
smallest such input belongs into cases/. Every test run reads both (tests/fuzz/test_fuzz.py).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from plif_export import export
from runtime.core.events import make_events
from runtime.core.model.graph import Graph
from runtime.engines.event_program.forms import DEFAULT_FORMS, Forms
from runtime.neurons.traced_program.program import OPS
from tests.fuzz.native import build
from tests.fuzz.traced import random_program
from tests.libplif import CSession, Handle
from tests.libplif_sources import NATIVE, SOURCES
from tests.networks import firing
from tests.plif_export.core.test_graph_layers import attention
from tests.programs import linear, plif_file_of, recurrent, traced
from tests.recordings import EVT3_HEADER, WRITERS, some_events
from tests.sanitizers import CHECKS, OPTIONS, find_sanitizers

HERE = Path(__file__).parent
LONGEST = {"PLIF": 40_000, "SNAPSHOT": 8_000, "RECORDING": 4_000, "RULES": 1_000}  # bytes of an input, by its kind
KINDS = tuple(LONGEST)
# (notation, shape, options): with the first one's neurons, others, and rows that are wide enough to be multiplied as bytes
NETWORKS: tuple[tuple[str, tuple[int, int, int], dict[str, Any]], ...] = (
    ("c4k3s1-BN-PLIF-APk2s2-c6k3s2-BN-PLIF-FC30-PLIF-APk10s10", (2, 8, 8), {}),
    ("BN-c3k3s1-BN-IF-MPk2s2-c5k3s1-LIF-FC15-PLIF-APk5s5", (2, 6, 6), {"v_reset": None}),
    ("c3k3s1-PLIF-c4k3s1-LIF-FC3-PLIF", (2, 3, 20), {"decay_input": False, "v_reset": -0.25}),
)
PATHS = 5  # kernels of a file: scalar, avx2, ...
PATH_AT, THREADS_AT = 192, 193  # bytes of a .plif file's header that no reader looks at, and plif_fuzz.c does
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
    b"\x06\x83\x12\x32\x00\x05time:T=4,orientation=sj,resize=crop\n\n\nroi:1:2:9:9,hot:5ms\n",
)
CALLS = bytes(range(16)) * 3 + bytes([0, 9, 1, *range(40)] * 5)


def harness(kind: str) -> list[str]:
    """What a compiler has to be told of plif_fuzz.c for inputs of one kind."""
    rows = (",".join(json.dumps(text) if text else "0" for text in session) for session in SESSIONS)
    sessions = ",".join(f"{{{row}}}" for row in rows)
    return [f"-I{NATIVE}", f"-DFUZZ_{kind}", f"-DHEADER={HEADER}", f"-DSESSIONS={sessions}", str(HERE / "plif_fuzz.c")]


def programs() -> Graph:
    """Neurons with random programs of every operation."""
    rng, source, nodes = random.Random(0), "x", []
    for i in range(3):
        program, names = random_program(rng, sorted(OPS))
        nodes.append(traced(f"n{i}", (source,), (6,), program, **dict.fromkeys(names, 0.5)))
        source = f"n{i}_neuron"
    return Graph((6,), (*nodes, linear("fc", source, 6, 3)), "fc")


def model(folder: Path) -> Path:
    """The .plif file that the snapshots are of."""
    return export(firing(*NETWORKS[0][:2]), folder / "model.plif", to="plif", precision="int8", verify=False).path


def write_seeds(folder: Path) -> None:
    """Good inputs of each kind in folders of their names."""
    for kind in KINDS:
        (folder / kind).mkdir(parents=True, exist_ok=True)
    DEFAULT_FORMS["avx512"] = Forms(pairs=True, bytes_from=0.01)  # else no row here is as full as that
    files = [
        export(
            firing(notation, shape, **options), folder / f"{i}{precision}.plif", to="plif", verify=False,
            precision=precision, math="exact" if i == 1 else "folded",
        ).path
        for i, (notation, shape, options) in enumerate(NETWORKS)
        for precision in ("fp32", "int8")
    ]  # fmt: skip
    for name, graph in (("recurrent", recurrent()), ("attention", attention()), ("programs", programs())):
        files.append(plif_file_of(graph, folder).rename(folder / f"{name}.plif"))
    for file in files:
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
        before, last = resource.getrusage(resource.RUSAGE_CHILDREN), dict.fromkeys(SAID, "?")
        with subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, errors="replace", env=self.environment
        ) as run:
            for line in run.stderr or ():
                last |= {what: found[1] for what, pattern in SAID.items() if (found := re.search(pattern, line))}
                if not re.match(r"#\d+\s+(NEW|REDUCE|RELOAD)|\s*NEW_FUNC", line):
                    print(line, end="", file=sys.stderr, flush=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
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

    def coverage(self, kinds: Sequence[str]) -> None:
        """Prints the lines of libplif that all inputs of these kinds reach, as llvm-cov counts them."""
        flags, programs = ("-fprofile-instr-generate", "-fcoverage-mapping", "-w", "-DFUZZ_FILES"), []
        for kind in kinds:
            programs.append(self.compile(kind, *flags, *harness(kind), *SOURCES))
            inputs = [str(file) for folder in self.inputs(kind) for file in Path(folder).iterdir()]
            for at in range(0, len(inputs), 1000):
                profile = {"LLVM_PROFILE_FILE": str(self.folder / f"{kind}{at}.profraw")}
                command = [programs[-1], *inputs[at : at + 1000]]
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**self.environment, **profile})
        merged = str(self.folder / "all.profdata")
        subprocess.run(["llvm-profdata", "merge", *self.folder.glob("*.profraw"), "-o", merged], check=True)
        objects = [word for program in programs for word in ("-object", program)][1:]
        only_lines = ("-show-region-summary=false", "-show-branch-summary=false")
        subprocess.run(
            ["llvm-cov", "report", *objects, f"-instr-profile={merged}", *only_lines, str(NATIVE)], check=True
        )


# What libFuzzer says of a run
SAID = {"all": r"\((\d+) inline", "edges": r"cov: (\d+)", "runs": r"executed_units: (\d+)"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.0, help="for each kind")
    parser.add_argument(
        "--corpus", type=Path, help="a folder, where what is found on the way stays; none when not given"
    )
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--coverage", action="store_true")
    parser.add_argument("kinds", nargs="*", choices=[[], *KINDS], help="all when not given")
    asked = parser.parse_args()
    found = find_sanitizers()
    if found is None or Path(found.compiler).name != "clang":
        print("not run: needs clang with its sanitizers (apt-get install clang libclang-rt-dev)")
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder, kinds, fine = Path(name), asked.kinds or KINDS, True
        place = Place(folder, asked.corpus or folder / "found")
        if asked.coverage:
            place.coverage(kinds)
            return 0
        build(folder, "-fsanitize=fuzzer-no-link")
        for kind in kinds:
            if asked.keep:
                place.keep(kind)
            else:
                fine &= place.fuzz(kind, asked.minutes)
    return int(not fine)


if __name__ == "__main__":
    sys.exit(main())
