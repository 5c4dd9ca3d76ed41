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
import io
import random
import signal
import struct
import sys
import tempfile
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from runtime.base.errors import PlifError
from runtime.events import EVENT_DTYPE, make_events, no_events, open_source
from runtime.events.array import T_LIMIT_US
from runtime.events.datagrams import WIRES
from runtime.events.filters.base import PIXELS_AT_MOST
from runtime.events.formats import FORMATS, aedat31, base, csv, es, npz
from runtime.events.formats.base import Losses
from runtime.events.formats.csv import CsvParser
from runtime.stream.source_framer import SourceFramer
from tests.recordings import EVT3_HEADER, WRITERS, aedat31_packet, npz_bytes

SECONDS, MEMORY = 10, 96 << 20  # of CPU time; bytes that Python and NumPy hold at most, for files of under 100 kB
LINE = 100  # characters of the longest line of CSV, so that longer ones are no work
A_PIXEL = 40  # bytes more, where a filter remembers something of each
NUMBERS = (
    0,
    1,
    2,
    7,
    8,
    127,
    128,
    255,
    4095,
    32767,
    65535,
    65536,
    65537,
    99_999_999,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63,
    10**30,
)
FRAMINGS = ("count:T=7", "duration:20ms", "duration:50ms,T=9", "duration:50ms,T=9,pad=zero", "events:n=13,max=20ms")
FILTERS = (None, None, "background:5ms", "refractory:1ms", "roi:1:1:9:9", "hot:1ms", "flip:x,down:2")
LINES = (
    b"1,2,3,1",
    b"t,x,y,p",
    b"x,y,polarity,time",
    b"#note",
    b"",
    b"\r",
    b"-1,2,3,-1",
    b"1.0, 2, 3,true",
    b"1-2,3,4,1",
    b"1,2,3",
)
FIELDS = (
    b"0",
    b"-0",
    b"7",
    b"0" * 30 + b"5",
    b"9" * 19,
    b"9" * 40,
    b"-" + b"9" * 19,
    b"1.50",
    b"2.000",
    b" 4 ",
    b"true",
    b"x",
    b"",
    b"\xff",
    b"01",
)


class TookTooLong(Exception):
    """A case that did not end in SECONDS."""


def some_events(rng: random.Random) -> np.ndarray:
    """Events [1 .. 150] with all that clocks do: equal times, steps back, jumps, wraps near."""
    t, out = rng.choice((0, 0, 1 << 23, (1 << 24) - 50, (1 << 32) - 50, (1 << 34) - 50)), []
    for _ in range(rng.choice((1, 3, 40, 150))):
        t = max(0, t + rng.choice((0, 1, 1, 5, 100, 3000, -1, -100, rng.choice((-10_000, 1_000_000, 3_600_000_000)))))
        out.append((t, rng.randrange(128), rng.randrange(120), rng.random() < 0.5))
    return make_events(*zip(*out, strict=True))


# --- damage -----------------------------------------------------------------------------------------------------------


def damaged(data: bytes, rng: random.Random) -> bytes:
    """A few of: bytes changed, a number put somewhere, a piece cut, left out, doubled or moved, noise put in."""
    out = bytearray(data)
    for _ in range(rng.choice((0, 1, 1, 2, 5))):
        at, many = rng.randrange(len(out) + 1), rng.choice((1, 2, 4, 8, 64, 700))
        what = rng.randrange(6)
        if what == 0:
            out[at : at + 1] = bytes([rng.randrange(256)])
        elif what == 1:
            size = rng.choice((1, 2, 4, 8))
            number = rng.choice(NUMBERS) % (1 << 8 * size)
            out[at : at + size] = number.to_bytes(size, rng.choice(("little", "big")))
        elif what == 2:
            del out[at:]
        elif what == 3:
            del out[at : at + many]
        elif what == 4:
            source = rng.randrange(len(out) + 1)
            out[at:at] = out[source : source + many]
        else:
            out[at:at] = rng.randbytes(many)
    return bytes(out)


def with_other_numbers(data: bytes, rng: random.Random) -> bytes:
    """One number in the text at the beginning becomes another."""
    head, runs, at = data[:400], [], 0
    while at < len(head):
        end = at
        while end < len(head) and head[end : end + 1].isdigit():
            end += 1
        runs += [(at, end)] if end > at else []
        at = end + 1
    if not runs:
        return data
    begin, end = rng.choice(runs)
    number = rng.choice((str(rng.choice(NUMBERS)), "9" * 5000, "00012", "-1", "")).encode()
    return data[:begin] + number + data[end:]


def evt_words(rng: random.Random) -> bytes:
    """EVT words of every type in any order."""
    if rng.random() < 0.5:
        kinds = rng.choices(range(16), [4, 1, 9, 3, 4, 3, 4, 1, 5, 1, 1, 1, 1, 1, 1, 1], k=rng.choice((9, 300, 2000)))
        return EVT3_HEADER + b"".join(struct.pack("<H", kind << 12 | rng.getrandbits(12)) for kind in kinds)
    kinds = rng.choices((0, 1, 8, 10, 14, 15, 5), [9, 9, 6, 1, 1, 1, 0.2], k=rng.choice((9, 300, 2000)))
    return b"% evt 2.0\n" + b"".join(struct.pack("<I", kind << 28 | rng.getrandbits(28)) for kind in kinds)


def aedat31_packets(rng: random.Random) -> bytes:
    """Packets of any type whose headers may claim what they do not hold."""
    out = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#!END-HEADER\r\n"
    for _ in range(rng.randrange(5)):
        events = some_events(rng)[: rng.choice((50, 50, 0))]
        events["t"] &= 0x7FFFFFFF
        packet = bytearray(aedat31_packet(events, capacity=60))
        if rng.random() < 0.5:
            at, size = rng.choice(((0, 2), (4, 4), (8, 4), (12, 4), (16, 4), (20, 4), (24, 4)))
            packet[at : at + size] = (rng.choice(NUMBERS) % (1 << 8 * size)).to_bytes(size, "little")
        out += packet
    return out


def csv_lines(rng: random.Random) -> bytes:
    """Lines that are events, nearly events, or very long."""
    lines = []
    for _ in range(rng.choice((1, 5, 60))):
        what = rng.random()
        if what < 0.5:
            lines.append(
                b"%d,%d,%d,%d" % (rng.randrange(10**6), rng.randrange(40), rng.randrange(40), rng.randrange(2))
            )
        elif what < 0.8:
            lines.append(b",".join(rng.choice(FIELDS) for _ in range(rng.choice((4, 4, 4, 5, 3)))))
        elif what < 0.97:
            lines.append(rng.choice(LINES))
        else:
            lines.append(
                (rng.choice((b"7", b" ", b"#", b"0", b"1,2,3,1 ")) * 700)[: rng.choice((9, LINE, LINE + 1, 700))]
            )
    return rng.choice((b"\n", b"\n", b"\r\n")).join(lines) + rng.choice((b"", b"\n"))


def npz_arrays(rng: random.Random) -> bytes:
    """A zip whose arrays lie: about their shape, their dtype, the length of their header, how they are packed."""
    out = io.BytesIO()
    count = rng.choice((1, 5, 300))
    with zipfile.ZipFile(out, "w") as archive:
        for name in rng.choice(("txyp", "txyp", "txyp", "txy", "tt", "a")):
            kind = rng.choice(
                ("<i8", "<i8", "|u1", "<u8", ">i4", "|b1", "<f8", "|O", "<M8[us]", "<U9", "(3,)<i4", "V0", "x")
            )
            descr: Any = repr(kind)
            if name == "a":
                more = rng.choice(("", ", ('q', '<i8')", ", ('q', '|V60000')", ", ('q', '<i4', (9000,))"))
                descr = f"[('t', '<i8'), ('x', '<u2'), ('y', '<u2'), ('p', '|b1'){more}]"
            shape = rng.choice(
                (f"({count},)",) * 4
                + ("()", f"({count}, 1)", f"({rng.choice(NUMBERS)},)", "(-1,)", "('x',)", "(" * 3000)
            )
            text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"
            text = rng.choice((text,) * 8 + ("{", "[]", "{" * 900, text.replace("'descr'", "'d'"), text + " " * 70_000))
            version, width = rng.choice(((1, 2), (1, 2), (2, 4), (3, 4), (9, 2)))
            length = rng.choice((len(text) + 1,) * 6 + NUMBERS) % (1 << 8 * width)
            item = np.dtype("<i8").itemsize if kind not in ("|u1", "|b1") else 1
            body = rng.choice((bytes(count * item), rng.randbytes(count * item), bytes(8 * count * item)))
            header = b"\x93NUMPY" + bytes([version, 0]) + length.to_bytes(width, "little")
            method = rng.choice((0, 8, 8, 8, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
            archive.writestr(f"{name}.npy", header + text.encode() + b"\n" + body, method)
    return out.getvalue()


STRUCTURED: dict[str, Callable[[random.Random], bytes]] = {
    "evt2": evt_words,
    "evt3": evt_words,
    "aedat31": aedat31_packets,
    "csv": csv_lines,
    "npz": npz_arrays,
}
FILES = {**WRITERS, "npz": (npz_bytes, "a.npz")}


def make_file(name: str, rng: random.Random) -> bytes:
    structured = STRUCTURED.get(name)
    if structured and rng.random() < 0.6:
        data = structured(rng)
    else:
        events = some_events(rng)
        if name in ("es", "aedat31"):  # whose writers spell out every 127 us, or hold 31 bits
            events["t"] = np.sort(events["t"] % 100_000)
        data = FILES[name][0](events)
    if rng.random() < 0.3:
        data = with_other_numbers(data, rng)
    return damaged(data, rng)


# --- what must hold ---------------------------------------------------------------------------------------------------


def cut_into(chunk: int) -> AbstractContextManager[None]:
    """Files are read in pieces of about so many bytes."""
    return with_values(
        (base, "CHUNK_BYTES", chunk), (aedat31, "PIECE", max(1, chunk // 8)), (es, "BLOCK_BYTES", chunk), (npz, "ROWS", chunk),
    )  # fmt: skip


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
    return source.sensor, np.concatenate([no_events(), *packets]), source.invalid, source.notes


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
    with in_memory(MEMORY + (A_PIXEL * min(width * height, PIXELS_AT_MOST) if filters else 0)):
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
    assert account.balanced and account.used == used, f"{what}: {account}"
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
        parts = [no_events()]
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
    with tempfile.TemporaryDirectory() as folder, with_values((csv, "LINE_LIMIT", LINE)):
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
        if name not in FORMATS and name not in WIRES:
            parser.error(f"{name}: expected some of {', '.join((*FILES, *WIRES))}")
        if name not in (*FILES, *WIRES) and not real:
            parser.error(f"{name}: nothing here writes such a file; name one with --files")
        for line in fuzz(name, asked.seed, minutes=asked.minutes, keep=asked.keep, real=real):
            count += 1
            print(line, flush=True)
    return int(count > 0)


if __name__ == "__main__":
    sys.exit(main())
