"""The artifact kind of Triton model repositories."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from runtime.core.base.files import read_regular
from runtime.core.model.artifacts import Kind, read_folder_card

if TYPE_CHECKING:
    from runtime.core.model.readers.contents import Contents


def read_contents(path: Path) -> Contents:
    """Read a Triton model repository and hash the network inside, an ONNX file or a TensorRT plan.

    `plif verify` compares its other files with the card.
    """
    import hashlib

    from runtime.core.model.readers import onnx_contents  # with NumPy: not to show a card
    from runtime.core.model.readers.contents import PART, Contents

    for model in sorted(path.glob("*/1/model.*")):
        if model.name == "model.onnx":
            return onnx_contents.read_contents(model)
        if model.name == "model.plan":
            return Contents({"plan": hashlib.sha256(read_regular(model, PART)).hexdigest()})
    return Contents()


KINDS = (
    Kind(
        "triton",
        "_triton",
        read_folder_card,
        instead="it is served: tritonserver --model-repository=FOLDER, and stepped with "
        "runtime.observers.triton_repository.client.TritonSession",
        contents="runtime.artifacts.triton_repository.kind:read_contents",
    ),
)
