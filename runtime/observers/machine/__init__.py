"""Versions, processor and engines of this machine, and what keeps a reader of foreign files from the rest of it: `plif info`."""

from __future__ import annotations

import os
import platform
from typing import Any

from runtime.core.base.declared import ViewOptions
from runtime.core.base.version import __version__
from runtime.core.parts import by_name, find_parts, given_by_parts

PACKAGES = (
    "numpy",
    "onnxruntime",
    "onnx",
    "aedat",
    "dv-processing",
    "neuromorphic-drivers",
    "matplotlib",
)


def hear(file: str | None, view: ViewOptions) -> list[tuple[dict[str, Any], list[tuple[str, Any]], list[str]]]:
    """The document of this machine, and its rows, where no file is asked about."""
    if file is not None:
        return []
    found = environment()
    return [(found, rows_of(found), [])]


def environment() -> dict[str, Any]:
    """What is here, as JSON."""
    from importlib import metadata

    from runtime.core.engines.available import engine_lacks, what_is

    versions: dict[str, str | None] = {}
    engines = engine_lacks()
    confinement = given_by_parts("formats", "confinement")
    confined, lacks = confinement() if confinement else ([], {})
    parts = find_parts("engines").values()
    for package in (*PACKAGES, *(package for part in parts for package in part.packages)):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "plif": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processors": os.cpu_count(),
        "engines": [name for name, lack in engines.items() if lack is None],
        "engines_not_here": {name: lack.why for name, lack in engines.items() if lack is not None},
        "engines_install": {name: lack.install for name, lack in engines.items() if lack is not None},
        "engines_are": {name: what_is(name) for name in engines},
        "adapters": {
            name: [str(gpu) for gpu in part.load(part.adapters)() or ()]
            for name, part in by_name(find_parts("engines")).items()
            if part.adapters and engines[name] is None
        },
        "sandbox": confined,
        "sandbox_not_here": lacks,
        "packages": versions,
    }


def rows_of(found: dict[str, Any]) -> list[tuple[str, str]]:
    """The environment for reading: `environment` has it in parts."""
    rows = [(name, found[name]) for name in ("plif", "python", "system", "processors")]
    rows.append(("engines that can run", ", ".join(found["engines"]) or "none"))
    for name, what in found["engines_are"].items():
        rows.append((f"engine {name}", what))
        rows += [("  on", gpu) for gpu in found["adapters"].get(name, ())]
        if name in found["engines_not_here"]:
            rows += [("  not here", found["engines_not_here"][name]), ("  to run it", found["engines_install"][name])]
    rows.append(("sandbox", ", ".join(found["sandbox"])))
    rows += [(f"  not {name}", why) for name, why in found["sandbox_not_here"].items()]
    rows += [(name, version or "not installed") for name, version in found["packages"].items()]
    return rows
