"""The decoder and the collector of events, with random bytes, states, tables and sizes."""

from __future__ import annotations

import ctypes as c
import random

from runtime.native import packets
from tests.fuzz.room import NUMBERS, Room
from tests.open_frame import OpenFrame


def number(rng: random.Random) -> int:
    return rng.choice(
        (rng.randrange(-2, 40), rng.randrange(1 << 12), rng.choice(NUMBERS), (1 << 63) - 1, rng.getrandbits(63))
    )


def decoded(library: c.CDLL, rng: random.Random, count: dict[str, int]) -> None:
    """plif_evt3 with random words, state and room."""
    words = rng.randbytes(2 * rng.randrange(200) + rng.randrange(2))
    state = _state(rng)
    with Room() as room:
        at, size = (
            room.take(len(words), words),
            rng.choice((0, 12, 13, 5 * 13 + 7, 13 * library.plif_evt3_most(words, len(words)))),
        )
        made = library.plif_evt3(at, len(words), c.byref(state), room.take(size), size)
        assert -1 <= made <= size // 13
        count["refused" if made < 0 else "ran"] += 1


def _state(rng: random.Random) -> packets.Evt3State:
    fields = packets.Evt3State._fields_
    return packets.Evt3State(*(number(rng) if rng.random() < 0.1 else rng.choice((-1, 0, 5)) for _ in fields))


def straight(library: c.CDLL, rng: random.Random, count: dict[str, int]) -> None:
    """plif_evt3_collect with random words, reader, tables and open frame."""
    kinds = [rng.choice((0, 2, 2, 3, 4, 5, 6, 8, rng.randrange(16))) for _ in range(rng.randrange(80))]
    small = rng.random() < 0.7  # values near the sensor's
    words = b"".join(
        (kind << 12 | (rng.randrange(24) if small else rng.getrandbits(12))).to_bytes(2, "little") for kind in kinds
    )
    words += rng.randbytes(rng.choice((0, 0, 1)))
    columns, rows, cells = rng.randrange(24), rng.randrange(24), rng.randrange(1, 60)
    reader = packets.Evt3Reader(decoder=_state(rng) if rng.random() < 0.5 else packets.Evt3State(row=-1, base=-1))
    for name in ("events", "outside", "held", "next"):
        setattr(reader, name, number(rng) if rng.random() < 0.03 else 0)
    reader.hold[:] = rng.randbytes(len(reader.hold))
    frame = _frame(rng, columns, rows, cells)
    at = c.c_int64(rng.choice((0, 0, 0, 1, number(rng))))
    with Room() as room:
        first = room.take(len(words), words)
        tables = [[rng.choice((0, i, i * 3, -(1 << 40), number(rng))) for i in range(m)] for m in (columns, rows, 2)]
        of_x, of_y, of_p = map(room.numbers, tables)
        counts = rng.choice((None, room.take(4 * max(cells, 0))))
        why = library.plif_evt3_collect(
            *(first, len(words), c.byref(at), c.byref(reader), c.byref(frame)),
            *(of_x, columns, of_y, rows, of_p, counts),
        )
        assert -1 <= why <= 3 and (why < 0 or 0 <= at.value <= len(words) // 2)
        count["refused" if why < 0 else "ran"] += 1


def _frame(rng: random.Random, columns: int, rows: int, cells: int) -> OpenFrame:
    """An open frame of that size, which may lie."""
    frame = OpenFrame(
        columns,
        rows,
        cells,
        rng.choice((0, 1000, 10**6)),
        rng.choice((0, 100, 2 * 10**6)),
        rng.choice((1, 9, (1 << 63) - 1)),
        rng.choice((1, 9, (1 << 63) - 1)),
    )
    for name, _ in OpenFrame._fields_:
        if rng.random() < 0.04:
            setattr(frame, name, cells if name == "cells" else number(rng))
    return frame


def collected(library: c.CDLL, rng: random.Random, count: dict[str, int]) -> None:
    """plif_collect and plif_all_usable with random events, tables and open frame."""
    n, columns, rows, cells = rng.randrange(60), rng.randrange(12), rng.randrange(12), rng.randrange(1, 60)
    t, raw = rng.choice((0, 1 << 40, -(1 << 63))), bytearray()
    for _ in range(n):
        t = max(-(1 << 63), min((1 << 63) - 1, t + rng.choice((0, 1, 500, -3, number(rng)))))
        raw += t.to_bytes(8, "little", signed=True) + bytes(
            (rng.randrange(14), rng.random() < 0.05, rng.randrange(14), 0, rng.randrange(256))
        )
    raw += rng.randbytes(rng.choice((0, 0, 0, 5)))
    frame = _frame(rng, columns, rows, cells)
    at = c.c_int64(rng.choice((0, 0, 0, 1, n, number(rng))))
    with Room() as room:
        events = room.take(len(raw), bytes(raw))
        tables = [[rng.choice((0, i, i * 3, -(1 << 40), number(rng))) for i in range(m)] for m in (columns, rows, 2)]
        of_x, of_y, of_p = map(room.numbers, tables)
        counts = rng.choice((None, room.take(4 * max(cells, 0))))
        passed = rng.choice((None, room.take(n, bytes(rng.randrange(2) for _ in range(n)))))
        why = library.plif_collect(
            events, len(raw), c.byref(at), c.byref(frame), of_x, columns, of_y, rows, of_p, passed, counts
        )
        assert -1 <= why <= 3 and (why < 0 or 0 <= at.value <= n)
        library.plif_all_usable(events, len(raw), number(rng), number(rng), number(rng))
        count["refused" if why < 0 else "ran"] += 1
