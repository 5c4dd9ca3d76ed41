"""Where events come from: a file, or one of the parts in runtime/sources, by the scheme of its address."""

from __future__ import annotations

from pathlib import Path

from runtime.core.base.errors import PlifError
from runtime.core.base.files import ADDRESSES, no_such
from runtime.core.base.grammar import LONGEST
from runtime.core.events.formats import part_of
from runtime.core.events.size import is_size
from runtime.core.events.sources.base import Source
from runtime.core.parts import Part, find_parts, parts_of_others

FILE = "file"

__all__ = ["Source", "open_source"]


def open_source(
    spec: str,
    *,
    sensor: tuple[int, int] | None = None,
    trained: tuple[int, int] | None = None,
    asked: tuple[int, int] | None = None,
    up: str | None = None,
    **said: str | None,
) -> Source:
    """A path, "-" for CSV on standard input, or udp://, tcp://, usb://, sim:, each with or without ?up=SIDE -> Source.

    sensor   (width, height) in pixels, whatever the source says
    asked    the same, where the source does not say it: what a user says of one recording or of many
    trained  the sensor (width, height) of a network's training: for a file that does not say its own, if it holds the events
    up       top, left, right or bottom: the side of the stored picture on which people's heads are, in place of what the format
             says; where the source has ?up= of its own, that
    said     an option of one format: csv="t=s,x,y,p", what the columns of CSV are, where its first lines do not tell
    Raises PlifError, one line, for a file that is missing, empty or no recording, and for an unknown scheme.
    """
    spec, own_up = split_up(str(spec))
    size = sensor or asked
    if size is not None and not is_size(size):
        raise PlifError(f"{spec}: the sensor {size} is not (width, height) with both from 1 to {LONGEST}")
    more = {name: value for name, value in said.items() if value is not None}
    part = part_of_scheme(spec)
    if part is None:
        from runtime.core.events.sources.file import FileSource

        spec = spec.removeprefix("file:").removeprefix("//") if spec.startswith("file:") else spec
        source: Source = FileSource(spec, sensor, trained, asked, **more)
    else:
        if more and part_of(more).module.replace(".", "/") not in part.needs:
            name, value = next(iter(more.items()))
            raise PlifError(f"{spec}: --{name} {value} is for files and standard input: leave it out")
        source = part.load("SOURCE")(spec, size, **more)
    side = up if own_up is None else own_up
    if side is not None:
        source.stand(side)
    return source


def part_of_scheme(spec: str) -> Part | None:
    """Whose address this is; None for a path, which may hold a colon. PlifError for an address of nobody."""
    scheme, colon, rest = spec.partition(":")
    if not colon and spec != "-":
        return None
    parts = {part.scheme: part for part in find_parts("sources").values() if part.scheme}
    if scheme in parts:
        return parts[scheme]
    if scheme == FILE or not rest.startswith("//"):
        return None
    if scheme in ADDRESSES:
        raise no_such(spec)
    parts |= {part.scheme: part for part in parts_of_others("sources").values()}
    if scheme not in parts:
        known = ", ".join(f"'{name}'" for name in sorted(parts))
        raise PlifError(f"{spec}: no source is called '{scheme}'; known: a path, {known}")
    return parts[scheme]


def split_up(spec: str) -> tuple[str, str | None]:
    """ "a.aedat?up=left" -> ("a.aedat", "left"); a file that is called so is that file."""
    place, mark, query = spec.partition("?")
    parts = query.split("&")
    sides = [part.removeprefix("up=") for part in parts if part.startswith("up=")]
    if not sides or spec.startswith("file:") or Path(spec).exists():
        return spec, None
    if len(sides) > 1:
        raise PlifError(f"{spec}: up= stands there {len(sides)} times; expected it once")
    rest = "&".join(part for part in parts if not part.startswith("up="))
    return f"{place}{mark if rest else ''}{rest}", sides[0]
