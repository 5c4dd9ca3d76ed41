"""Damaged recordings and datagrams: each gives its events or one clear line, in bounded time and memory.

    python -m tests.fuzz.recordings [NAME ...] --minutes 10 [--seed 0] [--files REAL_RECORDING ...]

NAME is a file format or a format of datagrams; all of them, in turn, when none is given. Where a format has structure the
damage has it, too: numbers in headers become larger ones, packets claim what they do not hold, arrays lie about their size,
words of every type come in any order. Held of each case:

- what is raised is a PlifError of one line, and no case takes more than SECONDS or MEMORY;
- the same events, losses and notes come out however the file is cut into pieces and the events into packets;
- every event lies inside the sensor and has a possible time;
- the account is balanced: in = read + invalid = used + filtered + late + invalid + dropped.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.events import EVENT_DTYPE, open_source
from runtime.core.events.array import T_LIMIT_US, empty_events
from runtime.core.events.formats import base, format_names
from runtime.core.events.formats.base import Losses
from runtime.core.parts import find_parts
from runtime.core.stream.source_framer import SourceFramer
from tests.fuzz.damage import FILES, LINE, damaged, make_file, some_events

PLACES = {**find_parts("formats"), **find_parts("sources")}
PIECES = [  # in parts that are here: what else cuts a file, and how many bytes one of it has
    (import_module(f"runtime.formats.{module}"), name, size)
    for module, name, size in (("aedat31", "PIECE", 8), ("es", "BLOCK_BYTES", 1), ("npz.npz", "ROWS", 1))
    if module.partition(".")[0] in PLACES
]
SHORT_LINES = [(import_module("runtime.formats.csv_text"), "LINE_LIMIT", LINE)] if "csv_text" in PLACES else []
WIRES = import_module("runtime.sources.udp.datagrams").DATAGRAM_FORMATS if "udp" in PLACES else {}
SECONDS, MEMORY = 10, 96 << 20  # of CPU time; bytes that Python and NumPy hold at most, for files of under 100 kB
FRAMINGS = (
    *("count:T=7", "duration:20ms", "duration:50ms,T=9", "duration:50ms,T=9,pad=zero", "events:n=13,max=20ms"),
    *("duration:20ms,resize=nearest,shape=square", "events:n=13,max=20ms,resize=nearest"),
)
FILTERS = (None, None, "background:5ms", "refractory:1ms", "roi:1:1:9:9", "hot:1ms", "flip:x,down:2")


class TookTooLong(Exception):
    """A case that did not end in SECONDS."""


def cut_into(chunk: int) -> AbstractContextManager[None]:
    """Files are read in pieces of about so many bytes."""
    return with_values(
        (base, "CHUNK_BYTES", chunk), *((place, name, max(1, chunk // size)) for place, name, size in PIECES)
    )


@contextmanager
def with_values(*places: tuple[Any, str, int]) -> Iterator[None]:
    """(module, name, value): the constants have other values for a while."""
    before = [getattr(module, name) for module, name, _ in places]
    for module, name, value in places:
        setattr(module, name, value)
    try:
        yield
    finally:
        for (module, name, _), value in zip(places, before, strict=True):
            setattr(module, name, value)


def read(path: Path, max_events: int = 65536) -> tuple[Any, ...] | str:
    """(sensor, events, invalid, notes) of a recording, or the line that refuses it."""
    try:
        source = open_source(f"file:{path}")
        packets = list(source.packets(max_events))
    except PlifError as error:
        return str(error)
    assert all(len(packet) <= max_events for packet in packets), "a packet is too large"
    return source.sensor, np.concatenate([empty_events(), *packets]), source.invalid, source.notes


def same(a: tuple[Any, ...] | str, b: tuple[Any, ...] | str) -> bool:
    if isinstance(a, str) or isinstance(b, str):
        return a == b
    return a[0] == b[0] and a[1].tobytes() == b[1].tobytes() and a[2:] == b[2:]


def check_file(path: Path, rng: random.Random) -> None:
    """AssertionError for what does not hold; any other exception is one, too."""
    with in_memory(MEMORY):
        whole = read(path)
    small = path.stat().st_size < 2000
    for chunk in (rng.choice((8, 9, 13) if small else (64, 65, 77)), rng.choice((100, 1001))):
        with cut_into(chunk):
            pieces = read(path, rng.choice((1, 7, 1000)))
        assert same(whole, pieces), f"in pieces of {chunk} bytes: {str(whole)[:300]} and {str(pieces)[:300]}"
    if isinstance(whole, str):
        assert whole.isprintable() and len(whole) < 3000, f"not one line: {whole[:300]!r}"
        return
    (width, height), events, invalid, notes = whole
    assert all(len(note.splitlines()) == 1 for note in notes)
    assert ((events["x"] < width) & (events["y"] < height)).all(), "an event outside the sensor"
    assert (np.abs(events["t"]) < T_LIMIT_US).all(), "an impossible time"
    framing, filters = rng.choice(FRAMINGS), rng.choice(FILTERS)
    with in_memory(MEMORY):
        check_frames(path, framing, filters, len(events), invalid)


def check_frames(path: Path, framing: str, filters: str | None, events: int, invalid: int) -> None:
    """So many events and so many invalid ones are all accounted for, whatever the framing and the filters."""
    source = open_source(f"file:{path}")
    assert source.count() == events, "count() is another number"
    try:
        frames = SourceFramer(source, framing, (2, 16, 16), filters=filters)
    except PlifError:  # a region or a memory that does not fit the sensor
        return
    used = 0
    for frame in frames:
        used += frame.events
        frames.account.add(used=frame.events)
    account, what = frames.account, f"{framing}, {filters}"
    assert account.waiting == 0 and account.used == used, f"{what}: {account}"
    assert account.events_in == events + invalid, f"{what}: {account}, read {events} + {invalid}"


@contextmanager
def in_memory(most: int) -> Iterator[None]:
    """Python and NumPy hold no more bytes than that. (It makes all of them slow: only around what is to be measured.)"""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < most, f"{peak >> 20} MB of memory"


def check_text(data: bytes, rng: random.Random) -> None:
    """CSV that comes in pieces of any size, as from a pipe, is the CSV of the whole."""
    from runtime.formats.csv_text import CsvParser

    def parse(size: int) -> tuple[bytes, int, list[str]] | str:
        losses, parts = Losses(), []
        parser = CsvParser("-", losses)
        try:
            parts = [parser.feed(data[i : i + size]) for i in range(0, len(data), size)]
            parts.append(parser.finish())
        except PlifError as error:
            return str(error)
        return np.concatenate(parts).tobytes(), losses.invalid + sum(losses._reasons.values()), losses.notes

    whole = parse(len(data) or 1)
    for size in (1, rng.choice((2, 3, 50, 5000))):
        assert parse(size) == whole, f"{size} bytes at a time: {str(parse(size))[-200:]} and {str(whole)[-200:]}"


def check_datagrams(name: str, rng: random.Random) -> None:
    """Datagrams decoded together are datagrams decoded one by one, and every event of them is counted."""
    wire = WIRES[name]
    fits = wire.decoder(Losses()).fits
    datagrams = []
    for number in range(rng.choice((1, 4, 30))):
        body = wire.encode(some_events(rng)[: rng.choice((1, 3, 50))]).tobytes()
        if name == "jaer":
            body = ((rng.choice((0, 0, 2**32 - 2)) + number) % 2**32).to_bytes(4, "big") + body
        body = damaged(body, rng)
        datagrams += [body] if fits(len(body)) else []
    arrived = [1000 * i for i in range(len(datagrams))]

    def decode(together: int) -> tuple[np.ndarray, int, int]:
        losses = Losses()
        decoder = wire.decoder(losses)
        decoder.unwrap.expected_us = 1 << 33  # as the source says it: no datagram changes what the next one means
        parts = [empty_events()]
        for i in range(0, len(datagrams), together):
            some = datagrams[i : i + together]
            ends = np.cumsum([len(one) for one in some]).tolist()
            parts.append(decoder.feed(np.frombuffer(b"".join(some), np.uint8), ends, arrived[i : i + together]))
        return np.concatenate(parts), losses.invalid, decoder.lost

    events, invalid, lost = decode(len(datagrams) or 1)
    for together in (1, 3):
        again = decode(together)
        assert again[0].tobytes() == events.tobytes() and again[1:] == (invalid, lost), f"{together} at a time"
    assert events.dtype == EVENT_DTYPE and lost >= 0
    decoder = wire.decoder(Losses())
    if name != "spif":  # whose events have no fixed size
        sent = sum((len(one) - decoder.header) // decoder.unit for one in datagrams)
        assert len(events) + invalid == sent, f"{sent} events sent, {len(events)} decoded, {invalid} invalid"


def run_case(name: str, path: Path, rng: random.Random, real: list[bytes]) -> bytes:
    """Makes a case of one target and checks it; returns what it was made of, for a report."""
    if name in WIRES:
        check_datagrams(name, rng)
        return b""
    data = damaged(rng.choice(real), rng) if real else make_file(name, rng)
    path.write_bytes(data)
    check_file(path, rng)
    if name == "csv":
        check_text(data, rng)
    return data


def fuzz(
    name: str, seed: int, *, cases: int = 1 << 60, minutes: float = 1e9, keep: Path | None = None, real: Any = ()
) -> list[str]:
    """What was found, a line each: the number of the case, which with the seed gives it again, and what went wrong."""
    found, end_s = [], time.monotonic() + 60 * minutes

    def too_long(*_: Any) -> None:
        raise TookTooLong(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGPROF, too_long)
    with tempfile.TemporaryDirectory() as folder, with_values(*SHORT_LINES):
        path = Path(folder) / (FILES[name][1] if name in FILES else "a")
        for case in range(cases):
            if time.monotonic() > end_s:
                break
            rng = random.Random(f"{name} {seed} {case}")
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            try:
                run_case(name, path, rng, list(real))
            except Exception as error:
                found.append(
                    f"{name} --seed {seed}, case {case}: {type(error).__name__}: {' '.join(str(error).split())[:700]}"
                )
                if keep is not None and path.exists():
                    (keep / f"{name}-{seed}-{case}").write_bytes(path.read_bytes())
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
    signal.signal(signal.SIGPROF, before)
    print(f"{name}: {case + (time.monotonic() <= end_s)} cases, {len(found)} findings", file=sys.stderr)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join((*FILES, *WIRES)))
    parser.add_argument("--minutes", type=float, default=10.0, help="for each of them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--files", nargs="*", type=Path, default=[], help="damage these instead of small ones")
    parser.add_argument("--keep", type=Path, help="a folder for the files of findings")
    asked = parser.parse_args()
    real = [path.read_bytes() for path in asked.files]
    count = 0
    for name in asked.names or (*FILES, *WIRES):
        if name not in format_names() and name not in WIRES:
            parser.error(f"{name}: expected some of {', '.join((*FILES, *WIRES))}")
        if name not in (*FILES, *WIRES) and not real:
            parser.error(f"{name}: nothing here writes such a file; name one with --files")
        for line in fuzz(name, asked.seed, minutes=asked.minutes, keep=asked.keep, real=real):
            count += 1
            print(line, flush=True)
    return int(count > 0)


if __name__ == "__main__":
    sys.exit(main())
