"""Events: the array, the file formats, the sources and the framer.

Data flow: source -> packets -> filters -> framer -> frames.

    from runtime.core.events import open_source, read_events
    events = read_events("recording.raw")            # a complete recording, EVENT_DTYPE [N]
    for packet in open_source("recording.raw").packets(): ...

The names below are imported on first use, so that a proof, which needs the framer only, imports no source.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtime.core.events.account import Account
    from runtime.core.events.array import EVENT_DTYPE, events_sha256, make_events
    from runtime.core.events.formats import format_names
    from runtime.core.events.formats.nmnist import write_nmnist
    from runtime.core.events.frame import Frame
    from runtime.core.events.framer import Framer
    from runtime.core.events.framing import Framing
    from runtime.core.events.sources import Source, open_source
    from runtime.core.events.whole import frame_and_count, make_frames, read_events, read_frames

_HOMES = {
    "account": ("Account",),
    "array": ("EVENT_DTYPE", "events_sha256", "make_events"),
    "formats": ("format_names",),
    "formats.nmnist": ("write_nmnist",),
    "frame": ("Frame",),
    "framer": ("Framer",),
    "framing": ("Framing",),
    "sources": ("Source", "open_source"),
    "whole": ("frame_and_count", "make_frames", "read_events", "read_frames"),
}

__all__ = [
    "EVENT_DTYPE",
    "Account",
    "Frame",
    "Framer",
    "Framing",
    "Source",
    "events_sha256",
    "format_names",
    "frame_and_count",
    "make_events",
    "make_frames",
    "open_source",
    "read_events",
    "read_frames",
    "write_nmnist",
]


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"runtime.core.events.{home}"), name)
    raise AttributeError(f"module 'runtime.core.events' has no attribute '{name}'")
