"""Snapshots on disk: the states of a session, to go on in another process exactly where this one stopped.

A snapshot is an .npz file (a zip, nothing compressed, no pickle) with

    header.json   {"format": "plif-snapshot", "format_version": 1, "plif": version, "digest": of the artifact or null,
                  "states": [[name, shape of one stream], ...], "streams": N}
    steps.npy     int64 [streams], time-steps of each stream since its last reset
    state.I.npy   float32 [streams, ...], state I of the header

It belongs to one artifact: to the digest in its card, or, where the card has none, to the names and shapes of its states.
Reading one runs nothing, takes no more memory than the session has, and changes the session only when all of it is right.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from runtime.base.errors import PlifError
from runtime.base.files import whole_or_nothing
from runtime.base.version import __version__
from runtime.model.card import Card
from runtime.model.digest import digest_of

FORMAT, FORMAT_VERSION = "plif-snapshot", 1
HEADER = "header.json"
MOST_HEADER = 1 << 20  # bytes


def write(path: Path, card: Card, steps: np.ndarray, states: Sequence[np.ndarray]) -> None:
    """Writes the steps int64 [streams] and the states float32 [streams, ...] of an artifact with this card."""
    header = json.dumps({**_header(card, len(steps)), "plif": __version__}, sort_keys=True)
    with whole_or_nothing(path) as (part,), zipfile.ZipFile(part, "w") as archive:
        archive.writestr(zipfile.ZipInfo(HEADER), header)  # without a date: equal snapshots are equal bytes
        for name, array in zip(_names(len(states)), (steps, *states), strict=True):
            data = io.BytesIO()
            np.lib.format.write_array(data, np.ascontiguousarray(array), (1, 0), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(name), data.getvalue())


def read(path: Path, card: Card, streams: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """(steps int64 [streams], states float32 [streams, ...]) for a session of so many streams of an artifact with this card.

    Raises PlifError with one line for a file that is no snapshot, was damaged, or is of another artifact or session.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_header(path, _part(path, archive, HEADER, MOST_HEADER), _header(card, streams))
            shapes = [(streams,), *((streams, *state["shape"]) for state in card["states"])]
            types = ["<i8", *("<f4" for _ in card["states"])]
            arrays = [
                _array(path, archive, name, np.dtype(dtype), shape)
                for name, dtype, shape in zip(_names(len(shapes) - 1), types, shapes, strict=True)
            ]
    except OSError as error:
        raise PlifError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise PlifError(
            f"{path}: is no snapshot of plif, or was damaged ({' '.join(str(error).split())[:80]})"
        ) from None
    if (arrays[0] < 0).any():
        raise PlifError(f"{path}: steps {arrays[0].tolist()}; expected none below 0")
    for state, values in zip(card["states"], arrays[1:], strict=True):
        if not np.isfinite(values).all():
            raise PlifError(f"{path}: {state['name']} holds numbers that are not finite")
    return arrays[0], arrays[1:]


def _names(states: int) -> list[str]:
    return ["steps.npy", *(f"state.{i}.npy" for i in range(states))]


def _header(card: Card, streams: int) -> dict[str, Any]:
    states = [[state["name"], list(state["shape"])] for state in card["states"]]
    found = {"format": FORMAT, "format_version": FORMAT_VERSION, "digest": digest_of(card)}
    return {**found, "states": states, "streams": streams}


def _check_header(path: Path, text: bytes, expected: dict[str, Any]) -> None:
    try:
        found = json.loads(text)
    except RecursionError:
        found = None
    if not isinstance(found, dict):
        raise ValueError("its header is no object")
    reasons = {
        "format": "no snapshot of plif",
        "format_version": "of another version of plif",
        "digest": "of another artifact: the digests differ",
        "states": "of another artifact: the states differ",
        "streams": "of a session of another number of streams",
    }
    for key, what in reasons.items():
        if found.get(key) != expected[key]:
            shown = "" if key == "states" else f" ({str(found.get(key))[:64]}; expected {expected[key]})"
            raise PlifError(f"{path}: is {what}{shown}")


def _part(path: Path, archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """A file of the archive, of at most `most` bytes."""
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
