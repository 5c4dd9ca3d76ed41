"""Decoding in a process of its own: what a damaged file does to a library in C or Rust ends only that process.

A decoding program, `NAME_decode.py`, writes records to its standard output: a tag of one byte, the length (uint64 LE), bytes.

    H  what the header says, JSON        P  events (EVENT_DTYPE), at most PIECE        other tags: the format's own
    E  one line: why decoding stopped    Z  the end of the file was reached
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from runtime.core.base.errors import NONSENSE, PlifError
from runtime.core.base.files import open_regular
from runtime.core.events.array import EVENT_DTYPE
from runtime.core.events.formats.base import Losses
from runtime.formats.child.children import Child, keep_within

Records = Iterator[tuple[bytes, bytes]]
PIECE = 1 << 16
MOST_RECORD = 1 << 20  # bytes; a file may have taken the program over, so nothing that it says is believed
# Bytes of memory: what is packed may claim any size. A chunk is unpacked as a whole, and an index of a bag of ROS 1 takes 14
# times as much as in the file.
FREE_MEMORY, MOST_TIMES, MOST_MEMORY = 256 << 20, 16, 4 << 30
MOST_TEXT = 500  # characters of what is said of a file


@contextmanager
def records_of(program: Path, path: Path) -> Iterator[Records]:
    """The records (tag, bytes) that a decoding program writes for a file, up to its end, be it complete or aborted.

    Where a limit ended the program, an E says which (runtime/formats/child/children.py).
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
def believing(where: object) -> Iterator[None]:
    """Where what a decoding program says is taken apart: PlifError for what it cannot say."""
    try:
        yield
    except NONSENSE:
        raise PlifError(f"{where}: what was read of it cannot be: it is damaged, or made to harm") from None


def read_record(child: Child) -> tuple[bytes, bytes] | None:
    """The next record; None where the child has ended, or writes what is none."""
    head = child.read(9)
    size = int.from_bytes(head[1:], "little")
    whole = len(head) == 9 and size <= MOST_RECORD and len(payload := child.read(size)) == size
    return (head[:1], payload) if whole else None


def header_of(program: Path, path: Path, what: str) -> bytes:
    """The H that a decoding program writes for a file. PlifError where it writes none; what: "this rosbag"."""
    reason = "the file is cut or damaged"
    with records_of(program, path) as records:
        for tag, payload in records:
            if tag == b"H":
                return payload
            reason = reason_in(payload) if tag == b"E" else reason
    raise PlifError(f"{path}: {what} cannot be read: {reason}")


def reason_in(payload: bytes) -> str:
    """The line of an E."""
    return payload.decode(errors="replace")[:MOST_TEXT]


def events_in(payload: bytes) -> np.ndarray:
    """The events [N] of a P."""
    return np.frombuffer(payload, EVENT_DTYPE, len(payload) // EVENT_DTYPE.itemsize)


def events_of(
    program: Path, path: Path, losses: Losses, others: Mapping[bytes, Callable[[bytes], np.ndarray]] | None = None
) -> Iterator[np.ndarray]:
    """The events [N] that a decoding program finds in a file; a note where it did not come to the end of it.

    PlifError where it came to none.
    others  for tags of the format's own that hold events: bytes -> events [N]
    """
    read = {b"P": events_in, **(others or {})}
    done, complete, reason = 0, False, "the decoder could not go on"
    with records_of(program, path) as records:
        for tag, payload in records:
            if tag in read:
                events = read[tag](payload)
                done += len(events)
                yield events
            elif tag == b"E":
                reason = reason_in(payload)
            complete = tag == b"Z"
    if not complete and not done:
        raise PlifError(f"{path}: no event of it can be read: {reason}")
    if not complete:
        losses.note(f"{path}: reading stopped after {done} events, the rest is cut or damaged: {reason}")


# --- in the process that decodes --------------------------------------------------------------------------------


def write_record(tag: bytes, payload: bytes = b"") -> None:
    """One record to standard output."""
    sys.stdout.buffer.write(tag + len(payload).to_bytes(8, "little") + payload)
    sys.stdout.buffer.flush()


def run_decoder(decode: Callable[[str], None]) -> None:
    """The main of a decoding program: decodes the file that is named, within limits, and says how it ended."""
    try:
        size = os.stat(sys.argv[2]).st_size
        memory = min(MOST_MEMORY, FREE_MEMORY + MOST_TIMES * size)
        keep_within(int(sys.argv[1]), memory)
        decode(sys.argv[2])
        write_record(b"Z")
    except BrokenPipeError:  # the reader needs no more
        sys.stderr = None
    except MemoryError:
        write_error(f"reading it takes more than {memory >> 20} MiB of memory, too much for a file of its size")
    except BaseException as error:  # a Rust panic is no Exception
        write_error(" ".join(str(error).split()) or type(error).__name__)


def write_error(reason: str) -> None:
    """An E, of one line."""
    write_record(b"E", reason[:MOST_TEXT].encode(errors="replace"))
