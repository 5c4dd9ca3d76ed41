"""Prophesee EVT 2.1: little-endian 64-bit words, type in bits 60-63. An event word holds up to 32 pixels of a row.

    0x0 negative, 0x1 positive   bits 54-59 t[5:0], bits 43-53 x of the first pixel, bits 32-42 y, bits 0-31 which pixels
    0x8 TIME_HIGH                bits 32-59 t[33:6]
    0xA trigger, 0xE other, 0xF continued: no change events

Times wrap at 2^34 us. Events before the first TIME_HIGH have no time: invalid. Files of the first cameras, whose header says
endianness=legacy, are refused.
"""

from __future__ import annotations

from pathlib import Path

from runtime.base.errors import PlifError
from runtime.events.formats import evt
from runtime.events.formats.base import HEADER_LIMIT, Format, Recording


def open_recording(path: Path) -> Recording:
    with open(path, "rb") as file:
        if b"endianness=legacy" in file.read(HEADER_LIMIT).partition(b"% end")[0]:
            raise PlifError(
                f"{path}: EVT 2.1 with endianness=legacy is not read: metavision_file_to_csv -i FILE -o OUT.csv converts it"
            )
    return evt.open_raw(path, "evt21")


FORMAT = Format("evt21", lambda head, path: bool(evt.is_version(head, "2.1")), open_recording)
