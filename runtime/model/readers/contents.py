"""What an artifact holds beside its card: the SHA-256 of each part, and numbers that are not finite. Each file is read once.

openvino  model.xml and model.bin, each as a whole; the constants that model.xml names are looked at
c         the source without its card, and the header
nir       each data set of the HDF5 file, but for the metadata, where the card is
onnx, triton  onnx_contents.py
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from runtime.base.errors import PlifError
from runtime.base.files import read_regular
from runtime.base.hdf5 import read_hdf5
from runtime.model.readers.c_source import parts_of, read_texts

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

XML, BIN = "model.xml", "model.bin"
PART = "a file of the artifact; export it again"  # what is expected where one cannot be read
WITH_BODIES = ("Loop", "TensorIterator", "If")  # layers of OpenVINO that hold networks; a loop may turn for ever
FLOATS = {"f32": "<f4", "f16": "<f2", "f64": "<f8"}  # OpenVINO's element_type -> NumPy, of those that can hold nan


@dataclass(frozen=True)
class Contents:
    """parts: the name of a part ("graph", "tensor conv1.weight", "model.bin") -> SHA-256 of what it says, in hexadecimal.

    not_finite  the first numbers that are not finite, as a sentence: "tensor conv1.weight holds nan at [0, 1, 2, 2]"
    """

    parts: dict[str, str] = field(default_factory=dict)
    not_finite: str | None = None


def not_finite(name: str, values: np.ndarray) -> str | None:
    """That `values`, of any shape, hold a number that is not finite, as a sentence; None where all are."""
    finite = np.isfinite(values)
    if finite.all():
        return None
    at = np.argwhere(~finite)[0]
    return f"{name} holds {values[tuple(at)]}" + f" at {at.tolist()}" * bool(at.size)


def nothing(path: Path) -> Contents:
    """Of an artifact that has only a card, or whose card is bound to what is beside it in a way of its own."""
    return Contents()


def read_openvino(path: Path) -> Contents:
    """Raises PlifError where one of the two files cannot be read, or where the network has a loop, which might have no end."""
    from xml.etree import ElementTree

    files = {name: read_regular(path / name, PART) for name in (XML, BIN)}
    parts = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    try:
        layers = list(ElementTree.fromstring(files[XML]).iter("layer"))
    except ElementTree.ParseError:
        return Contents(parts)  # nothing that OpenVINO reads: it says so itself
    for layer in layers:
        if layer.get("type") in WITH_BODIES:
            what = f"layer {layer.get('name')} is a {layer.get('type')}"
            raise PlifError(f"{path}: {what}, which plif does not write; export it again")
    return Contents(parts, _constants_not_finite(layers, files[BIN]))


def read_c(path: Path) -> Contents:
    """Raises PlifError where the source or its header cannot be read."""
    texts = read_texts(path)
    return Contents(parts_of(texts.source, texts.header))


def _constants_not_finite(layers: list[Element], weights: bytes) -> str | None:
    try:
        for layer in layers:
            data = layer.find("data")
            if layer.get("type") != "Const" or data is None or data.get("element_type") not in FLOATS:
                continue
            start, size = int(data.attrib["offset"]), int(data.attrib["size"])
            values = np.frombuffer(weights[start : start + size], FLOATS[data.attrib["element_type"]])
            shape = [int(n) for n in data.get("shape", "").split(",") if n.strip()]
            found = not_finite(f"tensor {layer.get('name')}", values.reshape(shape))
            if found is not None:
                return found
    except (ValueError, KeyError):
        pass  # the same
    return None


def read_nir(path: Path) -> Contents:
    """Raises PlifError where it is no HDF5 file."""
    parts: dict[str, str] = {}
    for name, item in read_hdf5(path, "a NIR file").items():
        if item.values is not None and not name.startswith("node/metadata/"):
            values = np.asarray(item.values)
            # texts are objects, whose memory holds addresses
            data = repr(values.tolist()).encode() if values.dtype.kind == "O" else values.tobytes()
            what = f"{values.dtype.str} {list(values.shape)} ".encode()
            parts[name.removeprefix("node/")] = hashlib.sha256(what + data).hexdigest()
    return Contents(parts)
