"""A program that decodes one AEDAT 4 file to standard output, run as a child process (formats/child).

A damaged file can make the `aedat` extension abort its process ("panic in a destructor"), which Python cannot catch.
Here only this process ends. H is {stream: [width, height]} of the event streams, P events of the first stream.
"""

from __future__ import annotations

import json
import os

import numpy as np

from runtime.core.events.array import make_events
from runtime.formats.child.records import PIECE, run_decoder, write_record


def decode(path: str) -> None:
    import aedat

    is_utf8 = os.fsencode(path) == path.encode(errors="replace")  # aedat accepts only names in UTF-8
    decoder = aedat.Decoder(path if is_utf8 else "/dev/fd/0")
    streams = decoder.id_to_stream().items()
    sensors = {key: (s["width"], s["height"]) for key, s in streams if s.get("type") == "events"}
    write_record(b"H", json.dumps(sensors).encode())
    for packet in decoder:
        if sensors and packet["stream_id"] == min(sensors) and "events" in packet:
            for start in range(0, len(packet["events"]), PIECE):
                decoded = packet["events"][start : start + PIECE]
                on = decoded["on" if "on" in decoded.dtype.names else "p"]
                events = make_events(decoded["t"].astype(np.int64), decoded["x"], decoded["y"], on)
                write_record(b"P", events.tobytes())


if __name__ == "__main__":
    run_decoder(decode)
