"""The licences of everything that an installation of plif brings: `python tests/licences.py [EXTRA...]` prints a table.

It follows the requirements of the installed packages, from plif's own on, and reads what each says of itself. A licence that is
not in requirements/licences.json is an error; each has the spelling of the packages. NVIDIA's own licences are for its libraries
alone (`nvidia-*`), which PyPI's PyTorch brings (docs/install.md).
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ALLOWED: dict[str, list[str]] = json.loads(
    (Path(__file__).parent.parent / "requirements" / "licences.json").read_text(encoding="utf-8")
)


def licence_of(package: str) -> str:
    """The SPDX expression, else the classifiers, else the licence field, else the title of the licence file it brings.

    A package that brings no file of its own, only others, needs none.
    """
    about = importlib.metadata.metadata(package)
    classified = [c.rpartition(" :: ")[2] for c in about.get_all("Classifier") or [] if c.startswith("License ::")]
    text = (about.get("License") or "").strip().splitlines()
    said = about.get("License-Expression") or ", ".join(classified) or (text[0][:60] if text else "")
    if said:
        return said
    files = importlib.metadata.files(package) or []
    licences = [file for file in files if file.name.upper().startswith("LICEN")]
    if licences:
        return licences[0].read_text().strip().splitlines()[0].strip()
    if all(file.parts[0].endswith(".dist-info") for file in files):
        return "none: no files, only other packages"
    return "not stated"


def brought_by(package: str, extras: Iterable[str] = ()) -> Iterator[str]:
    """The names of the packages that this one requires here, at any depth."""
    seen: set[tuple[str, str]] = set()
    waiting = [(package, extra) for extra in ("", *extras)]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            required = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:  # for another platform, or an extra that is not installed
            continue
        if name != package:
            yield name
        for requirement in map(Requirement, required):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                waiting += [(canonicalize_name(requirement.name), one) for one in ("", *requirement.extras)]


def table(extras: Iterable[str] = ("all",)) -> dict[str, str]:
    """{package: licence}, sorted by name."""
    return {name: licence_of(name) for name in sorted(set(brought_by("plif", extras)))}


def list_refused(licences: Mapping[str, str], *lists: str) -> dict[str, str]:
    """Those of {package: licence} whose licence is on none of these lists of requirements/licences.json."""
    return {
        package: licence
        for package, licence in licences.items()
        if not is_allowed(
            licence, [one for name in (*lists, *(n for n in ALLOWED if fnmatch(package, n))) for one in ALLOWED[name]]
        )
    }


def is_allowed(licence: str, allowed: Collection[str]) -> bool:
    """Check each licence of an SPDX expression or of a list with commas; of `A OR B` one is enough."""
    if licence in allowed:
        return True
    parts = [part.split(" OR ") for part in re.split(r" AND |, ", licence)]
    return all(any(one in allowed or one.strip("()") in allowed for one in either) for either in parts)


if __name__ == "__main__":
    licences = table(sys.argv[1:] or ["all"])
    for name, licence in licences.items():
        print(f"{name:<32}{licence}")
    refused = list_refused(licences, "users")
    sys.exit(f"not in requirements/licences.json: {', '.join(refused)}" if refused else 0)
