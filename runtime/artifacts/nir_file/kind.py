"""The artifact kind of NIR files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from runtime.core.base.errors import PlifError
from runtime.core.model.artifacts import CARD_KEY, Kind

if TYPE_CHECKING:
    from runtime.core.model.readers.contents import Contents


def read_card_text(path: Path) -> str:
    from runtime.formats.hdf5.tree import read_hdf5

    node = read_hdf5(path, "a NIR file", "nir").get(f"node/metadata/{CARD_KEY}")
    if node is None or not isinstance(node.values, bytes):
        raise PlifError(
            f"{path}: a NIR file without a plif card, so its states and classes are unknown; "
            f"export it: plif export {path}"
        )
    return node.values.decode("utf-8", "replace")


def read_contents(path: Path) -> Contents:
    """Read a NIR file and return the SHA-256 of each of its data sets, except the metadata that holds the card.

    Raise PlifError where it is no HDF5 file.
    """
    import hashlib

    import numpy as np  # not to show a card

    from runtime.core.model.readers.contents import Contents
    from runtime.formats.hdf5.tree import read_hdf5

    parts: dict[str, str] = {}
    for name, node in read_hdf5(path, "a NIR file", "nir").items():
        if node.values is not None and not name.startswith("node/metadata/"):
            values = np.asarray(node.values)
            # texts are objects, whose memory holds addresses
            data = repr(values.tolist()).encode() if values.dtype.kind == "O" else values.tobytes()
            header = f"{values.dtype.str} {list(values.shape)} ".encode()
            parts[name.removeprefix("node/")] = hashlib.sha256(header + data).hexdigest()
    return Contents(parts)


KINDS = (
    Kind(
        "nir",
        ".nir",
        read_card_text,
        instead="NIR is for other tools; to run it here: plif export FILE.nir",
        contents="runtime.artifacts.nir_file.kind:read_contents",
    ),
)
