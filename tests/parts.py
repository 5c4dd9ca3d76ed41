"""What can be taken out of the house, and what the core is. tests/test_parts.py holds the numbers.

    python tests/parts.py [NAME...]            each part: files, lines of code, its tests and their processor seconds
                                               (tests/costs.json), who outside of it imports or names it
    python tests/parts.py --seconds            the seconds of all tests by folder, as the table of CONTRIBUTING.md
    python tests/parts.py -v [NAME...]         and where, and what no part may be
    python tests/parts.py --core [-v]          the core's files, lines, imports outwards, longest chain of imports
    python tests/parts.py --removed [NAME...]  removes each part in turn, with what needs it, from a copy: does the main job work?
    python tests/parts.py --alone              copies the core alone into an empty folder: does it do the main job?
    python tests/parts.py --lower              writes limits that have become smaller; none is ever raised by it

A part is a folder with a part.py (runtime/core/parts.py). What is not yet one is listed in tests/parts.json by the names of its
files, as regular expressions; a file in no part is the core. The main job is training, exporting with proof, verifying,
evaluating, streaming and `plif info`, with the interpreter that runs this file.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from runtime.core.parts import FILE, PACKAGES, read_part  # noqa: E402
from tests.house import code_lines  # noqa: E402
from tests.selection.costs import FileCost, read_costs  # noqa: E402

RECORD = ROOT / "tests" / "parts.json"
KINDS = (".py", ".c", ".h", ".js", ".css", ".html")
MOST_LINES, MOST_FILES, MOST_LINES_OF_A_FACT, MOST_NEEDS = 1500, 16, 15, 64
MODULE_PATH = re.compile(r"(?:runtime|plif_train|plif_export)(?:[./]\w+)+")


class House:
    """The sources under `root`, what imports what, and which part each file belongs to."""

    def __init__(self, root: Path = ROOT) -> None:
        self.root = root
        paths = [path for package in PACKAGES for path in sorted((root / package).rglob("*")) if path.suffix in KINDS]
        paths = [path for path in [*paths, root / "plif.py"] if path.is_file() and "__pycache__" not in path.parts]
        self.files = {path.relative_to(root).as_posix(): path for path in paths}
        self.lines = {name: code_lines(path) for name, path in self.files.items()}
        python = [name for name in self.files if name.endswith(".py")]
        self.module = {name.removesuffix(".py").removesuffix("/__init__").replace("/", "."): name for name in python}
        folders = {path.parent for path in self.files.values() if path.suffix == ".py"}
        plain = [
            folder for folder in folders if not (folder / "__init__.py").exists()
        ]  # no package, and imported all the same
        self.folders = {folder.relative_to(root).as_posix().replace("/", ".") for folder in plain}
        self.imports: dict[str, set[str]] = {}  # all of them, those inside functions too
        self.eager: dict[str, set[str]] = {}  # those that importing the file brings
        self.words: dict[str, set[str]] = {}  # its strings, docstrings left out
        self.named: dict[str, set[str]] = {}  # files of ours that its strings name
        for name in python:
            self._read(name)
        self.parts = self._find_parts()
        inside = set().union(*self.parts.values())
        self.core = {name for name in python if name not in inside}

    def _read(self, name: str) -> None:
        tree = ast.parse(self.files[name].read_text(encoding="utf-8"), name)
        self.imports[name], self.eager[name] = set(), set()
        for found, at_import in self._imported(tree, name, True):
            self.imports[name].add(found)
            if at_import:
                self.eager[name].add(found)
        prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        strings = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in prose]
        self.words[name] = {node.value for node in strings if isinstance(node.value, str)}
        paths = {path for word in self.words[name] for path in MODULE_PATH.findall(word)}
        said = {path.replace("/", ".").removesuffix(".py") for path in paths}
        self.named[name] = {self.module[each] for each in said if each in self.module} - self.imports[name]

    def _imported(self, node: ast.AST, name: str, at_import: bool) -> Iterator[tuple[str, bool]]:
        """(file of ours that a node imports, whether importing `name` imports it)"""
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            at_import = False
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            at_import = False
        modules: set[str] = set()
        if isinstance(node, ast.Import):
            modules = {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            for each in node.names:
                deep = f"{node.module}.{each.name}"
                modules.add(deep if deep in self.module or deep in self.folders else str(node.module))
            inside = tuple(f"{folder}." for folder in modules & self.folders)
            modules |= {each for each in self.module if each.startswith(inside)} if inside else set()
        ours = {self.module[each] for each in modules if each in self.module} - {name}
        yield from ((each, at_import) for each in ours)
        for child in ast.iter_child_nodes(node):
            yield from self._imported(child, name, at_import)

    def _find_parts(self) -> dict[str, set[str]]:
        """{name of a part: its files}"""
        folders = [name.removesuffix(f"/{FILE}") for name in self.files if name.endswith(f"/{FILE}")]
        found = {folder: {name for name in self.files if name.startswith(folder + "/")} for folder in folders}
        inside = set().union(*found.values())
        listed: dict[str, list[str]] = json.loads(RECORD.read_text(encoding="utf-8"))["parts"]
        for part, patterns in listed.items():
            files = {n for n in self.files if n not in inside and any(re.fullmatch(each, n) for each in patterns)}
            if files:
                found[part] = files
        return found

    def needs(self, part: str) -> tuple[str, ...]:
        """The parts that a part says that it uses."""
        file = self.root / part / FILE
        return read_part(file, "").needs if file.exists() else ()

    def users(self, part: str) -> set[str]:
        """The part and all parts that need it, directly or not: what is removed with it."""
        found = {part}
        while more := {each for each in self.parts if found & set(self.needs(each))} - found:
            found |= more
        return found

    def removed_with(self, part: str) -> set[str]:
        """The files that go when the part goes."""
        return set().union(*(self.parts[each] for each in self.users(part)))

    def faults(self, part: str) -> list[str]:
        """What no part may be."""
        own = self.parts[part]
        lines = sum(self.lines[name] for name in own)
        said = [f"{lines} lines of code, at most {MOST_LINES}"] if lines > MOST_LINES else []
        said += [f"{len(own)} files, at most {MOST_FILES}"] if len(own) > MOST_FILES else []
        file = self.root / part / FILE
        if file.exists():
            if (n := len(file.read_text(encoding="utf-8").splitlines())) > MOST_LINES_OF_A_FACT:
                said.append(f"{n} lines of {FILE}, at most {MOST_LINES_OF_A_FACT}")
            said += [f"needs {each}, which is no part" for each in self.needs(part) if each not in self.parts]
        return said

    def ties(self, part: str) -> tuple[list[str], list[str]]:
        """Files outside of a part, and of what needs it, that import it; and those that name it in a string: all that would have
        to be changed if it were removed."""
        own = self.removed_with(part)
        word = part.rpartition("/")[2] if "/" in part else ""
        hard = sorted(name for name, found in self.imports.items() if name not in own and found & own)
        soft = [
            name
            for name, found in self.named.items()
            if name not in own and name not in hard and (found & own or (len(word) > 2 and word in self.words[name]))
        ]
        return hard, sorted(soft)

    @cached_property
    def all_ties(self) -> dict[str, int]:
        return {part: sum(map(len, self.ties(part))) for part in self.parts}

    @cached_property
    def outwards(self) -> list[tuple[str, str]]:
        """(file of the core, file of a part that it imports)"""
        inside = set().union(*self.parts.values())
        return [(name, found) for name in sorted(self.core) for found in sorted(self.imports[name] & inside)]

    def longest_chain(self) -> int:
        """Of the core: files of which each imports the next."""
        depth: dict[str, int] = {}

        def follow(name: str, above: frozenset[str]) -> int:
            if name not in depth:
                below = (self.eager[name] & self.core) - above - {name}
                depth[name] = 1 + max((follow(each, above | {name}) for each in below), default=0)
            return depth[name]

        return max((follow(name, frozenset()) for name in sorted(self.core)), default=0)

    def numbers(self) -> dict[str, int]:
        """What tests/parts.json limits."""
        return {
            "ties of parts": sum(self.all_ties.values()),
            "lines of code of the core": sum(self.lines[name] for name in self.core),
            "files of the core": len(self.core),
            "imports of parts by the core": len(self.outwards),
            "longest chain of imports in the core": self.longest_chain(),
        }

    def tests_of(self, part: str) -> list[Path]:
        """The files of tests under a part's own path."""
        return sorted((self.root / "tests" / part).rglob("test_*.py")) if "/" in part else []


def count_seconds(costs: dict[str, FileCost], folder: str = "") -> tuple[int, float, float]:
    """Return (cases, their processor seconds, those of the slow ones among them) of the tests in a folder of tests/."""
    found = [cost for name, cost in costs.items() if name.startswith(f"tests/{folder}/" if folder else "tests/")]
    slow = sum(sum(cost.slow.values()) for cost in found)
    return sum(cost.quick + len(cost.slow) for cost in found), sum(cost.seconds for cost in found), slow


MOST_S = 20  # a part whose tests take more has a row of its own


def make_seconds_table(house: House, costs: dict[str, FileCost]) -> str:
    """Return the table of the processor seconds of all tests, by folder."""
    folders = {"/".join(name.split("/")[1:-1][: 2 if name.split("/")[1] in PACKAGES else 1]) for name in costs}
    long = [part for part in house.parts if count_seconds(costs, part)[1] >= MOST_S]
    lines = ["| tests of | cases | seconds | of slow cases |", "|---|---|---|---|"]
    for folder in (*sorted([*filter(None, folders), *long]), ""):
        cases, seconds, slow = count_seconds(costs, folder)
        title = f"{'of it: ' * (folder in long)}`{folder}`" if folder else "all"
        lines.append(f"| {title} | {cases} | {seconds:.0f} | {slow:.0f} |")
    return "\n".join(lines)


JOURNEY = r'''
import contextlib, importlib, io, json, os, pathlib, sys, tempfile
root, recordings = pathlib.Path(sys.argv[1]), sys.argv[2]
os.environ["PLIF_NO_CALIBRATION"] = "1"
sys.path.insert(0, str(root)); os.chdir(root)
found, work = {}, pathlib.Path(tempfile.mkdtemp())

def step(label, call):
    try:
        said = call()
        found[label] = "ok" if said in (None, 0) else str(said)
    except BaseException as wrong:
        found[label] = f"{type(wrong).__name__}: {str(wrong)[:200]}"

def command(*words):
    try:
        from runtime.core.cli.main import run
    except ModuleNotFoundError:
        from runtime.core.cli.main import run
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(list(words))
    return None if code in (0, None) else f"exit {code}: {err.getvalue().strip()[-200:]}"

def import_plif():
    importlib.import_module("plif").load

step("import plif", import_plif)
for words in (("--help",), *((name, "--help") for name in ("info", "eval", "stream", "export", "verify", "train"))):
    step(" ".join(words), lambda: command(*words))
network, artifact = "c4k3s1-BN-PLIF-MPk2s2-FC100-PLIF-APk10s10", str(work / "digits.onnx")
few = ("--T", "4", "--epochs", "1", "--limit-train", "16", "--limit-test", "16")
step("train", lambda: command("train", network, "--data", "nmnist:" + recordings, *few, "--out", str(work / "t.pt")))
step("export", lambda: command("export", "models/nmnist-digits.pt", "-o", artifact))
step("verify", lambda: command("verify", artifact, "--against", "models/nmnist-digits.pt"))
step("eval", lambda: command("eval", artifact, "--data", "nmnist:" + recordings, "--limit", "20"))
one = next(pathlib.Path(recordings).rglob("*.bin"))
step("stream", lambda: command("stream", artifact, str(one), "--json"))
step("info", lambda: command("info", artifact))
print(json.dumps(found))
'''  # fmt: skip


def do_main_job(root: Path, recordings: Path) -> dict[str, str]:
    """{step of the main job: what went wrong} with the sources under `root`; empty where all works."""
    line = [sys.executable, "-c", JOURNEY, str(root), str(recordings)]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        return {"main job": (done.stderr.strip().splitlines() or ["it ended without a word"])[-1][:200]}
    found: dict[str, str] = json.loads(done.stdout.strip().splitlines()[-1])
    return {label: said for label, said in found.items() if said != "ok"}


def copy_sources(house: House, to: Path, without: set[str]) -> None:
    """The product into an empty folder, but for these files, and for whatever else lies in folders that have no other sources."""
    kept = {Path(name).parent for name in set(house.files) - without}
    gone = {Path(name).parent for name in without} - kept
    for package in PACKAGES:
        for path in (house.root / package).rglob("*"):
            name = path.relative_to(house.root)
            ours = name.as_posix() not in without if name.as_posix() in house.files else not gone & set(name.parents)
            if path.is_file() and "__pycache__" not in path.parts and ours:
                (to / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, to / name)
    shutil.copy(house.root / "plif.py", to)
    shutil.copytree(house.root / "models", to / "models")


def main_job_without(house: House, without: set[str], recordings: Path) -> dict[str, str]:
    """What of the main job fails in a copy that these files were removed from."""
    with tempfile.TemporaryDirectory() as empty:
        copy_sources(house, Path(empty), without)
        return do_main_job(Path(empty), recordings)


def lower(house: House) -> None:
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    for name, now in house.numbers().items():
        record["most"][name] = min(record["most"].get(name, now), now)
    record["parts"] = {name: said for name, said in record["parts"].items() if name in house.parts}
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("names", nargs="*")
    asked.add_argument("-v", action="store_true")
    asked.add_argument("--recordings", type=Path, default=ROOT.parent / "shared" / "data" / "nmnist_small")
    for flag in ("--core", "--removed", "--alone", "--lower", "--seconds"):
        asked.add_argument(flag, action="store_true")
    said = asked.parse_args()
    house = House()
    parts: list[str] = said.names or sorted(house.parts)
    costs = read_costs()
    if said.seconds:
        print(make_seconds_table(house, costs))
        return
    if said.lower:
        lower(house)
    if said.removed or said.alone:
        inside = {"the core alone": set().union(*house.parts.values())}
        failed = 0
        for name, files in inside.items() if said.alone else ((part, house.removed_with(part)) for part in parts):
            wrong = main_job_without(house, files, said.recordings)
            failed += bool(wrong)
            print(f"{name:44s} {wrong or 'the main job works'}", flush=True)
        sys.exit(bool(failed))
    if not said.core:
        for part in parts:
            own, (hard, soft) = house.parts[part], house.ties(part)
            python = sum(house.lines[name] for name in own if name.endswith(".py"))
            other = sum(house.lines[name] for name in own) - python
            seconds = count_seconds(costs, part)[1]
            counted = f"files {len(own):3d} python {python:5d} other {other:5d}"
            counted += f" tests {len(house.tests_of(part)):3d} seconds {seconds:6.1f}"
            print(f"{part:44s} {counted} imported by {len(hard):3d} named by {len(soft):2d}")
            if said.v:
                print(
                    *(f"      imports {name}" for name in hard), *(f"      names   {name}" for name in soft), sep="\n"
                )
                print(*(f"      fault   {line}" for line in house.faults(part)), sep="\n")
    if said.core and said.v:
        print(*(f"    {name} -> {found}" for name, found in house.outwards), sep="\n")
    for name, now in house.numbers().items():
        print(f"{now:6}  {name}")


if __name__ == "__main__":
    main()
