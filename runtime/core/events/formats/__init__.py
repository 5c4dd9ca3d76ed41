"""The formats of recordings, recognised by a file's first bytes.

They are the parts in runtime/formats, and N-MNIST, which has no mark.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from runtime.core.base.errors import PlifError
from runtime.core.base.files import missing_file_error
from runtime.core.base.grammar import MAX_SIDE
from runtime.core.base.options import list_options
from runtime.core.events.formats.base import HEAD_BYTES, Format, Losses, Recording
from runtime.core.events.size import is_size
from runtime.core.parts import Part, find_parts, index_by_name, load_part_options, third_party_parts

KIND = "formats"

__all__ = ["Format", "Losses", "Recording", "format_names", "open_recording"]


def format_names() -> list[str]:
    """List the names of all recording formats that plif reads (Recording.format)."""
    from runtime.core.events.formats import nmnist

    return [*index_by_name(find_parts(KIND)), *index_by_name(third_party_parts(KIND)), nmnist.NAME]


def open_recording(path: Path, **options: str) -> Recording:
    """Open a recording file: recognise its format by the first bytes and read its header.

    Raise PlifError for a file that is no recording.

    options  an option of one format, which selects that format whatever the first bytes are: csv="t=s,x,y,p"
    """
    try:
        if path.is_dir():
            raise PlifError(f"{path}: {_find_refusal(b'', path) or 'a folder, not a recording: name one file in it'}")
        if not path.exists():
            raise missing_file_error(path, "a recording")
        if not path.is_file():
            raise PlifError(f"{path}: not a regular file: pipe CSV events in and name '-' instead")
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
        if not head:
            raise PlifError(f"{path}: the file is empty (0 bytes)")
        file_format = find_part_with(options).load("FORMAT") if options else find_format(head, path)
        if file_format is not None:
            return _check_sensor(file_format.open(path, **options), path)
    except OSError as error:
        raise PlifError(f"{path}: cannot be read: {error.strerror or error}") from None
    if head.startswith(b"\x1f\x8b"):
        raise PlifError(f"{path}: packed with gzip, which plif does not read: unpack it: gunzip FILE")
    names = ", ".join(format_names())
    unknown = f"not a recording in a known format (first bytes {head[:8].hex(' ')}); known: {names}"
    raise PlifError(f"{path}: {_find_refusal(head, path) or unknown}")


def find_format(head: bytes, path: Path) -> Format | None:
    """Find the format of a file by its first bytes `head`; import only that format.

    Formats of third-party packages come after all formats of plif.
    """
    from runtime.core.events.formats import nmnist

    return (
        _match_format(find_parts(KIND).values(), head, path)
        or (nmnist.FORMAT if nmnist.matches(head, path) else None)
        or _match_format(third_party_parts(KIND).values(), head, path)
    )


def find_part_with(options: Iterable[str]) -> Part:
    """Find the file format that has all of these command-line options; refuse options that no format has."""
    for name, record in load_part_options(KIND).items():
        if set(options) <= {declared.name for declared in list_options(record)}:
            return find_parts(KIND)[name]
    raise PlifError(
        f"{', '.join(options)}: no format that is read here has such an option: {', '.join(format_names())}"
    )


def _match_format(parts: Iterable[Part], head: bytes, path: Path) -> Format | None:
    for part in parts:
        if head.startswith(part.magic) if part.magic else part.last:
            file_format: Format = part.load("FORMAT")
            if not part.last or file_format.matches(head, path):
                return file_format
    return None


def _find_refusal(head: bytes, path: Path) -> str | None:
    """Ask all formats why a file or folder that none of them reads is no recording; return one explanation."""
    formats: Iterable[Format] = (part.load("FORMAT") for part in find_parts(KIND).values() if part.names != ())
    return next((explanation for file_format in formats if (explanation := file_format.refusal(head, path))), None)


def _check_sensor(recording: Recording, path: Path) -> Recording:
    """Return a recording; refuse a header that claims an impossible sensor size.

    This is the one limit on a header: memory grows with the sensor, whatever the format.
    """
    if recording.sensor is not None and not is_size(recording.sensor):
        width, height = recording.sensor
        raise PlifError(
            f"{path}: its header claims a sensor of {width} x {height} pixels; expected both from 1 to {MAX_SIDE}: "
            "the file is damaged, get it again"
        )
    return recording
