"""Named arrays on disk, bound to one artifact: an .npz file (a zip, uncompressed, no pickle) with a header.

The header has the digest in the artifact's card, or, for a card without one, the names and shapes of its states.
Reading runs no code, needs no more memory than the expected arrays, and returns them only if all of them are valid.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.base.files import atomic_write, open_regular
from runtime.core.base.version import __version__
from runtime.core.model.card import Card
from runtime.core.model.digest import read_digest

if TYPE_CHECKING:
    import zipfile  # imported where it is used: a session without state needs no compressors

HEADER = "header.json"
MAX_HEADER = 1 << 20  # bytes
MAX_COUNT = 1 << 62  # of steps, events, us: no run reaches it, and further counts fit into int64


class DamagedState(PlifError):
    """The error of a file that was cut off or damaged, and of one that is no state of plif."""


def make_header(card: Card, kind: str, version: int) -> dict[str, Any]:
    """Return the header of a state file for the artifact with this metadata card."""
    states = [[state["name"], list(state["shape"])] for state in card["states"]]
    return {"format": kind, "format_version": version, "digest": read_digest(card), "states": states}


def write_arrays(path: Path, header: Mapping[str, object], arrays: Mapping[str, np.ndarray]) -> None:
    """Write a state file: a header and named arrays [...], as a zip archive without compression and date.

    Equal states give equal bytes.
    """
    import zipfile

    with atomic_write(path) as (part,), zipfile.ZipFile(part, "w") as archive:
        archive.writestr(zipfile.ZipInfo(HEADER), json.dumps({**header, "plif": __version__}, sort_keys=True))
        for name, array in arrays.items():
            data = io.BytesIO()
            np.lib.format.write_array(data, np.ascontiguousarray(array), (1, 0), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), data.getvalue())


def read_arrays(
    path: Path, header: dict[str, Any], mismatches: Mapping[str, str], templates: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Read the arrays of a state file that `write_arrays` wrote, and check its header.

    header     the expected header, and `mismatches` the messages {key: text} for other values
    templates  arrays with the expected names, types and shapes

    Raises DamagedState for a damaged file, PlifError with one line for another file or impossible numbers.
    """
    import zipfile

    try:
        with open_regular(path, "a state") as file, zipfile.ZipFile(file) as archive:
            _check_header(path, _read_entry(path, archive, HEADER, MAX_HEADER), header, mismatches)
            arrays = {
                name: _read_array(path, archive, f"{name}.npy", template.dtype, template.shape)
                for name, template in templates.items()
            }
    except OSError as error:
        raise PlifError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise DamagedState(
            f"{path}: is no state of a stream of plif, or was damaged ({' '.join(str(error).split())[:80]})"
        ) from None
    titles = {f"session.{i}": name for i, (name, _shape) in enumerate(header["states"])}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise PlifError(f"{path}: {titles.get(name, name)} holds numbers that are not finite")
        if array.dtype == np.int64 and not -MAX_COUNT <= array.min(initial=0) <= array.max(initial=0) <= MAX_COUNT:
            raise PlifError(f"{path}: {name} holds {array.ravel()[:8].tolist()}; expected at most {MAX_COUNT}")
        if name.endswith("steps") and (array < 0).any():
            raise PlifError(f"{path}: {name} {array.tolist()}; expected none below 0")
    return arrays


def _check_header(path: Path, text: bytes, expected: Mapping[str, object], mismatches: Mapping[str, str]) -> None:
    try:
        document = json.loads(text)
    except RecursionError:
        document = None
    if not isinstance(document, dict):
        raise ValueError("its header is no object")
    for key, problem in mismatches.items():
        if document.get(key) != expected[key]:
            shown = "" if key == "states" else f" ({str(document.get(key))[:64]}; expected {expected[key]})"
            raise PlifError(f"{path}: is {problem}{shown}")


def _read_entry(path: Path, archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """Read one entry of a state file's zip archive, of at most `most` bytes."""
    import zipfile

    try:
        info = archive.getinfo(name)
    except KeyError:
        raise ValueError(f"it has no {name}") from None
    if info.compress_type != zipfile.ZIP_STORED or info.file_size > most:
        raise ValueError(f"{name} has {info.file_size} bytes, or is compressed")
    return archive.read(info)


def _read_array(path: Path, archive: zipfile.ZipFile, name: str, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """Read an array of a state file, which must have this type and shape; its own header is checked first."""
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    data = io.BytesIO(_read_entry(path, archive, name, size + 4096))
    if np.lib.format.read_magic(data) != (1, 0):
        raise ValueError(f"{name} is of another version of NumPy's format")
    stored_shape, fortran, stored_dtype = np.lib.format.read_array_header_1_0(data)
    content = data.read()
    if (stored_shape, stored_dtype) != (shape, dtype) or (fortran and len(shape) > 1) or len(content) != size:
        raise ValueError(f"{name} is {stored_dtype} {list(stored_shape)}; expected {dtype} {list(shape)}")
    return np.frombuffer(content, dtype).reshape(shape)
