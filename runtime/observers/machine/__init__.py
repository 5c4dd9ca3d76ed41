"""`plif info` without a file: versions, processor and engines of this machine, and the sandbox of file readers."""

from __future__ import annotations

import os
import platform
from typing import Any

from runtime.core.base.declared import ViewOptions
from runtime.core.base.version import __version__
from runtime.core.parts import find_parts, index_by_name, load_from_parts

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
    """Return the JSON document and table rows that describe this machine, for `plif info` without a file."""
    if file is not None:
        return []
    document = describe_machine()
    return [(document, machine_rows(document), [])]


def describe_machine() -> dict[str, Any]:
    """Return the versions, engines, hardware adapters and sandbox of this machine as a JSON document."""
    from importlib import metadata

    from runtime.core.engines.available import describe_engine, find_all_missing

    versions: dict[str, str | None] = {}
    engines = find_all_missing()
    confinement = load_from_parts("formats", "confinement")
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
        "engines_are": {name: describe_engine(name) for name in engines},
        "adapters": {
            name: [str(gpu) for gpu in part.load(part.adapters)() or ()]
            for name, part in index_by_name(find_parts("engines")).items()
            if part.adapters and engines[name] is None
        },
        "sandbox": confined,
        "sandbox_not_here": lacks,
        "packages": versions,
    }


def machine_rows(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the document of `describe_machine` as (name, text) rows for the terminal."""
    rows = [(name, document[name]) for name in ("plif", "python", "system", "processors")]
    rows.append(("engines that can run", ", ".join(document["engines"]) or "none"))
    for name, description in document["engines_are"].items():
        rows.append((f"engine {name}", description))
        rows += [("  on", gpu) for gpu in document["adapters"].get(name, ())]
        if name in document["engines_not_here"]:
            rows += [
                ("  not here", document["engines_not_here"][name]),
                ("  to run it", document["engines_install"][name]),
            ]
    rows.append(("sandbox", ", ".join(document["sandbox"])))
    rows += [(f"  not {name}", why) for name, why in document["sandbox_not_here"].items()]
    rows += [(name, version or "not installed") for name, version in document["packages"].items()]
    return rows
