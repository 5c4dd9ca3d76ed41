"""The file formats of event cameras, found by content.

To add one: write `formats/NAME.py` with a `FORMAT = Format(name, magic, open)` and enter it in FORMATS, before the
formats without a magic number. Words of one size are decoded in C, for Python and for programs without it: a function from a
word to its events in runtime/native/formats/formats.c, and its number in words.py; `decode_words` does the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from runtime.base.errors import PlifError
from runtime.base.files import no_such
from runtime.base.grammar import LONGEST
from runtime.events.formats import csv, dat, es, evt, hdf5, nmnist, npy, npz
from runtime.events.formats.aedat import aedat2, aedat4, aedat31
from runtime.events.formats.base import HEAD_BYTES, Format, Losses, Recording
from runtime.events.formats.csv_layout import parse_layout
from runtime.events.formats.rosbag import bag as rosbag
from runtime.events.size import is_size

# N-MNIST is the last: it has no magic number at all.
_FORMATS = [module.FORMAT for module in (aedat4, aedat31, aedat2, es, hdf5, rosbag, dat, npz, npy)]
_FORMATS += [evt.EVT3, evt.EVT21, evt.EVT2, csv.FORMAT, nmnist.FORMAT]
FORMATS: dict[str, Format] = {found.name: found for found in _FORMATS}

# What is known and not read: its first bytes, or a function of them and the path; its name; what to do.
OTHERS: tuple[tuple[bytes | Callable[[bytes, Path], bool], str, str], ...] = (
    (b"#!AER-DAT1", "AEDAT 1.0", "open it in jAER and save it as AEDAT 2.0"),
    (b"#!AER-DAT3", "an AEDAT 3 other than 3.1", "convert it with DV"),
    (b"\x1f\x8b", "packed with gzip", "unpack it: gunzip FILE"),
    (
        aedat2.is_version_1,
        "AEDAT 1.0 without a header (jAER's AER-DAT1.0, addresses of 16 bits)",
        "open it in jAER and save it as AEDAT 2.0",
    ),
)

__all__ = ["FORMATS", "Format", "Losses", "Recording", "open_recording"]


def open_recording(path: Path, layout: str | None = None) -> Recording:
    """Finds the format by the first bytes and reads the header. PlifError for a file that is no recording.

    layout  of CSV, such as "t=s,x,y,p" (csv_layout.py)
    """
    said = None if layout is None else parse_layout(layout)
    try:
        if path.is_dir():
            bag = ", the .db3 or .mcap of a rosbag" if (path / "metadata.yaml").is_file() else ""
            raise PlifError(f"{path}: a folder, not a recording: name one file in it{bag}")
        if not path.exists():
            raise no_such(path, "a recording")
        if not path.is_file():
            raise PlifError(f"{path}: not a regular file: pipe CSV events in and name '-' instead")
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
        if not head:
            raise PlifError(f"{path}: the file is empty (0 bytes)")
        if said is not None:
            if b"\0" in head:
                raise PlifError(f"{path}: --csv {layout} is for text, and this is none: leave it out")
            return _checked(csv.open_recording(path, said), path)
        for entry in FORMATS.values():
            if entry.matches(head, path):
                return _checked(entry.open(path), path)
    except OSError as error:
        raise PlifError(f"{path}: cannot be read: {error.strerror or error}") from None
    for magic, what, advice in OTHERS:
        if magic(head, path) if callable(magic) else head.startswith(magic):
            raise PlifError(f"{path}: {what}, which plif does not read: {advice}")
    version = evt.find_version(head)
    if version is not None:
        raise PlifError(f"{path}: EVT {version} is not read, only EVT 2.0, 2.1 and 3.0: convert it first")
    raise PlifError(
        f"{path}: not a recording in a known format (first bytes {head[:8].hex(' ')}); known: {', '.join(FORMATS)}"
    )


def _checked(recording: Recording, path: Path) -> Recording:
    """The one limit on what a header may claim: memory grows with the sensor, whatever the format."""
    if recording.sensor is not None and not is_size(recording.sensor):
        width, height = recording.sensor
        raise PlifError(
            f"{path}: its header claims a sensor of {width} x {height} pixels; expected both from 1 to {LONGEST}: "
            "the file is damaged, get it again"
        )
    return recording
