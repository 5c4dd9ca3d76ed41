"""Where events come from.

To add one: write `sources/NAME.py` with a class that derives from `Source` and is made by `Class(spec, sensor)`, and enter
it into SOURCES under the scheme that selects it ("udp" for `udp://...`).
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from runtime.base.errors import PlifError
from runtime.base.files import ADDRESSES, no_such
from runtime.base.grammar import LONGEST
from runtime.events.size import is_size
from runtime.events.sources.base import Source

# scheme -> "module:class"; a module is imported when its source is asked for
SOURCES: dict[str, str] = {
    "file": "runtime.events.sources.file:FileSource",
    "-": "runtime.events.sources.stdin:StdinSource",
    "sim": "runtime.sources.sim.source:simulated",
    "tcp": "runtime.events.sources.inivation:InivationSource",
    "udp": "runtime.events.sources.udp:UdpSource",
    "usb": "runtime.events.sources.usb:UsbSource",
}

__all__ = ["SOURCES", "Source", "open_source"]


def open_source(
    spec: str,
    *,
    sensor: tuple[int, int] | None = None,
    csv: str | None = None,
    trained: tuple[int, int] | None = None,
    asked: tuple[int, int] | None = None,
    up: str | None = None,
) -> Source:
    """A path, "-" for CSV on standard input, or udp://, tcp://, usb://, sim:, each with or without ?up=SIDE -> Source.

    sensor   (width, height) in pixels, whatever the source says
    asked    the same, where the source does not say it: what a user says of one recording or of many
    csv      what the columns of CSV are, such as "t=s,x,y,p", where its first lines do not tell
    trained  the sensor (width, height) of a network's training: for a file that does not say its own, if it holds the events
    up       top, left, right or bottom: the side of the stored picture on which people's heads are, in place of what the format
             says; where the source has ?up= of its own, that
    Raises PlifError, one line, for a file that is missing, empty or no recording, and for an unknown scheme.
    """
    spec, own_up = split_up(str(spec))
    said = sensor or asked
    if said is not None and not is_size(said):
        raise PlifError(f"{spec}: the sensor {said} is not (width, height) with both from 1 to {LONGEST}")
    scheme, colon, rest = spec.partition(":")
    if spec != "-" and not (colon and (rest.startswith("//") or scheme in SOURCES)):
        scheme = "file"  # a path, which may hold a colon
    elif scheme not in SOURCES:
        if scheme in ADDRESSES:
            raise no_such(spec)
        known = ", ".join("a path" if name == "file" else f"'{name}'" for name in SOURCES)
        raise PlifError(f"{spec}: no source is called '{scheme}'; known: {known}")
    elif scheme == "file":
        spec = rest.removeprefix("//")
    module, maker = SOURCES[scheme].split(":")
    if csv is not None and scheme not in ("file", "-"):
        raise PlifError(f"{spec}: --csv {csv} is for files and standard input: leave it out")
    more: dict[str, object] = {} if csv is None else {"csv": csv}
    if scheme == "file":
        more |= {"trained": trained, "asked": asked}
    else:
        sensor = said
    source: Source = getattr(import_module(module), maker)(spec, sensor, **more)
    side = up if own_up is None else own_up
    if side is not None:
        source.stand(side)
    return source


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
