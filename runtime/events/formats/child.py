"""Decoding in a process of its own: what a damaged file does to a library in C or Rust ends only that process.

A decoding program, `NAME_decode.py`, writes records to its standard output: a tag of one byte, the length (uint64 LE), bytes.

    H  what the header says, JSON        P  events (EVENT_DTYPE), at most PIECE        other tags: the format's own
    E  one line: why decoding stopped    Z  the end of the file was reached
"""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from runtime.base.children import run_code
from runtime.events.array import EVENT_DTYPE
from runtime.events.formats.base import Losses

Records = Iterator[tuple[bytes, bytes]]
PIECE = 1 << 16
MEMORY = 4 << 30  # bytes of addresses: what is packed may claim any size
ROOT = Path(__file__).parents[3]  # where `runtime` lies, also where it is no installed package
START = (
    f"import runpy, sys; sys.path.append({str(ROOT)!r}); sys.argv = sys.argv[1:]; "
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)


@contextmanager
def records_of(program: Path, path: Path) -> Iterator[Records]:
    """The records (tag, bytes) that a decoding program writes for a file, up to its end, be it complete or aborted."""
    command = [*run_code(START), str(program), str(path)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=quiet, stdout=subprocess.PIPE, stderr=quiet) as child:
        assert child.stdout is not None
        pipe = child.stdout

        def read() -> Records:
            while len(head := pipe.read(9)) == 9:
                size = int.from_bytes(head[1:], "little")
                if len(payload := pipe.read(size)) < size:
                    return
                yield head[:1], payload

        try:
            yield read()
        finally:
            child.kill()


def events_of(
    program: Path, path: Path, losses: Losses, others: Mapping[bytes, Callable[[bytes], np.ndarray]] | None = None
) -> Iterator[np.ndarray]:
    """The events [N] that a decoding program finds in a file; a note where it did not come to the end of it.

    others  for tags of the format's own that hold events: bytes -> events [N]
    """
    read = {b"P": lambda payload: np.frombuffer(payload, EVENT_DTYPE), **(others or {})}
    done, complete, reason = 0, False, "the decoder could not go on"
    with records_of(program, path) as records:
        for tag, payload in records:
            if tag in read:
                events = read[tag](payload)
                done += len(events)
                yield events
            elif tag == b"E":
                reason = payload.decode()
            complete = tag == b"Z"
    if not complete:
        losses.note(f"{path}: reading stopped after {done} events, the rest is cut or damaged: {reason}")


# --- in the process that decodes --------------------------------------------------------------------------------


def write_record(tag: bytes, payload: bytes = b"") -> None:
    """One record to standard output."""
    sys.stdout.buffer.write(tag + len(payload).to_bytes(8, "little") + payload)
    sys.stdout.buffer.flush()


def run_decoder(decode: Callable[[str], None]) -> None:
    """The main of a decoding program: decodes the file that is named, in MEMORY, and says how it ended."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY if hard == resource.RLIM_INFINITY else min(MEMORY, hard), hard))
    try:
        decode(sys.argv[1])
        write_record(b"Z")
    except BrokenPipeError:  # the reader needs no more
        sys.stderr = None
    except BaseException as error:  # a Rust panic is no Exception
        write_record(b"E", (" ".join(str(error).split()) or type(error).__name__).encode())
