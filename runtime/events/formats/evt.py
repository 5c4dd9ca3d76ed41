"""What Prophesee's raw formats share: the '%' text header, which names the version and the sensor."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from runtime.events.formats.base import Losses, Recording, read_header, refuse_header_only
from runtime.events.formats.words import decode_words
from runtime.native.interface import Evt3Reader

# Older headers name the camera and not its size: a word in the header, and the sensor that it stands for.
CAMERAS = (
    ("genx320", (320, 320)),
    ("imx636", (1280, 720)),
    ("gen41", (1280, 720)),
    ("gen4", (1280, 720)),
    ("gen31", (640, 480)),
    ("gen3", (640, 480)),
    ("ccam5", (640, 480)),
)
SENSORS = ((304, 240), (320, 320), (640, 480), (1280, 720))


def find_version(head: bytes) -> str | None:
    """ "2.0", "3.0", "2.1", ... as the header says; None without such a header."""
    if not head.startswith(b"%"):
        return None
    found = re.search(rb"^% *evt +(\d(?:\.\d)?)|^% *format +EVT(\d+)", head, re.MULTILINE | re.IGNORECASE)
    if found is None:
        return None
    if found.group(1):
        version = found.group(1).decode()
    else:
        digits = found.group(2).decode()
        version = f"{digits[0]}.{digits[1:] or '0'}"
    return version if "." in version else version + ".0"


def is_version(head: bytes, version: str) -> bool | None:
    """Whether the header names this version; None when there is no header, and the words themselves must decide."""
    found = find_version(head)
    return found == version if found is not None or head.startswith(b"%") else None


def open_raw(
    path: Path,
    name: str,
    words: Callable[[Path, int, Losses], Iterator[tuple[np.ndarray, Evt3Reader]]] | None = None,
) -> Recording:
    """The recording of format `name`. `words(path, offset of the first word, losses)` gives words [N], as that of Recording."""
    sensor, offset = read_sensor(path)
    refuse_header_only(path, offset)
    taken = None if words is None else lambda losses: words(path, offset, losses)
    return Recording(
        name, lambda losses: decode_words(name, path, offset, losses), sensor, sensors=SENSORS, words=taken
    )


def _pixels(digits: str) -> int:
    return int(digits[:9])  # already too many, and int() refuses some thousand digits


def read_sensor(path: Path) -> tuple[tuple[int, int] | None, int]:
    """(sensor or None, offset of the first word). No header: (None, 0)."""
    lines, offset = read_header(path, b"% ", end="end")
    text = "\n".join(lines).lower()
    if found := re.search(r"geometry +([0-9]+)x([0-9]+)", text):
        return (_pixels(found[1]), _pixels(found[2])), offset
    # each on its own: one expression for both would read the rest of the header again for each "width="
    width, height = re.search(r"width=([0-9]+)", text), re.search(r"height=([0-9]+)", text)
    if width and height:
        return (_pixels(width[1]), _pixels(height[1])), offset
    for word, sensor in CAMERAS:
        if word in text:
            return sensor, offset
    return None, offset
