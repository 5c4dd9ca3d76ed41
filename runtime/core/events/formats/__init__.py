"""The format of a recording, found by its first bytes: one of the parts in runtime/formats, or N-MNIST's, which has no mark."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from runtime.core.base.errors import PlifError
from runtime.core.base.files import no_such
from runtime.core.base.grammar import LONGEST
from runtime.core.base.options import options_of
from runtime.core.events.formats.base import HEAD_BYTES, Format, Losses, Recording
from runtime.core.events.size import is_size
from runtime.core.parts import Part, by_name, find_parts, options_of_parts, parts_of_others

KIND = "formats"

__all__ = ["Format", "Losses", "Recording", "format_names", "open_recording"]


def format_names() -> list[str]:
    """What recordings that are read are called (Recording.format)."""
    from runtime.core.events.formats import nmnist

    return [*by_name(find_parts(KIND)), *by_name(parts_of_others(KIND)), nmnist.NAME]


def open_recording(path: Path, **said: str) -> Recording:
    """Finds the format by the first bytes and reads the header. PlifError for a file that is no recording.

    said  an option of one format, with which it is of that one, whatever it begins with: csv="t=s,x,y,p"
    """
    try:
        if path.is_dir():
            raise PlifError(f"{path}: {_refusal(b'', path) or 'a folder, not a recording: name one file in it'}")
        if not path.exists():
            raise no_such(path, "a recording")
        if not path.is_file():
            raise PlifError(f"{path}: not a regular file: pipe CSV events in and name '-' instead")
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
        if not head:
            raise PlifError(f"{path}: the file is empty (0 bytes)")
        found = part_of(said).load("FORMAT") if said else find_format(head, path)
        if found is not None:
            return _checked(found.open(path, **said), path)
    except OSError as error:
        raise PlifError(f"{path}: cannot be read: {error.strerror or error}") from None
    if head.startswith(b"\x1f\x8b"):
        raise PlifError(f"{path}: packed with gzip, which plif does not read: unpack it: gunzip FILE")
    known = ", ".join(format_names())
    unknown = f"not a recording in a known format (first bytes {head[:8].hex(' ')}); known: {known}"
    raise PlifError(f"{path}: {_refusal(head, path) or unknown}")


def find_format(head: bytes, path: Path) -> Format | None:
    """The format of a file that begins so, which is imported now; others' packages are asked where it is none of ours."""
    from runtime.core.events.formats import nmnist

    return (
        _first(find_parts(KIND).values(), head, path)
        or (nmnist.FORMAT if nmnist.matches(head, path) else None)
        or _first(parts_of_others(KIND).values(), head, path)
    )


def part_of(said: Iterable[str]) -> Part:
    """The format that has these options. PlifError where none has."""
    for name, record in options_of_parts(KIND).items():
        if set(said) <= {each.name for each in options_of(record)}:
            return find_parts(KIND)[name]
    raise PlifError(f"{', '.join(said)}: no format that is read here has such an option: {', '.join(format_names())}")


def _first(parts: Iterable[Part], head: bytes, path: Path) -> Format | None:
    for part in parts:
        if head.startswith(part.magic) if part.magic else part.last:
            found: Format = part.load("FORMAT")
            if not part.last or found.matches(head, path):
                return found
    return None


def _refusal(head: bytes, path: Path) -> str | None:
    """What a format knows of a file or folder that is none, and what to do."""
    formats: Iterable[Format] = (part.load("FORMAT") for part in find_parts(KIND).values() if part.names != ())
    return next((said for each in formats if (said := each.refusal(head, path))), None)


def _checked(recording: Recording, path: Path) -> Recording:
    """The one limit on what a header may claim: memory grows with the sensor, whatever the format."""
    if recording.sensor is not None and not is_size(recording.sensor):
        width, height = recording.sensor
        raise PlifError(
            f"{path}: its header claims a sensor of {width} x {height} pixels; expected both from 1 to {LONGEST}: "
            "the file is damaged, get it again"
        )
    return recording
