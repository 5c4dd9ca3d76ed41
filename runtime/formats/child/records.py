"""Decoding in a child process: a damaged file that crashes a library in C or Rust ends only that process.

A decoder program, `decode.py` of its format, writes records to its standard output: a tag of one byte, the length
(uint64 LE), then the bytes.

    H  the header of the file, JSON              P  events (EVENT_DTYPE), at most PIECE
    E  one line: the reason why decoding stopped Z  the end of the file was reached
    other tags: custom ones of the format
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from runtime.core.base.errors import PARSE_ERRORS, PlifError
from runtime.core.base.files import open_regular
from runtime.core.events.array import EVENT_DTYPE
from runtime.core.events.formats.base import Losses
from runtime.formats.child.children import Child, limit_resources

Records = Iterator[tuple[bytes, bytes]]
PIECE = 1 << 16
MOST_RECORD = 1 << 20  # bytes; a hostile file may control the program, so its output is untrusted
# Bytes of memory, since packed data may claim any size. A chunk is unpacked as a whole, and the index of a ROS 1 bag takes 14
# times its size in the file.
FREE_MEMORY, MOST_TIMES, MOST_MEMORY = 256 << 20, 16, 4 << 30
MOST_TEXT = 500  # characters of a reason


@contextmanager
def open_decoder(program: Path, path: Path) -> Iterator[Records]:
    """Run a decoder program on a file in a confined child process; yield an iterator of its records, (tag, bytes).

    The iterator ends where the output ends, complete or aborted. If a limit ended the program, the last record is an
    E with the reason (runtime/formats/child/children.py).
    """
    with (
        open_regular(path, "a recording") as file,
        Child(program, str(path), size=os.fstat(file.fileno()).st_size, stdin=file.fileno()) as child,
    ):

        def read() -> Records:
            while (record := read_record(child)) is not None:
                yield record
            if (reason := child.end()[1]) is not None:
                yield b"E", f"{reason}, too much for a file of its size".encode()

        yield read()


@contextmanager
def refuse_malformed(name: object) -> Iterator[None]:
    """Turn errors from malformed output of a decoder program into a PlifError that begins with `name`."""
    try:
        yield
    except PARSE_ERRORS:
        raise PlifError(f"{name}: what was read of it is invalid: it is damaged, or made to harm") from None


def read_record(child: Child) -> tuple[bytes, bytes] | None:
    """Read a decoder program's next record, (tag, bytes); return None if it has ended or the record is invalid."""
    head = child.read(9)
    size = int.from_bytes(head[1:], "little")
    is_complete = len(head) == 9 and size <= MOST_RECORD and len(payload := child.read(size)) == size
    return (head[:1], payload) if is_complete else None


def read_header_record(program: Path, path: Path, noun: str) -> bytes:
    """Return the header record (H) that a decoder program writes for a file.

    Raises PlifError when it writes none. what: a noun for the message, "this rosbag".
    """
    reason = "the file is cut or damaged"
    with open_decoder(program, path) as records:
        for tag, payload in records:
            if tag == b"H":
                return payload
            reason = decode_reason(payload) if tag == b"E" else reason
    raise PlifError(f"{path}: {noun} cannot be read: {reason}")


def decode_reason(payload: bytes) -> str:
    """Return the reason in an error record (E) of a decoder program."""
    return payload.decode(errors="replace")[:MOST_TEXT]


def decode_events(payload: bytes) -> np.ndarray:
    """Return the events [N] that an events record (P) of a decoder program holds."""
    return np.frombuffer(payload, EVENT_DTYPE, len(payload) // EVENT_DTYPE.itemsize)


def read_decoded_events(
    program: Path, path: Path, losses: Losses, readers: Mapping[bytes, Callable[[bytes], np.ndarray]] | None = None
) -> Iterator[np.ndarray]:
    """Yield the events [N] of a file that a decoder program reads in a confined child process.

    Adds a note to `losses` when the program did not reach the end of the file. Raises PlifError when it read no event.
    readers  functions for the custom tags of the format that hold events: bytes -> events [N]
    """
    decoders = {b"P": decode_events, **(readers or {})}
    count, complete, reason = 0, False, "the decoder could not go on"
    with open_decoder(program, path) as records:
        for tag, payload in records:
            if tag in decoders:
                events = decoders[tag](payload)
                count += len(events)
                yield events
            elif tag == b"E":
                reason = decode_reason(payload)
            complete = tag == b"Z"
    if not complete and not count:
        raise PlifError(f"{path}: no event of it can be read: {reason}")
    if not complete:
        losses.note(f"{path}: reading stopped after {count} events, the rest is cut or damaged: {reason}")


# --- in the process that decodes --------------------------------------------------------------------------------


def write_record(tag: bytes, payload: bytes = b"") -> None:
    """Write one record of a decoder program, (tag, length, bytes), to standard output."""
    sys.stdout.buffer.write(tag + len(payload).to_bytes(8, "little") + payload)
    sys.stdout.buffer.flush()


def run_decoder(decode: Callable[[str], None]) -> None:
    """Run a decoder program: decode the file named on the command line, within limits, and report how it ended."""
    try:
        size = os.stat(sys.argv[2]).st_size
        memory = min(MOST_MEMORY, FREE_MEMORY + MOST_TIMES * size)
        limit_resources(int(sys.argv[1]), memory)
        decode(sys.argv[2])
        write_record(b"Z")
    except BrokenPipeError:  # the parent has read enough
        sys.stderr = None
    except MemoryError:
        write_error(f"reading it takes more than {memory >> 20} MiB of memory, too much for a file of its size")
    except BaseException as error:  # a Rust panic is no Exception
        write_error(" ".join(str(error).split()) or type(error).__name__)


def write_error(reason: str) -> None:
    """Write an error record (E) of a decoder program, one line with the reason, to standard output."""
    write_record(b"E", reason[:MOST_TEXT].encode(errors="replace"))
