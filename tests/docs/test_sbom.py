"""What is published has a bill of materials, in CycloneDX: in the wheel (PEP 770), and in the archive of libplif."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

import build_backend
import build_sbom
from runtime.core.base.version import __version__
from tests.conftest import REPOSITORY

pytest.importorskip("cyclonedx", reason="cyclonedx-bom comes with the extra dev")

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from docs import sbom

PLACE = f"plif-{__version__}.dist-info/sboms/plif.cdx.json"
PROJECT = sbom.read_project()


def explain_errors(text: bytes | str) -> str:
    """Why this is no valid CycloneDX 1.6; empty where it is."""
    return str(
        JsonStrictValidator(SchemaVersion.V1_6).validate_str(text if isinstance(text, str) else text.decode()) or ""
    )


def read_wheel(path: Path) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The files of a wheel, and its bill of materials, which RECORD has."""
    with zipfile.ZipFile(path) as wheel:
        files = {name: wheel.read(name) for name in wheel.namelist()}
    record = {name: digest for name, digest, _ in csv.reader(io.StringIO(files[[*files][-1]].decode()))}
    digest = base64.urlsafe_b64encode(hashlib.sha256(files[PLACE]).digest()).rstrip(b"=").decode()
    assert record[PLACE] == f"sha256={digest}" and set(record) == set(files)
    assert not explain_errors(files[PLACE])
    return files, json.loads(files[PLACE])


def check_files(document: dict[str, Any], files: dict[str, bytes]) -> set[str]:
    """The names of the compiled files, each with its SHA-256 and the version of plif."""
    parts = {part["bom-ref"]: part for part in document["components"] if "hashes" in part}
    assert set(parts) == {name for name in files if build_sbom.COMPILED.search(name)}
    for name, part in parts.items():
        assert part["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(files[name]).hexdigest()}]
        assert part["version"] == __version__
    root = next(
        edge for edge in document["dependencies"] if edge["ref"] == document["metadata"]["component"]["bom-ref"]
    )
    assert set(root["dependsOn"]) == {part["bom-ref"] for part in document["components"]}
    return {part["name"] for part in parts.values()}


def check_requirements(document: dict[str, Any]) -> None:
    """Every requirement at run time is a component, with its lines of pyproject.toml."""
    packages = {part["name"]: part for part in document["components"] if "purl" in part}
    lines = {name: [entry["value"] for entry in part["properties"]] for name, part in packages.items()}
    assert {name: sorted(said) for name, said in lines.items()} == {
        name: sorted(said) for name, said in sbom.list_requirements(PROJECT).items()
    }, "make lock"
    assert {name for name, part in packages.items() if part["scope"] == "required"} == {"numpy", "typer", "rich"}
    assert {"onnxruntime", "torch", "onnx", "openvino", "starlette"} <= set(packages)


def test_the_shared_part_is_what_the_project_requires_and_valid() -> None:
    text = build_sbom.SHARED.read_text(encoding="utf-8")
    assert not explain_errors(text)
    check_requirements(json.loads(text))
    assert explain_errors(text.replace('"type": "library"', '"type": "libary"')), "the validator validates"
    assert not [word for word in ("timestamp", "serialNumber") if word in text], "two builds are the same bytes"


def test_a_wheel_names_its_requirements_and_its_compiled_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of setuptools are stand-ins; tests/docs/test_wheel.py builds a real one."""
    compiled = {
        "runtime/native/_event.so": b"event",
        "plif_train/k/native/_train.so": b"train",
        "page/libplif.wasm": b"w",
    }
    files = {**compiled, "plif.py": b"", f"plif-{__version__}.dist-info/METADATA": b"Name: plif\n"}

    def build(folder: str, *_: object) -> str:
        name = f"plif-{__version__}-py3-none-linux_x86_64.whl"
        record = f"plif-{__version__}.dist-info/RECORD"
        with zipfile.ZipFile(Path(folder, name), "w") as wheel:
            for path, content in files.items():
                wheel.writestr(path, content)
            wheel.writestr(record, "".join(f"{path},,\n" for path in (*files, record)))
        return name

    monkeypatch.setattr(build_backend.build_meta, "build_wheel", build)
    contents, document = read_wheel(tmp_path / build_backend.build_wheel(str(tmp_path)))
    assert {*files, PLACE} < set(contents)
    assert check_files(document, contents) == {"libplif", "_train"}
    check_requirements(document)
    assert document["metadata"]["component"]["version"] == __version__
    (page,) = (part for part in document["components"] if part["bom-ref"] == "page/libplif.wasm")
    assert [part["name"] for part in page["components"]] == ["wasi-libc"]


def test_a_build_from_the_sdist_has_what_it_needs() -> None:
    included = set((REPOSITORY / "MANIFEST.in").read_text().split())
    assert {"build_backend.py", "build_sbom.py", "requirements/build.txt", "requirements/sbom.json"} < included
