"""Engine files: a card in front of TensorRT's plan, so that the card can be read without TensorRT.

    bytes 0..3     length of the card, unsigned, little-endian
    then           the card, UTF-8 JSON
    then           the plan, to the end of the file

A plan alone (trtexec's format, written with --set raw=true) starts with the letters "?trt" and has no card.
"""

from __future__ import annotations

import os
from pathlib import Path

from runtime.core.base.errors import PlifError
from runtime.core.base.files import open_regular
from runtime.core.model.artifacts import MAX_CARD_BYTES

EXPECTED = "an engine file made by: plif export model.pt --to tensorrt"
_PREFIX = 4  # bytes of the length


def is_engine(head: bytes) -> bool:
    """Return whether a file can be a TensorRT engine file by its first 8 bytes: a length, then a JSON brace."""
    return len(head) > _PREFIX and head[_PREFIX : _PREFIX + 1] == b"{"


def is_rtx(path: Path) -> bool:
    """Return whether a TensorRT engine file has a plan of TensorRT-RTX: one that starts with "vtrt", not "ftrt".

    Raise PlifError for a plan alone.
    """
    with open_regular(path, EXPECTED) as file:
        prefix = file.read(_PREFIX)
        if prefix[1:] == b"trt":
            raise PlifError(
                f"{path}: a bare plan of TensorRT without a card, so its states and classes are unknown; "
                "trtexec opens it, and plif one that was exported without --set raw=true"
            )
        length = int.from_bytes(prefix, "little")
        file.seek(_PREFIX + length)
        return file.read(4) == b"vtrt"


def pack_engine(card: str, plan: bytes) -> bytes:
    """Pack the bytes of a TensorRT engine file: length, card, plan."""
    text = card.encode()
    return len(text).to_bytes(_PREFIX, "little") + text + plan


def read_card_text(path: str | Path) -> str:
    """Read the text of a TensorRT engine file's card, without its plan.

    Raise PlifError when the length is wrong or the card is not UTF-8.
    """
    path = Path(path)
    with open_regular(path, EXPECTED) as file:
        size = os.fstat(file.fileno()).st_size
        length = _read_length(path, file.read(_PREFIX), size)
        return _decode_card(path, file.read(length), length)


def split_engine(path: Path, data: bytes) -> tuple[str, memoryview]:
    """Split the bytes of a TensorRT engine file into the card's text and the plan.

    `path` is for messages only.
    """
    length = _read_length(path, data[:_PREFIX], len(data))
    return _decode_card(path, data[_PREFIX : _PREFIX + length], length), memoryview(data)[_PREFIX + length :]


def _read_length(path: Path, prefix: bytes, size: int) -> int:
    length = int.from_bytes(prefix, "little")
    if len(prefix) < _PREFIX or not 2 <= length <= min(MAX_CARD_BYTES, size - _PREFIX):
        raise PlifError(
            f"{path}: an engine file of {size} bytes that claims a card of {length}; it was damaged or cut short"
        )
    return length


def _decode_card(path: Path, data: bytes, length: int) -> str:
    try:
        if len(data) == length:
            return data.decode()
    except UnicodeDecodeError:
        pass
    raise PlifError(f"{path}: an engine file whose card is not text; it was damaged")
