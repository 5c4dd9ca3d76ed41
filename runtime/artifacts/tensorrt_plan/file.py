"""Engine files: a card in front of the plan that TensorRT reads, so that the card can be read without TensorRT.

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
from runtime.core.model.artifacts import MOST_CARD

EXPECTED = "an engine file made by: plif export model.pt --to tensorrt"
_PREFIX = 4  # bytes of the length


def is_engine(head: bytes) -> bool:
    """Whether the first 8 bytes of a file can be those of an engine file: a length, then the brace of a JSON object."""
    return len(head) > _PREFIX and head[_PREFIX : _PREFIX + 1] == b"{"


def is_rtx(path: Path) -> bool:
    """Whether the plan of an engine file is one of TensorRT-RTX: it starts with "vtrt", that of TensorRT with "ftrt". Raises
    PlifError for a plan alone."""
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


def pack(card: str, plan: bytes) -> bytes:
    """The bytes of an engine file: length, card, plan."""
    text = card.encode()
    return len(text).to_bytes(_PREFIX, "little") + text + plan


def read_card_text(path: str | Path) -> str:
    """The card's text; the plan is not read. Raises PlifError when the length is wrong or the card is not UTF-8."""
    path = Path(path)
    with open_regular(path, EXPECTED) as file:
        size = os.fstat(file.fileno()).st_size
        length = _length(path, file.read(_PREFIX), size)
        return _text(path, file.read(length), length)


def split(path: Path, data: bytes) -> tuple[str, memoryview]:
    """(the card's text, the plan) of the bytes of an engine file. `path` is for messages only."""
    length = _length(path, data[:_PREFIX], len(data))
    return _text(path, data[_PREFIX : _PREFIX + length], length), memoryview(data)[_PREFIX + length :]


def _length(path: Path, prefix: bytes, size: int) -> int:
    length = int.from_bytes(prefix, "little")
    if len(prefix) < _PREFIX or not 2 <= length <= min(MOST_CARD, size - _PREFIX):
        raise PlifError(
            f"{path}: an engine file of {size} bytes that claims a card of {length}; it was damaged or cut short"
        )
    return length


def _text(path: Path, data: bytes, length: int) -> str:
    try:
        if len(data) == length:
            return data.decode()
    except UnicodeDecodeError:
        pass
    raise PlifError(f"{path}: an engine file whose card is not text; it was damaged")
