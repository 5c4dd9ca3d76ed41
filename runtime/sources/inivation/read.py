"""Reads a server of iniVation, in a process of its own that may connect and open no file.

    python read.py SECONDS HOST PORT

Each byte on standard input asks it to connect. It answers with records (runtime/formats/child): N, nobody is there, or C, the
sensor's [width, height] as JSON, null for unknown, and nothing at all for a server without events; then P, events, and at the
end E, why.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import suppress
from resource import RLIM_INFINITY
from typing import TYPE_CHECKING

import numpy as np

from runtime.core.events.array import make_events
from runtime.formats.child.children import keep_within
from runtime.formats.child.records import PIECE, write_error, write_record

if TYPE_CHECKING:
    import dv_processing

ASK_AGAIN_S = 0.0003  # its reader can only be polled
MEMORY = 1 << 30


def relay(reader: dv_processing.io.NetworkReader) -> None:
    """Writes events until the connection ends. Raises whatever dv-processing raises for a broken packet."""
    if not reader.isEventStreamAvailable():
        return write_record(b"C")
    size = reader.getEventResolution()
    write_record(b"C", json.dumps(None if size is None else [int(size[0]), int(size[1])]).encode())
    parent = os.getppid()
    while True:
        batch = reader.getNextEventBatch()
        if batch is not None:
            events = _events(batch)
            for at in range(0, len(events), PIECE):
                write_record(b"P", events[at : at + PIECE].tobytes())
        elif reader.isRunning() and os.getppid() == parent:  # who was killed tells nobody
            time.sleep(ASK_AGAIN_S)
        else:
            return write_error("")


def _events(batch: dv_processing.EventStore) -> np.ndarray:
    """dv's timestamp int64, x and y int16, polarity int8 -> events [N]. Negative coordinates become too large ones."""
    raw = batch.numpy()
    with suppress(AttributeError):
        raw = raw.reshape(-1)
    return make_events(
        raw["timestamp"], raw["x"].astype(np.uint16), raw["y"].astype(np.uint16), raw["polarity"].astype(bool)
    )


def main(host: str, port: int) -> None:
    import dv_processing

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whom it serves decides when to end
    keep_within(RLIM_INFINITY, MEMORY)
    while sys.stdin.buffer.read(1):
        try:
            reader = dv_processing.io.NetworkReader(host, port)
        except Exception:  # dv-processing raises RuntimeError and others of its own
            write_record(b"N")
            continue
        try:
            relay(reader)
        except BrokenPipeError:
            return
        except Exception as error:  # a broken packet, or a connection that ended inside one
            write_error(" ".join(str(error).split())[:100] or type(error).__name__)
        del reader  # before the server: the other order hangs in dv-processing 2.0


if __name__ == "__main__":
    main(sys.argv[2], int(sys.argv[3]))
