"""Where memory runs out in libplif, at any allocation, there is one line or the same answer: no fault, and nothing is lost."""

from __future__ import annotations

import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from plif_export import export
from tests.conftest import REPOSITORY
from tests.fuzz.native import FLAGS
from tests.libplif_sources import NATIVE, SOURCES
from tests.recordings import nmnist_bytes, some_events
from tests.sanitizers import OPTIONS, find_sanitizers, needs_sanitizers

DIGITS = REPOSITORY / "models" / "nmnist-digits.pt"
WRAPPED = ("malloc", "calloc", "realloc", "aligned_alloc", "free")
# Threads, filter, decide, framing, reset: pools of threads, the map of a view that follows, chains of filters, rows of a stream
FEEDS = {
    "plain": ("1", "", "sum", "duration:20ms", "never"),
    "follows": ("2", "", "cusum:100ms,margin=0.1,idle=auto", "duration:40ms,every=20ms,follow=on", "never"),
    "filtered": ("1", "hot:5ms,refractory:1ms,background:5ms", "leak:50ms", "events:n=400,max=20ms", "silence:30"),
    "rows": ("1", "", "kofn:2/3", "duration:20ms", "every:8/4"),
}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program no_memory.c with libplif in it, under the sanitizers."""
    found, folder = find_sanitizers(), tmp_path_factory.mktemp("no_memory")
    assert found is not None
    command = [found.compiler, *FLAGS, *found.flags, f"-I{NATIVE}"]

    def compile_source(numbered: tuple[int, Path]) -> str:
        output = folder / f"{numbered[0]}.o"
        subprocess.run([*command, "-c", str(numbered[1]), "-o", str(output)], check=True)
        return str(output)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        sources = [*SOURCES, Path(__file__).with_name("no_memory.c")]
        objects = list(pool.map(compile_source, enumerate(sources)))
    wrap = f"-Wl,{','.join(f'--wrap={name}' for name in WRAPPED)}"
    subprocess.run([*command, *objects, wrap, "-o", str(folder / "no_memory"), "-lm"], check=True)
    return folder / "no_memory"


def run(program: Path, number: int, for_ever: bool, *words: str) -> tuple[int, str, str, int, int]:
    """Return the exit status, what was decided, the error, and how many allocations there were and were not freed."""
    command = [str(program), str(number), str(int(for_ever)), *words]
    done = subprocess.run(command, env={**os.environ, **OPTIONS}, capture_output=True, text=True, timeout=100)
    *error, last = done.stderr.splitlines() or [""]
    counts = re.fullmatch(r"allocations (\d+), kept (-?\d+)", last)
    assert counts, f"{words}, allocation {number}: it fell: {done.stderr[-2000:]}"
    return done.returncode, done.stdout, "\n".join(error), int(counts[1]), int(counts[2])


@needs_sanitizers
@pytest.mark.parametrize("for_ever", (False, True), ids=("one", "each-from-there-on"))
@pytest.mark.parametrize("feed", FEEDS)
def test_every_allocation_may_fail(feed: str, for_ever: bool, program: Path, tmp_path: Path) -> None:
    model = export(DIGITS, tmp_path / "digits.plif", to="plif", verify=False).path
    recording = tmp_path / "digit.bin"
    recording.write_bytes(nmnist_bytes(some_events(6000, 1)))
    words = (str(model), str(recording), *FEEDS[feed])
    status, answer, error, allocations, kept = run(program, -1, False, *words)
    assert (status, error, kept) == (0, "", 0) and allocations > 20 and answer.count("\n") > 3
    refused = 0
    for number in range(allocations):
        status, output, error, _, kept = run(program, number, for_ever, *words)
        assert kept == 0, f"allocation {number}: {kept} are not freed"
        if status == 0:
            assert output == answer, f"allocation {number} failed, and the answer is another"
        else:
            refused += 1
            assert "\n" not in error and "no memory" in error and answer.startswith(output), (number, error)
    assert refused > allocations / 2
