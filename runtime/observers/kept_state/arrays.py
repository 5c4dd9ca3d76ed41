"""Named arrays on disk, of one artifact: an .npz file (a zip, nothing compressed, no pickle) with a header.

It belongs to one artifact: to the digest in its card, or, where the card has none, to the names and shapes of its states.
Reading one runs nothing, takes no more memory than the arrays that it must hold, and gives them when all of it is right.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.base.files import open_regular, whole_or_nothing
from runtime.core.base.version import __version__
from runtime.core.model.card import Card
from runtime.core.model.digest import digest_of

if TYPE_CHECKING:
    import zipfile  # where it is used: a session that keeps nothing needs no compressors

HEADER = "header.json"
MOST_HEADER = 1 << 20  # bytes
MOST_COUNT = 1 << 62  # of steps, events, us: no run comes so far, and what is counted on top stays in int64


def header_of(card: Card, kind: str, version: int) -> dict[str, Any]:
    """What a file says of itself and of the artifact that its states are of."""
    states = [[state["name"], list(state["shape"])] for state in card["states"]]
    return {"format": kind, "format_version": version, "digest": digest_of(card), "states": states}


def write_arrays(path: Path, header: Mapping[str, object], arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a header and named arrays [...]: a zip, nothing compressed, without a date, so that equal states are equal bytes."""
    import zipfile

    with whole_or_nothing(path) as (part,), zipfile.ZipFile(part, "w") as archive:
        archive.writestr(zipfile.ZipInfo(HEADER), json.dumps({**header, "plif": __version__}, sort_keys=True))
        for name, array in arrays.items():
            data = io.BytesIO()
            np.lib.format.write_array(data, np.ascontiguousarray(array), (1, 0), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), data.getvalue())


def read_arrays(
    path: Path, header: dict[str, Any], wrong: Mapping[str, str], like: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The arrays of a file that `write_arrays` wrote.

    header  what the file must say, and `wrong` what it is where it does not
    like    arrays of the names, types and shapes that it must have
    Raises PlifError with one line where it is another file, was damaged, or holds numbers that no run comes to.
    """
    import zipfile

    try:
        with open_regular(path, "a state") as file, zipfile.ZipFile(file) as archive:
            _check_header(path, _part(path, archive, HEADER, MOST_HEADER), header, wrong)
            found = {name: _array(path, archive, f"{name}.npy", one.dtype, one.shape) for name, one in like.items()}
    except OSError as error:
        raise PlifError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise PlifError(
            f"{path}: is no state of a stream of plif, or was damaged ({' '.join(str(error).split())[:80]})"
        ) from None
    titles = {f"session.{i}": name for i, (name, _shape) in enumerate(header["states"])}
    for name, array in found.items():
        if not np.isfinite(array).all():
            raise PlifError(f"{path}: {titles.get(name, name)} holds numbers that are not finite")
        if array.dtype == np.int64 and not -MOST_COUNT <= array.min(initial=0) <= array.max(initial=0) <= MOST_COUNT:
            raise PlifError(f"{path}: {name} holds {array.ravel()[:8].tolist()}; expected at most {MOST_COUNT}")
        if name.endswith("steps") and (array < 0).any():
            raise PlifError(f"{path}: {name} {array.tolist()}; expected none below 0")
    return found


def _check_header(path: Path, text: bytes, expected: Mapping[str, object], wrong: Mapping[str, str]) -> None:
    try:
        found = json.loads(text)
    except RecursionError:
        found = None
    if not isinstance(found, dict):
        raise ValueError("its header is no object")
    for key, what in wrong.items():
        if found.get(key) != expected[key]:
            shown = "" if key == "states" else f" ({str(found.get(key))[:64]}; expected {expected[key]})"
            raise PlifError(f"{path}: is {what}{shown}")


def _part(path: Path, archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """A file of the archive, of at most `most` bytes."""
    import zipfile

    try:
        info = archive.getinfo(name)
    except KeyError:
        raise ValueError(f"it has no {name}") from None
    if info.compress_type != zipfile.ZIP_STORED or info.file_size > most:
        raise ValueError(f"{name} has {info.file_size} bytes, or is compressed")
    return archive.read(info)


def _array(path: Path, archive: zipfile.ZipFile, name: str, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """An array of this type and shape; what its own header claims is compared before anything is made."""
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    data = io.BytesIO(_part(path, archive, name, size + 4096))
    if np.lib.format.read_magic(data) != (1, 0):
        raise ValueError(f"{name} is of another version of NumPy's format")
    found, fortran, kind = np.lib.format.read_array_header_1_0(data)
    rest = data.read()
    if (found, kind) != (shape, dtype) or (fortran and len(shape) > 1) or len(rest) != size:
        raise ValueError(f"{name} is {kind} {list(found)}; expected {dtype} {list(shape)}")
    return np.frombuffer(rest, dtype).reshape(shape)
