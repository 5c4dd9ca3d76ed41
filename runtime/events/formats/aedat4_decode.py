"""Decodes one AEDAT 4 file to standard output. Run as a program, in a process of its own.

A damaged file can make the `aedat` extension abort the process that it runs in ("panic in a destructor"), which Python
cannot catch; here only this process ends. Records on standard output: tag, length (uint64 LE), bytes.

    H  JSON {stream: [width, height]} of the event streams
    P  events of the first of them (t i8, x u2, y u2, p bool), at most PIECE
    E  one line: why decoding stopped
    Z  the end of the file was reached
"""

from __future__ import annotations

import json
import resource
import struct
import sys

PIECE = 1 << 16
MEMORY = 4 << 30  # bytes of addresses: packed packets may claim any size
EVENT = [("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "?")]


def write_record(tag: bytes, payload: bytes = b"") -> None:
    sys.stdout.buffer.write(tag + struct.pack("<Q", len(payload)) + payload)
    sys.stdout.buffer.flush()


def main(path: str) -> None:
    import aedat
    import numpy as np

    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY if hard == resource.RLIM_INFINITY else min(MEMORY, hard), hard))
    try:
        decoder = aedat.Decoder(path)
        streams = decoder.id_to_stream().items()
        sensors = {key: (s["width"], s["height"]) for key, s in streams if s.get("type") == "events"}
        write_record(b"H", json.dumps(sensors).encode())
        for packet in decoder:
            if sensors and packet["stream_id"] == min(sensors) and "events" in packet:
                for at in range(0, len(packet["events"]), PIECE):
                    decoded = packet["events"][at : at + PIECE]
                    events = np.empty(len(decoded), EVENT)
                    events["t"] = decoded["t"].astype(np.int64)
                    events["x"], events["y"] = decoded["x"], decoded["y"]
                    events["p"] = decoded["on" if "on" in decoded.dtype.names else "p"]
                    write_record(b"P", events.tobytes())
        write_record(b"Z")
    except BrokenPipeError:  # the reader needs no more
        sys.stderr = None
    except BaseException as error:  # a Rust panic is no Exception
        write_record(b"E", (" ".join(str(error).split()) or type(error).__name__).encode())


if __name__ == "__main__":
    main(sys.argv[1])
