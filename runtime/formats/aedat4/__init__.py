"""AEDAT 4 (iniVation DV): FlatBuffers packets, LZ4 or ZSTD, read through the `aedat` package (MIT), if installed.

The first event stream of the file is read; frames, IMU samples and triggers are not events. The package runs in a
child process (`decode.py`), because a damaged file can make it abort. Then only that process ends, and the recording
ends with a note.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from runtime.core.base.errors import MissingExtra, PlifError
from runtime.core.events.formats.base import Format, Losses, Recording
from runtime.formats.child.records import decode_reason, open_decoder, read_decoded_events, refuse_malformed

CHILD = Path(__file__).with_name("decode.py")


def open_recording(path: Path) -> Recording:
    if importlib.util.find_spec("aedat") is None:
        raise MissingExtra(f"{path}: an AEDAT 4 file", "aedat4")
    streams: dict[int, tuple[int, int]] | None = None
    reason = "the file is cut or damaged"
    with refuse_malformed(path), open_decoder(CHILD, path) as records:
        for tag, payload in records:
            if tag == b"H":
                streams = {int(stream): (width, height) for stream, (width, height) in json.loads(payload).items()}
                if not streams:
                    raise PlifError(f"{path}: this AEDAT 4 file holds no event stream")
            elif tag == b"E":
                reason = decode_reason(payload)
            elif tag == b"Z":
                raise PlifError(f"{path}: holds a header and no events: record it again or check the copy")
            elif payload and streams:
                break
        else:
            noun = "the AEDAT 4 header" if streams is None else "the first event of this AEDAT 4 file"
            raise PlifError(f"{path}: {noun} cannot be read: {reason}")
    assert streams is not None
    numbers = sorted(streams)
    return Recording("aedat4", lambda losses: _decode(path, numbers, losses), sensor=streams[numbers[0]])


def _decode(path: Path, streams: list[int], losses: Losses) -> Iterator[np.ndarray]:
    if len(streams) > 1:
        shown = ", ".join(map(str, streams[:8])) + ", .." * (len(streams) > 8)
        losses.note(f"{path}: holds {len(streams)} event streams ({shown}): stream {streams[0]} is read")
    yield from read_decoded_events(CHILD, path, losses)


FORMAT = Format(open_recording)
