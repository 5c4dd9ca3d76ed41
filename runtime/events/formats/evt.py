"""The '%' text header that Prophesee's raw formats EVT2 and EVT3 share: which encoding, which sensor."""

from __future__ import annotations

import re
from pathlib import Path

from runtime.events.formats.base import text_header

# Words by which older headers name the camera without giving its geometry.
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


def encoding(head: bytes) -> str | None:
    """ "2.0", "3.0", "2.1", ... as the header says, None without such a header."""
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


def header(path: Path) -> tuple[tuple[int, int] | None, int]:
    """(sensor or None, offset of the first word). No header: (None, 0)."""
    lines, offset = text_header(path, b"% ")
    text = "\n".join(lines).lower()
    for pattern in (r"geometry +(\d+)x(\d+)", r"width=(\d+)[\s\S]*?height=(\d+)"):
        if found := re.search(pattern, text):
            return (int(found.group(1)), int(found.group(2))), offset
    if found := re.search(r"height=(\d+)[\s\S]*?width=(\d+)", text):
        return (int(found.group(2)), int(found.group(1))), offset
    for word, sensor in CAMERAS:
        if word in text:
            return sensor, offset
    return None, offset
