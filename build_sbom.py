"""The bill of materials of what is published, as CycloneDX JSON: what plif requires, and every compiled file with its SHA-256.

requirements/sbom.json is the part that all builds share; `make lock` writes it (docs/sbom.py). build_backend.py puts the whole
into a wheel's .dist-info/sboms (PEP 770), docs/release.py into the archive of libplif.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SHARED = Path(__file__).parent / "requirements" / "sbom.json"
COMPILED = re.compile(r"\.(a|wasm|so(\.[\d.]+)?)$")
LIBPLIF = ("_event", "libplif")  # its file in the wheel, and everywhere else
# zig links parts of its C library into WebAssembly; its version is that of ziglang in build_backend.py
WASI_LIBC = {
    "type": "library",
    "name": "wasi-libc",
    "description": "C library of ziglang, linked into this file",
    "licenses": [{"expression": "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT"}],
}


def read_shared() -> dict[str, Any]:
    """Return what all builds of the Python package share: plif itself and its requirements."""
    document: dict[str, Any] = json.loads(SHARED.read_text(encoding="utf-8"))
    return document


def remove_requirements(document: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the document of a product of that name without Python packages."""
    root = {**document["metadata"]["component"], "name": name}
    root.pop("purl", None)
    return {
        **document,
        "metadata": {**document["metadata"], "component": root},
        "components": [],
        "dependencies": [{"ref": root["bom-ref"]}],
    }


def describe_file(path: str, content: bytes, version: str) -> dict[str, Any]:
    """Return the component of a compiled file."""
    stem = path.rpartition("/")[2].partition(".")[0]
    component = {
        "type": "library",
        "bom-ref": path,
        "name": "libplif" if stem in LIBPLIF else stem,
        "version": version,
        "licenses": [{"license": {"id": "Apache-2.0"}}],
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(content).hexdigest()}],
        "properties": [{"name": "plif:file", "value": path}],
    }
    return component | ({"components": [WASI_LIBC]} if path.endswith(".wasm") else {})


def write_sbom(document: dict[str, Any], version: str, files: Mapping[str, bytes]) -> bytes:
    """Return the document with the version of the product and its compiled files, as JSON.

    files: {path in the product: content}
    """
    root = {**document["metadata"]["component"], "version": version}
    compiled = [describe_file(path, files[path], version) for path in sorted(files) if COMPILED.search(path)]
    parts = [component["bom-ref"] for component in compiled]
    edges = [
        {**edge, "dependsOn": [*edge.get("dependsOn", []), *parts]} if edge["ref"] == root["bom-ref"] else edge
        for edge in document["dependencies"]
    ]
    whole = {
        **document,
        "metadata": {**document["metadata"], "component": root},
        "components": [*document["components"], *compiled],
        "dependencies": [*edges, *({"ref": part} for part in parts)],
    }
    return json.dumps(whole, indent=1, sort_keys=True).encode() + b"\n"
