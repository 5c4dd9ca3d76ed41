"""Events: the array, the file formats, the sources and the framer. Flow: source -> packets -> filters -> framer -> frames.

from runtime.events import open_source, read_events
events = read_events("recording.raw")            # a whole recording, EVENT_DTYPE [N]
for packet in open_source("recording.raw").packets(): ...
"""

from __future__ import annotations

import os

import numpy as np

from runtime.events.array import EVENT_DTYPE, events_sha256, make_events, no_events
from runtime.events.filters import FILTERS
from runtime.events.formats import FORMATS
from runtime.events.formats.nmnist import write_nmnist
from runtime.events.framer import Account, Frame, Framer, frames_of
from runtime.events.framing import Framing
from runtime.events.source_framer import SourceFramer, frame_source
from runtime.events.sources import SOURCES, Source, open_source
from runtime.events.sources.file import FileSource

__all__ = [
    "EVENT_DTYPE",
    "FILTERS",
    "FORMATS",
    "SOURCES",
    "Account",
    "Frame",
    "Framer",
    "Framing",
    "Source",
    "SourceFramer",
    "events_sha256",
    "frame_source",
    "frames_of",
    "make_events",
    "open_source",
    "read_events",
    "write_nmnist",
]


def read_events(path: str | os.PathLike[str], sensor: tuple[int, int] | None = None) -> np.ndarray:
    """A whole recording -> usable events [N] in file order. PlifError when it is no recording.

    What is lost (a cut file, invalid events) is known to `open_source(path)`: its `invalid` and `notes`.
    """
    packets = list(FileSource(os.fspath(path), sensor).packets(1 << 20))
    return np.concatenate(packets) if packets else no_events()
