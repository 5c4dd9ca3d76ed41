"""The lines of libplif that the inputs of its fuzzers reach, file by file, and the functions that none of them reaches.

    python -m tests.fuzz.coverage [PLIF SNAPSHOT RECORDING RULES] [--corpus FOLDER]

The inputs are the seeds, corpus/, cases/ and those of FOLDER (tests/fuzz/libfuzzer.py). Needs clang, llvm-profdata and llvm-cov.
A function of a header that several CPU paths compile counts as reached if one of them reaches it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.fuzz.libfuzzer import KINDS, Place, harness
from tests.libplif_sources import NATIVE, SOURCES

TOGETHER = 1000  # inputs of one process


def measure_coverage(place: Place, kinds: Sequence[str]) -> dict[str, Any]:
    """Run all inputs of these kinds; return what `llvm-cov export` says of libplif's files and functions."""
    flags, programs = ("-fprofile-instr-generate", "-fcoverage-mapping", "-w", "-DFUZZ_FILES"), []
    for kind in kinds:
        programs.append(place.compile(kind, *flags, *harness(kind), *SOURCES))
        inputs = [str(file) for folder in place.inputs(kind) for file in Path(folder).iterdir()]
        for at in range(0, len(inputs), TOGETHER):
            profile = {"LLVM_PROFILE_FILE": str(place.folder / f"{kind}{at}.profraw")}
            command = [programs[-1], *inputs[at : at + TOGETHER]]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**place.environment, **profile})
    merged = str(place.folder / "all.profdata")
    subprocess.run(["llvm-profdata", "merge", *place.folder.glob("*.profraw"), "-o", merged], check=True)
    objects = [word for program in programs for word in ("-object", program)][1:]
    command = ["llvm-cov", "export", *objects, f"-instr-profile={merged}", str(NATIVE)]
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found["data"][0]  # type: ignore[no-any-return]


def list_unreached(coverage: dict[str, Any]) -> dict[str, list[str]]:
    """Return {file: functions that no input reaches}, in the order of their lines."""
    reached: dict[tuple[str, int, str], bool] = {}
    for function in coverage["functions"]:
        # a static function is named "file.c:name"
        place = function["filenames"][0], function["regions"][0][0], function["name"].rpartition(":")[2]
        reached[place] = reached.get(place, False) or function["count"] > 0
    unreached: dict[str, list[str]] = {}
    for path, _, name in sorted(place for place, is_reached in reached.items() if not is_reached):
        unreached.setdefault(path, []).append(name)
    return unreached


def print_table(coverage: dict[str, Any]) -> None:
    """Print a line for each file with lines of code: their number, the share that is reached, unreached functions."""
    unreached = list_unreached(coverage)
    for entry in coverage["files"]:
        lines, path = entry["summary"]["lines"], Path(entry["filename"])
        if lines["count"] and path.is_relative_to(NATIVE):
            names = " ".join(unreached.get(entry["filename"], ()))
            print(f"{path.relative_to(NATIVE)!s:32}{lines['count']:6}{lines['percent']:7.1f} %  {names}".rstrip())
    total = coverage["totals"]["lines"]
    print(f"{'all':32}{total['count']:6}{total['percent']:7.1f} %")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, help="a folder with further inputs, one subfolder for each kind")
    parser.add_argument("kinds", nargs="*", choices=[[], *KINDS], help="all when not given")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        print_table(measure_coverage(Place(Path(name), options.corpus or Path(name) / "found"), options.kinds or KINDS))


if __name__ == "__main__":
    sys.exit(main())
