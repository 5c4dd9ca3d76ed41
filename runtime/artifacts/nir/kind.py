"""What plif knows of a NIR file as an artifact."""

from __future__ import annotations

from pathlib import Path

from runtime.base.errors import PlifError
from runtime.model.artifacts import CARD_KEY, Kind


def read_card_text(path: Path) -> str:
    from runtime.base.hdf5 import read_hdf5

    found = read_hdf5(path, "a NIR file").get(f"node/metadata/{CARD_KEY}")
    if found is None or not isinstance(found.values, bytes):
        raise PlifError(
            f"{path}: a NIR file without a plif card, so its states and classes are unknown; "
            f"export it: plif export {path}"
        )
    return found.values.decode("utf-8", "replace")


KINDS = (
    Kind(
        "nir",
        ".nir",
        read_card_text,
        instead="NIR is for other tools; to run it here: plif export FILE.nir",
        contents="runtime.artifacts.nir.contents:read_contents",
    ),
)
