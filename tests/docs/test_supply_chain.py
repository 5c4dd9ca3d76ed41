"""What is installed and published is named: locks with hashes, licences from a list, an audit with its date."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import build_backend
from docs import audit
from tests.conftest import REPOSITORY, pyproject
from tests.licences import ALLOWED, is_allowed, licence_of, list_refused, table

FOLDER = REPOSITORY / "requirements"
PROJECT = pyproject()["project"]
IMAGE = ("cpu", "aedat4", "dashboard")
PYTHONS = ("3.11", "3.12", "3.13", "3.14")


def read_lock(name: str) -> list[tuple[Requirement, int]]:
    """(package with version and marker, number of its hashes) of each entry."""
    text = (FOLDER / name).read_text(encoding="utf-8").replace("\\\n", " ")
    entries = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [
        (Requirement(line.partition(" --hash")[0]), len(re.findall(r" --hash=sha256:[0-9a-f]{64}\b", line)))
        for line in entries
    ]


def read_names(name: str) -> list[Requirement]:
    lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
    return [Requirement(line.partition("  #")[0]) for line in lines if line and not line.startswith(("#", "-r"))]


def list_wanted(extras: tuple[str, ...]) -> Iterator[Requirement]:
    """The requirements in pyproject.toml of plif with these extras; of plif[a,b] those of a and b."""
    for line in [*PROJECT["dependencies"], *(line for e in extras for line in PROJECT["optional-dependencies"][e])]:
        requirement = Requirement(line)
        if requirement.name == "plif":
            yield from list_wanted(tuple(requirement.extras))
        else:
            yield requirement


def list_lacking(lock: str, wanted: list[Requirement], python: str) -> list[str]:
    """The requirements that no entry of the lock fulfils with that Python on Linux."""
    here = {"python_version": python, "python_full_version": f"{python}.9", "sys_platform": "linux"}
    here |= {"platform_machine": "x86_64", "extra": ""}
    versions = {
        canonicalize_name(entry.name): str(entry.specifier).removeprefix("==")
        for entry, _ in read_lock(lock)
        if entry.marker is None or entry.marker.evaluate(here)
    }
    asked = [need for need in wanted if need.marker is None or need.marker.evaluate(here)]
    return [
        str(need) for need in asked if not need.specifier.contains(versions.get(canonicalize_name(need.name), "0a0"))
    ]


UNLOCKED = {requirement.name for requirement in read_names("unlocked.txt")}


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("lock, extras", [("ci.txt", ("all", "dev")), ("image.txt", IMAGE)])
def test_a_lock_has_every_requirement_of_the_project(lock: str, extras: tuple[str, ...], python: str) -> None:
    wanted = [need for need in list_wanted(extras) if need.name not in UNLOCKED]
    assert len(wanted) >= 6 and not list_lacking(lock, wanted, python), "make lock"


def test_a_lock_has_what_its_own_list_asks_for_and_the_linters_to_the_digit() -> None:
    assert not list_lacking("build.txt", [*read_names("build.in"), *map(Requirement, _build_requires())], "3.11")
    assert not list_lacking("sources.txt", read_names("sources.in"), "3.11")
    linters = [Requirement(line) for line in (REPOSITORY / ".ci" / "lint.txt").read_text().splitlines()]
    compiler = Requirement(build_backend.ZIGLANG)
    wanted = [*read_names("ci.in"), *read_names("build.in"), *linters, compiler]
    assert not list_lacking("ci.txt", wanted, "3.11"), "make lock"


def _build_requires() -> list[str]:
    return list(pyproject()["build-system"]["requires"])


@pytest.mark.parametrize("lock", ["ci.txt", "image.txt", "build.txt", "sources.txt"])
def test_every_package_of_a_lock_has_one_version_and_its_hashes(lock: str) -> None:
    entries = read_lock(lock)
    assert entries and all(re.fullmatch(r"==[\w.]+", str(entry.specifier)) and hashes for entry, hashes in entries)


def test_the_image_has_the_versions_that_ci_has_and_nothing_of_pytorch() -> None:
    tested = {str(entry).partition(";")[0].strip() for entry, _ in read_lock("ci.txt")}
    assert {str(entry).partition(";")[0].strip() for entry, _ in read_lock("image.txt")} <= tested
    names = {entry.name for lock in ("ci.txt", "image.txt") for entry, _ in read_lock(lock)}
    assert not {name for name in names if name in UNLOCKED or name.startswith(("nvidia-", "triton-", "cuda-"))}


def test_only_pytorch_is_not_locked_and_what_it_requires_is() -> None:
    assert {"torch", "torchvision"} == UNLOCKED
    needs = [Requirement(line) for line in importlib.metadata.requires("torch") or [] if "extra ==" not in line]
    of_cuda = ("nvidia-", "cuda-", "triton")  # of PyPI's build
    wanted = [need for need in needs if not need.name.startswith(of_cuda)]
    assert wanted and not list_lacking("ci.txt", wanted, "3.11")


def test_ci_a_release_and_the_image_install_by_hash() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    (locked,) = re.findall(r"^locked:.*\n((?:\t.*\n)+)", makefile, re.M)
    assert "for file in build sources ci;" in locked and "--require-hashes" in locked and "--no-deps" in locked
    assert "pip check" in locked and "PIP_NO_BUILD_ISOLATION=0" in locked
    (wheels,) = re.findall(r"^wheels:.*\n((?:\t.*\n)+)", makefile, re.M)
    assert "build --no-isolation" in wheels and "--require-hashes -r requirements/build.txt" in makefile
    assert f"IMAGE := {' '.join(IMAGE)}#" in makefile
    dockerfile = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
    assert f"plif[{','.join(IMAGE)}]" in dockerfile
    installs = re.findall(r"-m pip install ([^\\]+)", dockerfile)
    assert len(installs) == 3
    assert all("--require-hashes" in line or "--no-deps --no-index dist/plif-*.whl" in line for line in installs)


def test_every_licence_is_on_the_list() -> None:
    users = table()
    assert {"hdf5plugin", "rosbags", "numpy", "torch"} <= set(users), "those of plif[all]"
    assert not list_refused(users, "users")
    known = {}
    for name in {entry.name for entry, _ in read_lock("ci.txt")} | UNLOCKED:
        try:
            known[name] = licence_of(name)
        except importlib.metadata.PackageNotFoundError:  # for another platform, or not installed by the lock
            continue
    assert len(known) > 100 and not list_refused(known, "users", "tests and tools")


def test_nvidias_licences_are_for_its_libraries_alone() -> None:
    said = ("LicenseRef-NVIDIA-Proprietary", "NVIDIA Proprietary Software")  # with PyTorch 2.15 of PyPI
    for licence in said:
        packages = {"nvidia-cublas": licence, "another": licence, "not-nvidia-cublas": licence}
        assert list(list_refused(packages, "users")) == ["another", "not-nvidia-cublas"]
    assert list_refused({"nvidia-cublas": "GPL-3.0-only"}, "users")


@pytest.mark.parametrize(
    "licence, allowed",
    [
        ("MIT", True),
        ("MIT AND GPL-3.0-only", False),
        ("GPL-3.0-only OR MIT", True),
        ("(GPL-3.0-only OR MIT) AND Zlib", True),
        ("(GPL-3.0-only OR LGPL-3.0-only) AND Zlib", False),
        ("MIT License, GNU General Public License v3 (GPLv3)", False),
        ("GPL-2.0-only WITH Classpath-exception-2.0", False),
        ("not stated", False),
    ],
)
def test_each_part_of_a_licence_must_be_on_the_list(licence: str, allowed: bool) -> None:
    assert is_allowed(licence, ALLOWED["users"]) is allowed


def answer(*packages: dict[str, Any]) -> tuple[str, ...]:
    """A stand-in for pip-audit, which ends with 0 whatever it says."""
    return (sys.executable, "-c", f"print({json.dumps({'dependencies': packages})!r})")


def test_an_audit_writes_its_date_and_fails_for_what_it_finds_or_cannot_look_up(tmp_path: Path) -> None:
    place = tmp_path / "audit.json"
    ok = {"name": "ok", "version": "1", "vulns": []}
    bad = {"name": "bad", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": []}]}
    lost = {"name": "lost", "skip_reason": "not found on PyPI"}
    own = {"name": "plif", "skip_reason": "distribution marked as editable"}
    assert audit.audit(place, answer(ok, own)) == []
    today = datetime.date.today().isoformat()
    assert json.loads(place.read_text()) == {"date": today, "packages": 1, "vulnerabilities": {}, "not audited": []}
    first, second = audit.audit(place, answer(ok, bad, lost, own))
    assert first == "bad 2: PYSEC-1" and "1 of 3 packages could not be looked up" in second and "lost" in second
    kept = json.loads(place.read_text())
    assert kept["vulnerabilities"] == {"bad 2": ["PYSEC-1"]} and kept["not audited"] == ["lost"]
    assert audit.audit(place, answer(own)) == ["no package was looked up"]
    (line,) = audit.audit(place, (sys.executable, "-c", "raise SystemExit(1)"))
    assert "nothing was audited" in line and json.loads(place.read_text())["packages"] == 0, "the last answer stays"


def test_the_record_of_the_last_audit_has_a_date_and_what_was_not_audited() -> None:
    record = json.loads(audit.PLACE.read_text())
    assert set(record) == {"date", "packages", "vulnerabilities", "not audited"} and record["packages"] > 100
    assert datetime.date.fromisoformat(record["date"]) >= datetime.date(2026, 12, 3)
    page = (REPOSITORY / "SECURITY.md").read_text(encoding="utf-8")
    claim = "could look up none of its packages"
    assert (claim in page) == (len(record["not audited"]) == record["packages"]), "SECURITY.md says what the last found"
