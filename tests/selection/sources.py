"""The files that a test file depends on, and keys over their contents.

near  the core; the part that it tests, with all that this needs; parts that it or a helper imports; the file, its helpers, and
      other helpers in its folder
far   whatever else its slow cases were seen to open (tests/costs.json): parts that a command loads, pages, data
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import platform
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from runtime.core.parts import FILE, PACKAGES, read_part
from tests.selection.imports import REPOSITORY, list_helpers, list_imports

CORE = "core"
CORE_FILES = (
    *("plif.py", "setup.py", "build_backend.py", "build_sbom.py", "pyproject.toml"),
    *("tests/conftest.py", "tests/recorded.py", "tests/warm_child.py"),
)


class NoGit(Exception):
    """Git is not here, or does not know."""


def ask_git(*words: str) -> list[str]:
    """Return what a git command prints, cut at NUL. Raises NoGit."""
    try:
        done = subprocess.run(["git", *words], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise NoGit from error
    return [name for name in done.stdout.split("\0") if name]


def find_commit() -> str:
    """Return the last commit of this clone, in eight digits; empty where git does not tell."""
    with suppress(NoGit):
        return ask_git("rev-parse", "--short=8", "HEAD")[0].strip()
    return ""


@functools.cache
def list_files() -> tuple[str, ...]:
    """Return the paths of all files of the repository, without those that git ignores."""
    try:
        names = ask_git("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    except NoGit:  # a copy
        names = [path.relative_to(REPOSITORY).as_posix() for path in REPOSITORY.rglob("*")]
    hidden = ("__pycache__", "build", ".venv")
    return tuple(sorted(n for n in names if not set(hidden) & set(n.split("/")) and (REPOSITORY / n).is_file()))


@functools.cache
def list_parts() -> frozenset[str]:
    """Return the folders of all parts."""
    return frozenset(name.removesuffix(f"/{FILE}") for name in list_files() if name.endswith(f"/{FILE}"))


@functools.cache
def find_area(name: str) -> str:
    """Return the part that a file belongs to, CORE, or else the file."""
    folders = name.split("/")
    for depth in range(1, len(folders)):
        if (folder := "/".join(folders[:depth])) in list_parts():
            return folder
    return CORE if folders[0] in PACKAGES or name in CORE_FILES else name


@functools.cache
def list_needed(part: str) -> frozenset[str]:
    """Return a part with all parts that it needs."""
    needs = read_part(REPOSITORY / part / FILE, "").needs
    return frozenset({part}).union(*map(list_needed, needs))


@functools.cache
def list_near(test_file: str) -> frozenset[str]:
    """Return the files and areas that a test file is about."""
    path = REPOSITORY / test_file
    beside = (file for file in path.parent.glob("*.py") if not file.name.startswith("test_"))
    above = (folder / "conftest.py" for folder in path.parents if folder.is_relative_to(REPOSITORY / "tests"))
    files = {path, *list_helpers(path), *beside, *filter(Path.is_file, above)}
    modules = {name.replace(".", "/") for file in files for name in list_imports(file) if name.startswith(PACKAGES)}
    found = {file.relative_to(REPOSITORY).as_posix() for file in files}
    imported = {area for name in modules if (area := find_area(f"{name}/{FILE}")) in list_parts()}
    own = test_file.removeprefix("tests/")  # the tests of a part lie under its path
    parts = (list_needed(part) for part in list_parts() if own.startswith(f"{part}/"))
    return frozenset(found | imported | {CORE}).union(*parts)


@functools.cache
def digest_sources() -> dict[str, str]:
    """Return {file or area: SHA-256 over the names and contents of its files}."""
    digests: dict[str, hashlib._Hash] = {}
    for name in list_files():
        content = hashlib.sha256((REPOSITORY / name).read_bytes()).digest()
        for place in {name, find_area(name)}:
            digests.setdefault(place, hashlib.sha256()).update(name.encode() + b"\0" + content)
    return {place: digest.hexdigest() for place, digest in digests.items()}


@functools.cache
def digest_installation() -> str:
    """Return a SHA-256 of the processor's kind, the Python and the versions of all that pip installed."""
    installed = sorted(f"{each.name} {each.version}" for each in importlib.metadata.distributions())
    return hashlib.sha256("\n".join([platform.machine(), sys.version, *installed]).encode()).hexdigest()


def make_key(places: Iterable[str]) -> str:
    """Return a key over files and areas: equal where all of them, and what is installed, are equal."""
    digests = digest_sources()
    lines = [f"{place} {digests.get(place)}" for place in sorted(places)]
    return hashlib.sha256("\n".join([digest_installation(), *lines]).encode()).hexdigest()


def list_changes() -> frozenset[str]:
    """Return the files, and their areas, in which this clone differs from its upstream, or else from its last commit.

    Empty where git does not tell.
    """
    base = "HEAD"
    with suppress(NoGit):
        base = ask_git("rev-parse", "--verify", "--quiet", "@{upstream}")[0].strip()
    try:
        names = ask_git("diff", "--name-only", "-z", base) + ask_git("ls-files", "-z", "--others", "--exclude-standard")
    except NoGit:
        return frozenset()
    return frozenset(names) | frozenset(map(find_area, names))
