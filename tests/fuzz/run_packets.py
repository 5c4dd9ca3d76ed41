"""The decoder and the collector of events, with random bytes, states, tables and sizes."""

from __future__ import annotations

import ctypes as c
import random

from runtime.native import packets
from tests.fuzz.room import NUMBERS, Room


def number(rng: random.Random) -> int:
    return rng.choice(
        (rng.randrange(-2, 40), rng.randrange(1 << 12), rng.choice(NUMBERS), (1 << 63) - 1, rng.getrandbits(63))
    )


def decoded(library: c.CDLL, rng: random.Random, count: dict[str, int]) -> None:
    """plif_evt3 with random words, state and room."""
    words = rng.randbytes(2 * rng.randrange(200) + rng.randrange(2))
    fields = [name for name, _ in packets.Evt3State._fields_]
    state = packets.Evt3State(*(number(rng) if rng.random() < 0.1 else rng.choice((-1, 0, 5)) for _ in fields))
    with Room() as room:
        at, size = (
            room.take(len(words), words),
            rng.choice((0, 12, 13, 5 * 13 + 7, 13 * library.plif_evt3_most(words, len(words)))),
        )
        made = library.plif_evt3(at, len(words), c.byref(state), room.take(size), size)
        assert -1 <= made <= size // 13
        count["refused" if made < 0 else "ran"] += 1


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
    frame = packets.OpenFrame(
        columns,
        rows,
        cells,
        rng.choice((0, 1000, 10**6)),
        rng.choice((0, 100, 2 * 10**6)),
        rng.choice((1, 9, (1 << 63) - 1)),
        rng.choice((1, 9, (1 << 63) - 1)),
    )
    for name, _ in packets.OpenFrame._fields_:
        if rng.random() < 0.04:
            setattr(frame, name, cells if name == "cells" else number(rng))
    at = c.c_int64(rng.choice((0, 0, 0, 1, n, number(rng))))
    with Room() as room:
        events = room.take(len(raw), bytes(raw))
        tables = [[rng.choice((0, i, i * 3, -(1 << 40), number(rng))) for i in range(m)] for m in (columns, rows, 2)]
        of_x, of_y, of_p = map(room.numbers, tables)
        counts = rng.choice((None, room.take(4 * max(cells, 0))))
        why = library.plif_collect(
            events, len(raw), c.byref(at), c.byref(frame), of_x, columns, of_y, rows, of_p, counts
        )
        assert -1 <= why <= 3 and (why < 0 or 0 <= at.value <= n)
        library.plif_all_usable(events, len(raw), number(rng), number(rng), number(rng))
        count["refused" if why < 0 else "ran"] += 1
