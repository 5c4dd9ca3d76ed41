"""Counts how much of the house a reader must walk. tests/test_house.py holds the numbers; `python tests/house.py` prints them.

    python tests/house.py           every number beside its limit
    python tests/house.py --lower   writes limits that have become smaller; none is ever raised by it

The limits stand in tests/house.json, each with its reason. Imports are read from the source, those inside functions and under
TYPE_CHECKING too: a reader must know them all the same. tests/parts.py counts the core, and what can be removed.
"""

from __future__ import annotations

import ast
import collections
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("runtime", "plif_train", "plif_export")
LIMITS = ROOT / "tests" / "house.json"
SOURCES = (".py", ".c", ".h", ".js")
SMALL = 80  # lines: a module below, which one other imports, is a helper that should lie with its caller
LONG = 350
PROMISED = {"Model"}  # plif.Model has the verbs of runtime.Model and more: both names are public


def product_files() -> list[Path]:
    """All sources of the product, those that are generated or built left out."""
    tops = [ROOT / "plif.py", *(ROOT / package for package in PACKAGES)]
    found = [path for top in tops for path in ([top] if top.is_file() else sorted(top.rglob("*")))]
    return [path for path in found if path.suffix in SOURCES and "__pycache__" not in path.parts and path.is_file()]


def modules() -> dict[str, Path]:
    names = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in product_files() if path.suffix == ".py"
    }
    return {name.removesuffix(".__init__"): path for name, path in names.items()}


def lines_of(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def code_lines(path: Path) -> int:
    """Lines that hold code: no blank ones, no comments, no docstrings. Of C: all lines, as clang-format leaves them."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return len(text.splitlines())
    prose: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            prose |= set(range(node.lineno, int(node.end_lineno or 0) + 1))
    lines = enumerate(text.splitlines(), 1)
    return sum(bool(line.strip()) and not line.strip().startswith("#") and i not in prose for i, line in lines)


def imports_of(path: Path, known: Mapping[str, Path]) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {
                f"{node.module}.{a.name}" if f"{node.module}.{a.name}" in known else node.module for a in node.names
            }
    return {name for name in found if name in known and known[name] != path}


def definitions(path: Path) -> Iterator[tuple[ast.ClassDef | ast.FunctionDef, bool]]:
    """The classes and functions of a file, those of classes too, and whether each is public."""
    waiting = [(node, True) for node in ast.parse(path.read_text(encoding="utf-8")).body]
    while waiting:
        node, public = waiting.pop()
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            public = public and not node.name.startswith("_")
            yield node, public
        if isinstance(node, ast.ClassDef):
            waiting += [(child, public) for child in node.body]


def homonyms() -> list[str]:
    """Names of classes that mean different things in different files."""
    places = collections.defaultdict(set)
    for path in modules().values():
        for node, _ in definitions(path):
            if isinstance(node, ast.ClassDef):
                places[node.name].add(path.relative_to(ROOT).as_posix())
    double = {name: sorted(files) for name, files in places.items() if len(files) > 1 and name not in PROMISED}
    return [f"{name}: {', '.join(files)}" for name, files in sorted(double.items())]


def without_shape() -> list[str]:
    """Public functions that take or give arrays and do not say of which shape."""
    found = []
    for path in modules().values():
        for node, public in definitions(path):
            if not public or not isinstance(node, ast.FunctionDef):
                continue
            annotations = [a.annotation for a in (*node.args.args, *node.args.kwonlyargs)] + [node.returns]
            arrays = any(a is not None and re.search(r"\b(ndarray|Tensor)\b", ast.unparse(a)) for a in annotations)
            if arrays and not re.search(r"\[[^\]]*\]|As |same|shape", ast.get_docstring(node) or ""):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    return found


def matches(pattern: str) -> list[str]:
    """Where Python sources hold a pattern, a line for each time."""
    texts = [(path, path.read_text(encoding="utf-8")) for path in modules().values()]
    return [
        f"{path.relative_to(ROOT)}:{text[: m.start()].count(chr(10)) + 1}"
        for path, text in texts
        for m in re.finditer(pattern, text)
    ]


def lonely() -> list[str]:
    """Small modules with one importer."""
    known = modules()
    importers = collections.defaultdict(set)
    for name, path in known.items():
        for target in imports_of(path, known):
            importers[target].add(name)
    return [
        f"{name} ({min(importers[name])})"
        for name, path in known.items()
        if len(importers[name]) == 1
        and len(path.read_text(encoding="utf-8").splitlines()) <= SMALL
        and path.name not in ("__init__.py", "kind.py", "target.py", "engine.py")  # which the registry of parts imports
    ]


def folders() -> dict[str, int]:
    counted = collections.Counter(
        path.parent.relative_to(ROOT).as_posix() for path in product_files() if path.name != "__init__.py"
    )
    return dict(counted.most_common())


def long_files() -> list[str]:
    return [
        path.relative_to(ROOT).as_posix()
        for path in product_files()
        if len(path.read_text(encoding="utf-8").splitlines()) > LONG
    ]


def sites(pattern: str) -> list[str]:
    """Files of the product and of examples/ that name something."""
    files = [*product_files(), *(path for path in (ROOT / "examples").rglob("*") if path.suffix in SOURCES)]
    return [path.relative_to(ROOT).as_posix() for path in files if re.search(pattern, path.read_text(encoding="utf-8"))]


def outside_parts(pattern: str) -> list[str]:
    """The same, but for parts: each of these may have words of its own for what it makes or runs."""
    parts = [f"{folder.parent.relative_to(ROOT).as_posix()}/" for folder in ROOT.glob("*/*/*/part.py")]
    return [name for name in sites(pattern) if not name.startswith(tuple(parts))]


def core_classes() -> list[str]:
    """Classes that a reader of the streaming core meets: runtime/core/stream, the sources, a session, the framer."""
    core = [p for n, p in modules().items() if re.match(r"runtime\.core\.(stream|events\.sources)\b", n) or n in CORE]
    return [
        f"{path.relative_to(ROOT)} {node.name}"
        for path in core
        for node, _ in definitions(path)
        if isinstance(node, ast.ClassDef)
    ]


CORE = (
    "runtime.core.engines.session",
    "runtime.core.events.framer",
    "runtime.core.events.framing",
    "runtime.core.base.latency",
)
STATIC = {
    "classes of the streaming core": core_classes,
    "homonyms": homonyms,
    "array functions without a shape": without_shape,
    "Any": lambda: matches(r"\bAny\b"),
    "getattr, hasattr, setattr": lambda: matches(r"\b(?:get|has|set)attr\("),
    "small modules with one importer": lonely,
    "files over 350 lines": long_files,
    "files outside of parts that name AvgPool": lambda: outside_parts(r"AvgPool|avg_pool|AVG_POOL"),
    "files outside of parts that name MaxPool": lambda: outside_parts(r"MaxPool|max_pool|MAX_POOL|SPIKE_POOL"),
}
# Prints, of one command: the files of ours in which a function was entered (all threads), and of a stream what one step is.
ENTERED = """
import collections, contextlib, importlib.metadata, io, json, sys, threading
root, log, marks = sys.argv[1], [], []
def enter(frame, event, _):
    name = frame.f_code.co_filename
    if event != "call" or not frame.f_code.co_flags & 1 or not name.startswith(root + "/") or "/.venv/" in name:
        return
    if frame.f_code.co_name == "step" and name.endswith("engines/session.py"):
        marks.append(len(log))
    log.append(name[len(root) + 1:])
main = importlib.metadata.entry_points(group="console_scripts", name="plif")["plif"].load()
sys.argv = ["plif", *sys.argv[2:]]
threading.setprofile(enter); sys.setprofile(enter)
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main()
sys.setprofile(None); threading.setprofile(None)
steps = sorted((len(set(log[a:b])), b - a) for a, b in zip(marks, marks[1:]))
print(json.dumps({"files": sorted(set(log)), "step": steps[len(steps) // 2] if steps else None}))
"""


def entered(*command: str) -> tuple[list[str], tuple[int, int] | None]:
    """(files of ours in which `plif COMMAND` enters a function, (files, calls) from one step of its session to the next)."""
    line = [sys.executable, "-c", ENTERED, str(ROOT), *command]
    done = subprocess.run(line, capture_output=True, text=True, check=True, cwd=ROOT)
    found = json.loads(done.stdout)
    return found["files"], tuple(found["step"]) if found["step"] else None


def main() -> None:
    record = json.loads(LIMITS.read_text(encoding="utf-8"))
    for name, count in STATIC.items():
        found = count()
        print(f"{len(found):6} of at most {record['limits'][name]['most']:6}  {name}")
        if "--lower" in sys.argv:
            record["limits"][name]["most"] = min(record["limits"][name]["most"], len(found))
    if "--lower" in sys.argv:
        LIMITS.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
