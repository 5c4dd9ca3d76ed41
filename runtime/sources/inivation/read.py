"""A child process that reads events from an iniVation server; it may connect and may open no file.

    python read.py SECONDS HOST PORT

Each byte on standard input is a request to connect. The answer is a record (runtime/formats/child):

    N  no server answers
    C  the sensor's [width, height] as JSON, null if unknown, empty for a server without events
    P  events, after C      E  the reason for the end of the connection
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
from runtime.formats.child.children import limit_resources
from runtime.formats.child.records import PIECE, write_error, write_record

if TYPE_CHECKING:
    import dv_processing

POLL_S = 0.0003  # dv-processing's reader can only be polled
MEMORY = 1 << 30


def relay_events(reader: dv_processing.io.NetworkReader) -> None:
    """Write the events that a DV server sends as records to standard output, until the connection ends.

    Raises the exceptions of dv-processing for a broken packet.
    """
    if not reader.isEventStreamAvailable():
        return write_record(b"C")
    size = reader.getEventResolution()
    write_record(b"C", json.dumps(None if size is None else [int(size[0]), int(size[1])]).encode())
    parent = os.getppid()
    while True:
        batch = reader.getNextEventBatch()
        if batch is not None:
            events = _convert_batch(batch)
            for start in range(0, len(events), PIECE):
                write_record(b"P", events[start : start + PIECE].tobytes())
        elif reader.isRunning() and os.getppid() == parent:  # a parent that was killed cannot tell us
            time.sleep(POLL_S)
        else:
            return write_error("")


def _convert_batch(batch: dv_processing.EventStore) -> np.ndarray:
    """Convert a batch of events of the library dv-processing to an event array [N].

    Negative coordinates become large ones, outside the sensor.
    """
    raw = batch.numpy()
    with suppress(AttributeError):
        raw = raw.reshape(-1)
    return make_events(
        raw["timestamp"], raw["x"].astype(np.uint16), raw["y"].astype(np.uint16), raw["polarity"].astype(bool)
    )


def main(host: str, port: int) -> None:
    import dv_processing

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to end
    limit_resources(RLIM_INFINITY, MEMORY)
    while sys.stdin.buffer.read(1):
        try:
            reader = dv_processing.io.NetworkReader(host, port)
        except Exception:  # dv-processing raises RuntimeError and custom types
            write_record(b"N")
            continue
        try:
            relay_events(reader)
        except BrokenPipeError:
            return
        except Exception as error:  # a broken packet, or a connection that ended inside one
            write_error(" ".join(str(error).split())[:100] or type(error).__name__)
        del reader  # before the server: the other order hangs in dv-processing 2.0


if __name__ == "__main__":
    main(sys.argv[2], int(sys.argv[3]))
