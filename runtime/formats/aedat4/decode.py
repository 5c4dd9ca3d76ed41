"""Decodes one AEDAT 4 file to standard output. Run as a program, in a process of its own (child.py has the records).

A damaged file can make the `aedat` extension abort the process that it runs in ("panic in a destructor"), which Python
cannot catch; here only this process ends. H is {stream: [width, height]} of the event streams, P events of the first of them.
"""

from __future__ import annotations

import json
import os

import numpy as np

from runtime.core.events.array import make_events
from runtime.formats.child.records import PIECE, run_decoder, write_record


def decode(path: str) -> None:
    import aedat

    found = os.fsencode(path) == path.encode(errors="replace")  # it takes names that are UTF-8 only
    decoder = aedat.Decoder(path if found else "/dev/fd/0")
    streams = decoder.id_to_stream().items()
    sensors = {key: (s["width"], s["height"]) for key, s in streams if s.get("type") == "events"}
    write_record(b"H", json.dumps(sensors).encode())
    for packet in decoder:
        if sensors and packet["stream_id"] == min(sensors) and "events" in packet:
            for at in range(0, len(packet["events"]), PIECE):
                decoded = packet["events"][at : at + PIECE]
                on = decoded["on" if "on" in decoded.dtype.names else "p"]
                events = make_events(decoded["t"].astype(np.int64), decoded["x"], decoded["y"], on)
                write_record(b"P", events.tobytes())


if __name__ == "__main__":
    run_decoder(decode)
