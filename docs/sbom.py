"""Write requirements/sbom.json, which has plif and what it requires at run time, as CycloneDX: `make lock`.

A requirement is a range, so a component has no version: it has the lines of pyproject.toml as properties, with their extras.
build_sbom.py adds the version and the compiled files of a build.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from cyclonedx.contrib.this.builders import this_component
from cyclonedx.model import Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / "requirements" / "sbom.json"
NOT_AT_RUN_TIME = {"all", "bench", "dev", "docs"}  # and `all` names the others


def read_project() -> dict[str, Any]:
    """Return the table [project] of pyproject.toml."""
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    project: dict[str, Any] = toml.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return project


def list_requirements(project: dict[str, Any]) -> dict[str, list[str]]:
    """Return {package: its lines in pyproject.toml, with the extra that asks for each}."""
    lines: dict[str, list[str]] = {}
    extras = {"": project["dependencies"], **project["optional-dependencies"]}
    for extra, wanted in extras.items():
        for line in wanted if extra not in NOT_AT_RUN_TIME else []:
            name = canonicalize_name(Requirement(line).name)
            lines.setdefault(name, []).append(f"[{extra}] {line}" if extra else line)
    return lines


def make_sbom(project: dict[str, Any]) -> Bom:
    """Return the bill of materials, with neither a date nor a serial number."""
    bom = Bom()
    bom.serial_number = None  # type: ignore[assignment]
    bom.metadata.timestamp = None  # type: ignore[assignment]
    bom.metadata.tools.components.add(this_component())
    root = Component(
        name=project["name"],
        type=ComponentType.LIBRARY,
        bom_ref=project["name"],
        description=project["description"],
        licenses=[LicenseExpression(project["license"])],
        purl=PackageURL("pypi", name=project["name"]),
    )
    bom.metadata.component = root
    for name, lines in list_requirements(project).items():
        needed = any(not line.startswith("[") for line in lines)
        component = Component(
            name=name,
            type=ComponentType.LIBRARY,
            bom_ref=name,
            purl=PackageURL("pypi", name=name),
            scope=ComponentScope.REQUIRED if needed else ComponentScope.OPTIONAL,
            properties=[Property(name="plif:requirement", value=line) for line in lines],
        )
        bom.components.add(component)
        bom.register_dependency(root, [component])
    return bom


if __name__ == "__main__":
    PLACE.write_text(JsonV1Dot6(make_sbom(read_project())).output_as_string(indent=1) + "\n", encoding="utf-8")
