"""Where events come from.

To add one: write `sources/NAME.py` with a class that satisfies `Source` and is made by `Class(spec, sensor)`, and enter
it into SOURCES under the scheme that selects it ("udp" for `udp://...`).
"""

from __future__ import annotations

from collections.abc import Callable

from runtime.base.errors import PlifError
from runtime.events.size import LONGEST, is_size
from runtime.events.sources.base import LiveSource, Source
from runtime.events.sources.file import FileSource
from runtime.events.sources.inivation import InivationSource
from runtime.events.sources.stdin import StdinSource
from runtime.events.sources.udp import UdpSource
from runtime.events.sources.usb import UsbSource


def _simulated(spec: str, sensor: tuple[int, int] | None) -> Source:
    from runtime.simulate.source import simulated  # here: the simulator makes events and so imports this package

    return simulated(spec, sensor)


SOURCES: dict[str, Callable[[str, tuple[int, int] | None], Source]] = {
    "file": FileSource,
    "-": StdinSource,
    "sim": _simulated,
    "tcp": InivationSource,
    "udp": UdpSource,
    "usb": UsbSource,
}

__all__ = ["SOURCES", "FileSource", "LiveSource", "Source", "StdinSource", "open_source"]


def open_source(spec: str, *, sensor: tuple[int, int] | None = None) -> Source:
    """A path, "-" for CSV on standard input, or udp://, tcp://, usb://, sim: -> Source.

    `sensor` is (width, height), where the source cannot know.

    PlifError, one line, for a file that is missing, empty or no recording, and for an unknown scheme.
    """
    spec = str(spec)
    if sensor is not None and not is_size(sensor):
        raise PlifError(f"{spec}: the sensor {sensor} is not (width, height) with both from 1 to {LONGEST}")
    if spec == "-":
        return SOURCES["-"](spec, sensor)
    scheme, colon, rest = spec.partition(":")
    if colon and (rest.startswith("//") or scheme in SOURCES):
        if scheme not in SOURCES:
            known = ", ".join("a path" if name == "file" else f"'{name}'" for name in SOURCES)
            raise PlifError(f"{spec}: no source is called '{scheme}'; known: {known}")
        if scheme != "file":
            return SOURCES[scheme](spec, sensor)
        spec = rest.removeprefix("//")
    return SOURCES["file"](spec, sensor)
