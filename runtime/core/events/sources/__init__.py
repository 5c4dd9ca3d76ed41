"""The sources of events: a file, or one of the parts in runtime/sources, chosen by the scheme of an address."""

from __future__ import annotations

from pathlib import Path

from runtime.core.base.errors import PlifError
from runtime.core.base.files import URL_SCHEMES, missing_file_error
from runtime.core.base.grammar import MAX_SIDE
from runtime.core.events.formats import find_part_with
from runtime.core.events.size import is_size
from runtime.core.events.sources.base import Source
from runtime.core.parts import Part, find_parts, third_party_parts

FILE = "file"

__all__ = ["Source", "open_source"]


def open_source(
    spec: str,
    *,
    sensor: tuple[int, int] | None = None,
    trained: tuple[int, int] | None = None,
    user_sensor: tuple[int, int] | None = None,
    up: str | None = None,
    **options: str | None,
) -> Source:
    """Open a source of events: a file, "-" for CSV on standard input, or an address.

    Addresses are udp://, tcp://, usb://, sim:, each with or without ?up=SIDE.

    sensor       (width, height) in pixels, whatever the source says
    user_sensor  (width, height) for a source that does not say its own: the user's word for one recording or many
    trained      the sensor (width, height) of a network's training: for a file that does not say its own, if it holds
                 the events
    up           top, left, right or bottom: the side of the stored picture where people's heads are, in place of the
                 format's orientation; ?up= of the address comes first
    options      an option of one format: csv="t=s,x,y,p", the columns of CSV if its first lines do not say them
    Raise PlifError, one line, for a file that is missing, empty or no recording, and for an unknown scheme.
    """
    spec, address_up = split_orientation(str(spec))
    size = sensor or user_sensor
    if size is not None and not is_size(size):
        raise PlifError(f"{spec}: the sensor {size} is not (width, height) with both from 1 to {MAX_SIDE}")
    format_options = {name: value for name, value in options.items() if value is not None}
    part = find_source_part(spec)
    if part is None:
        from runtime.core.events.sources.file import FileSource

        spec = spec.removeprefix("file:").removeprefix("//") if spec.startswith("file:") else spec
        source: Source = FileSource(spec, sensor, trained, user_sensor, **format_options)
    else:
        if format_options and find_part_with(format_options).module.replace(".", "/") not in part.needs:
            name, value = next(iter(format_options.items()))
            raise PlifError(f"{spec}: --{name} {value} is for files and standard input: leave it out")
        source = part.load("SOURCE")(spec, size, **format_options)
    side = up if address_up is None else address_up
    if side is not None:
        source.set_orientation(side)
    return source


def find_source_part(spec: str) -> Part | None:
    """Find the plug-in part that serves an event source's address; None for a path, which may hold a colon.

    Raise PlifError for an address that no part serves.
    """
    scheme, colon, remainder = spec.partition(":")
    if not colon and spec != "-":
        return None
    parts = {part.scheme: part for part in find_parts("sources").values() if part.scheme}
    if scheme in parts:
        return parts[scheme]
    if scheme == FILE or not remainder.startswith("//"):
        return None
    if scheme in URL_SCHEMES:
        raise missing_file_error(spec)
    parts |= {part.scheme: part for part in third_party_parts("sources").values()}
    if scheme not in parts:
        names = ", ".join(f"'{name}'" for name in sorted(parts))
        raise PlifError(f"{spec}: no source is called '{scheme}'; known: a path, {names}")
    return parts[scheme]


def split_orientation(spec: str) -> tuple[str, str | None]:
    """Split the orientation off the address of an event source: "a.aedat?up=left" -> ("a.aedat", "left").

    A file with such a name is that file.
    """
    place, mark, query = spec.partition("?")
    parts = query.split("&")
    sides = [part.removeprefix("up=") for part in parts if part.startswith("up=")]
    if not sides or spec.startswith("file:") or Path(spec).exists():
        return spec, None
    if len(sides) > 1:
        raise PlifError(f"{spec}: up= stands there {len(sides)} times; expected it once")
    remainder = "&".join(part for part in parts if not part.startswith("up="))
    return f"{place}{mark if remainder else ''}{remainder}", sides[0]
