"""What a NIR file holds: each data set of the HDF5 file, but for the metadata, where the card is."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from runtime.base.hdf5 import read_hdf5
from runtime.model.readers.contents import Contents


def read_contents(path: Path) -> Contents:
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
