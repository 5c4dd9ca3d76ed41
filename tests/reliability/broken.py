"""Breaks the code on purpose, and says which test notices: the table and the guards of docs/reliability.md.

    python -m tests.reliability.broken                       each change of the table
    python -m tests.reliability.broken --guards 50 --seed 0  so many guards, drawn: each is left out, one by one

It works on a copy of the repository, and runs what `make test` runs of the files that should notice. Exit code 1: one was missed.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ("-std=gnu11", "-O1", "-ffp-contract=off", "-Wno-psabi", "-pthread", "-fPIC", "-w")
HERE = "tests/reliability/test_"
STEP = "        buffers.x[...] = x\n"  # of Session.step


class Change(NamedTuple):
    what: str
    path: str
    old: str
    new: str
    tests: tuple[str, ...]


CHANGES = (
    Change("> for >= in the ONNX writer", "plif_export/core/writers/emit.py",
           'e.op("GreaterOrEqual", [h, threshold]', 'e.op("Greater", [h, threshold]', (f"{HERE}ties.py",)),
    Change("> for >= in the event engine", "runtime/native/engine/kernels/simd.h",
           "INLINE uint32_t at_least(fr a, fr b) {\n",
           "INLINE uint32_t greater_than(fr a, fr b);\nINLINE uint32_t at_least(fr a, fr b) {\n    return greater_than(a, b);\n",
           (f"{HERE}ties.py",)),
    Change("a membrane keeps h on a tie, in the ONNX writer", "plif_export/core/writers/emit.py",
           'e.op("Less", [h, threshold]', 'e.op("LessOrEqual", [h, threshold]', (f"{HERE}ties.py",)),
    Change("a membrane keeps h on a tie, in the event engine", "runtime/native/engine/kernels/simd.h",
           "const ir wide = (ir)(h >= threshold);", "const ir wide = (ir)(h > threshold);", (f"{HERE}ties.py",)),
    Change("membranes of some rows are not given back", "runtime/core/engines/session.py",
           "            v[which] = part\n", "            v[which][...] = part\n", (f"{HERE}same_answer.py",)),
    Change("reset of some rows resets all", "runtime/core/engines/session.py",
           'v[which] = state["initial"]', 'v[:] = state["initial"]', (f"{HERE}same_answer.py",)),
    Change("restore forgets the last layer", "runtime/core/engines/session.py",
           "zip(now, snapshot, strict=True):\n            v[", "zip(now[:-1], snapshot, strict=False):\n            v[",
           (f"{HERE}same_answer.py",)),
    Change("membranes creep up by 1e-4 a step", "runtime/core/engines/session.py",
           STEP, f"{STEP}        for v in buffers.membranes():\n            v += 1e-4\n", (f"{HERE}long_runs.py",)),
    Change("a session keeps what it was given", "runtime/core/engines/session.py",
           STEP, f'{STEP}        self.__dict__.setdefault("kept", []).append(x.copy())\n', (f"{HERE}long_runs.py",)),
    Change("an entry of the card follows the order of a set", "plif_export/core/cards.py",
           "    return {\n", '    return {\n        "order": list({"a", "b", "c", "d", "e", "f"}),\n',
           (f"{HERE}same_answer.py",)),
    Change("the evidence of leak never fades", "runtime/native/rules/decisions/decide.c",
           "exp(-(double)(dt_us > 0 ? dt_us : 0) / (double)r->tau_us)", "1.0", (f"{HERE}drift.py",)),
    Change("Ctrl-C interrupts an import", "runtime/core/cli/signals.py",
           '== "<frozen importlib._bootstrap>"', '== "nothing"', (f"{HERE}interrupts.py",)),
)  # fmt: skip

# Files of guards -> the tests that notice when one is left out.
PROGRAMS = tuple(
    f"tests/runtime/engines/event_program/test_{name}_check.py"
    for name in ("program", "call", "program_lines", "program_views", "program_layers")
)
HOSTILE = "tests/runtime/core/test_hostile_models.py"
GUARDED: dict[str, tuple[str, ...]] = {
    "runtime/native/engine/check*.c": PROGRAMS,
    "runtime/formats/hdf5/*.py": ("tests/plif_export/readers/nir_file/test_hostile_nir.py",),
    "runtime/core/model/readers/*_zip.py": (HOSTILE, "tests/plif_train/core/test_checkpoint.py"),
    "runtime/core/model/readers/onnx_*.py": (HOSTILE, "tests/runtime/core/test_card.py"),
    "runtime/core/model/digest.py": ("tests/plif_export/core/test_digest.py",),
}


def guards() -> list[Change]:
    found = []
    for pattern, tests in GUARDED.items():
        for path in sorted(ROOT.glob(pattern)):
            name, text = path.relative_to(ROOT).as_posix(), path.read_text("utf-8")
            for start, end in conditions_in_c(text) if path.suffix == ".c" else conditions_in_python(text):
                line = text.count("\n", 0, start) + 1
                never = "1" if path.suffix == ".c" else "False"  # what is required holds; what is refused is not so
                what = f"{name}:{line}: {' '.join(text[start:end].split())}"
                found.append(Change(what, name, text, text[:start] + never + text[end:], tests))
    return found


def conditions_in_c(text: str) -> list[tuple[int, int]]:
    """Where each && of each REQUIRE(condition, ...) lies."""
    found = []
    for match in re.finditer(r"^ +REQUIRE\(", text, re.MULTILINE):
        depth, start, at = 0, match.end(), match.end()
        while depth or text[at] != ",":
            depth += {"(": 1, ")": -1}.get(text[at], 0)
            if not depth and text.startswith("&&", at):
                found.append((start, at))
                start = at + 2
            at += 1
        found.append((start, at))
    return found


def conditions_in_python(text: str) -> list[tuple[int, int]]:
    """Where the condition of each `if` lies that raises and does nothing else."""
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    tests = (
        node.test
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.If) and isinstance(node.body[0], ast.Raise)
    )
    return [
        (starts[t.lineno - 1] + t.col_offset, starts[(t.end_lineno or 1) - 1] + (t.end_col_offset or 0)) for t in tests
    ]


class Copy:
    """The repository in another folder, with a libplif of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.library = folder, folder / "build" / "libplif.so"
        said = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        built = [path.relative_to(ROOT).as_posix() for path in ROOT.glob("*/native/*.so")]
        for name in (*said.split("\0")[:-1], *built):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
        self.library.parent.mkdir()
        native = folder / "runtime/native"
        self.sources = [path for path in sorted(native.rglob("*.c")) if "examples" not in path.parts]
        self.built = False

    def compile(self, changed: Path | None = None) -> None:
        """All of libplif, or what a changed file is part of."""
        one = [changed] if changed and changed.suffix == ".c" and self.built else self.sources
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(self._object, one))
        objects = [str(self._of(path)) for path in self.sources]
        subprocess.run(["cc", "-shared", "-pthread", *objects, "-o", str(self.library), "-lm"], check=True)
        self.built = True

    def _of(self, source: Path) -> Path:
        return self.library.with_name("-".join(source.relative_to(self.folder).with_suffix(".o").parts))

    def _object(self, source: Path) -> None:
        subprocess.run(["cc", *FLAGS, "-c", str(source), "-o", str(self._of(source))], check=True)

    def noticed(self, change: Change) -> str:
        """The first test that fails; empty where none does."""
        path = self.folder / change.path
        text = path.read_text("utf-8")
        assert change.old in text, f"{change.path}: no longer has {change.old!r}"
        native = path.suffix in (".c", ".h")
        if native and not self.built:
            self.compile()
        path.write_text(text.replace(change.old, change.new, 1), "utf-8")
        try:
            if native:
                self.compile(path)
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(self.folder)}
            environment |= {"PLIF_LIBRARY": str(self.library)} if native else {}
            command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", *change.tests]
            done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True)
        finally:
            path.write_text(text, "utf-8")
            if native:
                self.compile(path)
        failed = re.search(r"^(?:FAILED|ERROR) (.*?)(?: - .*)?$", done.stdout, re.MULTILINE)
        if failed:
            return failed[1]
        return f"pytest ended with {done.returncode}" if done.returncode else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--guards", type=int, help="so many guards, drawn, for the changes of the table")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    changes: list[Change] = list(CHANGES)
    if asked.guards:
        every = guards()
        changes = random.Random(asked.seed).sample(every, asked.guards)
        print(f"{asked.guards} of {len(every)} guards")
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Copy(Path(folder))
        for change in changes:
            by = copy.noticed(change)
            missed += not by
            print(f"{'noticed' if by else 'MISSED '}  {change.what}  {by}", flush=True)
    print(f"{len(changes) - missed} of {len(changes)} noticed")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
