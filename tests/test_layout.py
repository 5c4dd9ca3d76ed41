"""Imports point one way. Read from the source, so those inside functions and under TYPE_CHECKING count too.

A module that is named in a string ("plif_train.core.cli", as the command line mounts it) is no import.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {  # package -> those of ours that it may import
    "runtime": ("runtime",),
    "plif_train": ("runtime", "plif_train"),
    "plif_export": ("runtime", "plif_train", "plif_export"),
    "plif": ("runtime", "plif_train", "plif_export", "plif"),
}
# The folders of a package in their order, and files that stand among them: each imports only what stands before it.
ROOMS = {
    "runtime": (
        "core/base", "core/parts", "core/observers", "core/model", "native", "core/events", "core/engines", "core/data",
        "core/stream", "core/api", "core/measure", "core/cli",
        "neurons", "operations", "forms", "formats", "artifacts", "engines", "datasets", "sources", "observers", "commands",
    ),
    "plif_export": ("core/readers", "core/passes", "core/writers", "core/targets"),
}  # fmt: skip
# What is built on the folders of plif_export: they, and proof beside them, do not know it.
ON_TOP = ("core/prove", "core/pipeline", "commands", "core/cli")


class Import(NamedTuple):
    module: str  # who imports
    target: str  # what: a module of ours
    place: str  # file and line


def read_sources() -> dict[str, str]:
    """{path: source} of all three packages, and of plif.py on top of them."""
    files = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))] + [ROOT / "plif.py"]
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in files}


def imports(sources: Mapping[str, str]) -> list[Import]:
    """Every import of a module of ours, wherever it stands in a file."""
    names = {path: path.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for path in sources}
    modules = set(names.values())
    found = []
    for path, source in sources.items():
        for node in ast.walk(ast.parse(source, path)):
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{path}:{node.lineno}: a relative import; expected the whole name"
                whole = [f"{node.module}.{alias.name}" for alias in node.names]
                targets = [name if name in modules else str(node.module) for name in whole]
            else:
                continue
            ours = [name for name in dict.fromkeys(targets) if name.partition(".")[0] in PACKAGES]
            found += [Import(names[path], name, f"{path}:{node.lineno}") for name in ours if name != names[path]]
    return found


def room_of(module: str) -> str:
    """runtime.observers.dashboard.board -> observers; runtime.core.events.size -> core/events; runtime -> runtime"""
    _, *inside = module.split(".")
    if inside[:1] == ["core"]:
        return "/".join(inside[:2])
    return inside[0] if inside else module


def problem_of(found: Import) -> str | None:
    """Why an import is not allowed."""
    package, _, inside = found.module.partition(".")
    other = found.target.partition(".")[0]
    if other not in PACKAGES[package]:
        return f"{package} imports nothing of {other}"
    if other != package or not inside:  # a package's own __init__ stands on top of it
        return None
    room, target = room_of(found.module), room_of(found.target)
    if target == package:
        return f"{package} itself names what is inside; import that"
    rooms = ROOMS.get(package, ())
    if room.startswith("core") and not target.startswith(("core", "native")):
        return f"{package}/core knows no part"
    if package == "runtime" and (unknown := {room, target} - set(rooms)):
        return f"{package}/{unknown.pop()} has no place in the order {', '.join(rooms)}"
    if room in rooms and target in rooms and rooms.index(target) > rooms.index(room):
        before = ", ".join(rooms[: rooms.index(room)]) or "nothing of ours"
        return f"{package}/{room} may import {before}, not {target}"
    if package == "plif_export" and target in ON_TOP and room in (*rooms, "core/proof"):
        return f"{package}/{room} knows nothing of {target}, which is built on it"
    return None


def circles(edges: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Groups of names in which each leads to each other."""
    after: dict[str, set[str]] = {}
    for start, end in edges:
        if start != end:
            after.setdefault(start, set()).add(end)
    reached: dict[str, set[str]] = {}
    for start in after:
        waiting, seen = [start], set()
        while waiting:
            new = after.get(waiting.pop(), set()) - seen
            seen |= new
            waiting += new
        reached[start] = seen
    groups = {frozenset(n for n in seen if start in reached.get(n, ())) for start, seen in reached.items()}
    return sorted(sorted(group) for group in groups if group)


def in_circles(found: list[Import], name: Mapping[str, str]) -> str:
    """The imports that make circles of names, each with its place; empty when there is none."""
    lines = []
    for group in circles((name[one.module], name[one.target]) for one in found):
        lines.append(f"a circle of {', '.join(group)}:")
        inside = [one for one in found if {name[one.module], name[one.target]} <= set(group)]
        lines += [f"  {one.place} imports {one.target}" for one in inside if name[one.module] != name[one.target]]
    return "\n".join(lines)


@pytest.fixture(scope="module")
def all_imports() -> list[Import]:
    return imports(read_sources())


def of(package: str, found: list[Import]) -> list[Import]:
    return [one for one in found if one.module.partition(".")[0] == package]


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_one_way(package: str, all_imports: list[Import]) -> None:
    problems = [(one, problem_of(one)) for one in of(package, all_imports)]
    wrong = [f"{one.place} imports {one.target}: {problem}" for one, problem in problems if problem]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_files_name_each_other_in_a_circle(package: str, all_imports: list[Import]) -> None:
    found = of(package, all_imports)
    text = in_circles(found, {name: name for one in found for name in one[:2]})
    assert not text, text


@pytest.mark.parametrize("package", PACKAGES)
def test_no_folders_name_each_other_in_a_circle(package: str, all_imports: list[Import]) -> None:
    found = [one for one in of(package, all_imports) if one.module != package and one.target.startswith(f"{package}.")]
    text = in_circles(found, {name: room_of(name) for one in found for name in one[:2]})
    assert not text, text


NAMED = re.compile(r"(?<![\w./-])((?:runtime|plif_train|plif_export|tests|bench)/[\w/-]+\.(?:py|[ch]|md))\b")


def is_of_a_removed_part(name: str) -> bool:
    """What lies in runtime/formats/rosbag, or a test of it, where there is no such folder: a page may still name it."""
    facts = [file for package in PACKAGES for file in (ROOT / package).rglob("part.py")]
    kinds = {file.parent.parent.relative_to(ROOT) for file in facts}
    places = Path(name.removeprefix("tests/")).parents
    return any(kind in kinds and not (ROOT / part).is_dir() for part, kind in pairwise(places))


def test_a_file_that_code_or_a_page_names_is_there() -> None:
    folders = [ROOT / folder for folder in (*PACKAGES, "docs")]
    files = [
        path for folder in folders for path in folder.rglob("*") if path.suffix in (".py", ".c", ".h", ".js", ".md")
    ]
    texts = {path: path.read_text(encoding="utf-8") for path in (*files, *ROOT.glob("*.md"))}
    named = [(path, found[1]) for path, text in texts.items() for found in NAMED.finditer(text)]
    assert len(named) > 100
    gone = [
        f"{path.relative_to(ROOT)}: {name}"
        for path, name in named
        if not (ROOT / name).exists() and "NAME" not in name and not is_of_a_removed_part(name)
    ]
    assert not gone, "\n".join(gone)


def test_the_check_names_file_line_and_what_is_imported() -> None:
    sources = {
        "runtime/__init__.py": "from runtime.core.api import load\n",
        "runtime/core/api.py": "import plif_train.core.cli\nfrom runtime import load\n",
        "runtime/core/base/files.py": "def read():\n    from runtime.core.stream import queue\n    return queue\n",
        "runtime/core/stream/__init__.py": "",
        "runtime/core/stream/queue.py": "if TYPE_CHECKING:\n    import runtime.core.base.files\nNAME = 'plif_train.core.cli'\n",
        "runtime/loose/one.py": "from runtime.core.base.files import read\n",
        "plif_train/core/cli.py": "from runtime.core.stream.queue import NAME\n",
        "plif_export/core/proof/gate.py": "from plif_export.core import pipeline\n",
        "plif_export/core/pipeline.py": "from plif_export.core.proof.gate import prove\n",
    }
    found = imports(sources)
    problems = {one.place: str(problem_of(one)) for one in found if problem_of(one)}
    assert problems == {
        "runtime/core/api.py:1": "runtime imports nothing of plif_train",
        "runtime/core/api.py:2": "runtime itself names what is inside; import that",
        "runtime/core/base/files.py:2": "runtime/core/base may import nothing of ours, not core/stream",
        "runtime/loose/one.py:1": f"runtime/loose has no place in the order {', '.join(ROOMS['runtime'])}",
        "plif_export/core/proof/gate.py:1": "plif_export/core/proof knows nothing of core/pipeline, which is built on it",
    }
    own = of("runtime", found)
    text = in_circles(own, {name: name for one in own for name in one[:2]})
    assert "a circle of runtime.core.base.files, runtime.core.stream.queue:" in text
    assert "runtime/core/base/files.py:2 imports runtime.core.stream.queue" in text
    assert "runtime/core/stream/queue.py:2 imports runtime.core.base.files" in text
    assert circles([("a", "b"), ("b", "c"), ("c", "a"), ("c", "d"), ("d", "d")]) == [["a", "b", "c"]]
