"""The contents of the two files for OpenVINO, each hashed completely; the constants in model.xml are checked."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.base.files import read_regular
from runtime.core.model.readers.contents import PART, Contents, find_non_finite

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

XML, BIN = "model.xml", "model.bin"
WITH_BODIES = ("Loop", "TensorIterator", "If")  # layers of OpenVINO that hold networks; a loop may turn for ever
FLOATS = {"f32": "<f4", "f16": "<f2", "f64": "<f8"}  # OpenVINO's element_type -> NumPy, of those that can hold nan


def read_contents(path: Path) -> Contents:
    """Read model.xml and model.bin of an OpenVINO artifact: hash them, and check the network's constants.

    Raise PlifError where one of the two files cannot be read, or where the network has a loop, which might have no
    end.
    """
    from xml.etree import ElementTree

    files = {name: read_regular(path / name, PART) for name in (XML, BIN)}
    parts = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    try:
        layers = list(ElementTree.fromstring(files[XML]).iter("layer"))
    except ElementTree.ParseError:
        return Contents(parts)  # OpenVINO itself refuses such a file
    for layer in layers:
        if layer.get("type") in WITH_BODIES:
            problem = f"layer {layer.get('name')} is a {layer.get('type')}"
            raise PlifError(f"{path}: {problem}, which plif does not write; export it again")
    return Contents(parts, _find_not_finite(layers, files[BIN]))


def _find_not_finite(layers: list[Element], weights: bytes) -> str | None:
    try:
        for layer in layers:
            data = layer.find("data")
            if layer.get("type") != "Const" or data is None or data.get("element_type") not in FLOATS:
                continue
            start, size = int(data.attrib["offset"]), int(data.attrib["size"])
            values = np.frombuffer(weights[start : start + size], FLOATS[data.attrib["element_type"]])
            shape = [int(n) for n in data.get("shape", "").split(",") if n.strip()]
            problem = find_non_finite(f"tensor {layer.get('name')}", values.reshape(shape))
            if problem is not None:
                return problem
    except (ValueError, KeyError):
        pass  # OpenVINO itself refuses such a file
    return None
