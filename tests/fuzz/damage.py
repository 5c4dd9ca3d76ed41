"""Small recordings with damage of a kind that their format can have; each is drawn, and the same seed draws the same."""

from __future__ import annotations

import io
import random
import struct
import tempfile
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from runtime.core.events import format_names, make_events
from tests.recordings import EVT3_HEADER, WRITERS, aedat31_packet, hdf5_bytes, npz_bytes
from tests.rosbags import write_bag

LINE = 100  # characters of the longest line of CSV, so that longer ones are no work
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
LINES = (
    b"1,2,3,1",
    b"t,x,y,p",
    b"x,y,polarity,time",
    b"#note",
    b"",
    b"\r",
    b"-1,2,3,-1",
    b"3,4,1,1000",
    b"0.001234 3 4 1",
    b"0,001234;3;4;1",
    b"1e-3\t3\t4\t0",
    b"128 128",
    b"%geometry:128,128",
    b",t_ms,x@64,y@64,p",
    b"17,1000,2,3,1",
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


def some_events(rng: random.Random) -> np.ndarray:
    """Events [1 .. 150] with all that clocks do: equal times, steps back, jumps, wraps near."""
    t, out = rng.choice((0, 0, 1 << 23, (1 << 24) - 50, (1 << 32) - 50, (1 << 34) - 50)), []
    for _ in range(rng.choice((1, 3, 40, 150))):
        t = max(0, t + rng.choice((0, 1, 1, 5, 100, 3000, -1, -100, rng.choice((-10_000, 1_000_000, 3_600_000_000)))))
        out.append((t, rng.randrange(128), rng.randrange(120), rng.random() < 0.5))
    return make_events(*zip(*out, strict=True))


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


def rosbag_bytes(events: np.ndarray) -> bytes:
    """A bag of ROS 1 with events of 32 bits of seconds, in two messages."""
    events = events.copy()
    events["t"] %= 1 << 51
    with tempfile.TemporaryDirectory() as folder:
        return write_bag(Path(folder) / "a.bag", list(np.array_split(events, 2))).read_bytes()


FILES = {
    **WRITERS,
    "npz": (npz_bytes, "a.npz"),
    **({"hdf5": (hdf5_bytes, "a.h5")} if find_spec("h5py") else {}),
    **({"rosbag": (rosbag_bytes, "a.bag")} if find_spec("rosbags") else {}),
}
FILES = {name: known for name, known in FILES.items() if name in format_names()}


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
