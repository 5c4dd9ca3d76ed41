"""What a model repository holds: the network inside, an ONNX file or a plan. `plif verify` compares the rest with the card."""

from __future__ import annotations

import hashlib
from pathlib import Path

from runtime.base.files import read_regular
from runtime.model.readers import onnx_contents
from runtime.model.readers.contents import PART, Contents


def read_contents(path: Path) -> Contents:
    for model in sorted(path.glob("*/1/model.*")):
        if model.name == "model.onnx":
            return onnx_contents.read_contents(model)
        if model.name == "model.plan":
            return Contents({"plan": hashlib.sha256(read_regular(model, PART)).hexdigest()})
    return Contents()
