"""The decoder, the collector and the filters of events, with random bytes, states, tables, lines and sizes."""

from __future__ import annotations

import ctypes as c
import random

import numpy as np

from runtime.core.events.array import EVENT_DTYPE
from runtime.native import interface
from tests.fuzz.room import NUMBERS, Room
from tests.open_frame import OpenFrame
from tests.specification.filters import apply
from tests.specification.lines import Words
from tests.specification.text import Refused
from tests.specification.view import Event

LETTERS = "hotrefackywipdsq:,0123 msu.\t\x1f"


def number(rng: random.Random) -> int:
    return rng.choice(
        (rng.randrange(-2, 40), rng.randrange(1 << 12), rng.choice(NUMBERS), (1 << 63) - 1, rng.getrandbits(63))
    )


def decoded(library: c.CDLL, rng: random.Random, count: dict[str, int]) -> None:
    """plif_decode with random words of any format, state and room; what it asks of words, headers and beginnings of files."""
    name, words = rng.randrange(-1, 8), rng.randbytes(rng.randrange(200))
    state, used, packet = _state(rng), c.c_int64(), interface.PacketHeader()
    with Room() as room:
        at = room.take(len(words), words)
        most = library.plif_decode_most(name, at, len(words))
        fits = rng.choice((0, 1, 31, 32, 40, max(most, 0)))
        made = library.plif_decode(name, c.byref(state), at, len(words), room.take(13 * fits), fits, c.byref(used))
        assert -1 <= made <= min(fits, most) or made == most == -1
        assert made < 0 or 0 <= used.value <= len(words)
        assert made < 0 or fits < most or len(words) - used.value < library.plif_word_bytes(name), "room, and not used"
        library.plif_any_valid(at, len(words))
        library.plif_looks_like(name, at, len(words))
        if len(words) >= 28:
            library.plif_aedat31_packet(at, c.byref(packet))
        count["refused" if made < 0 else "ran"] += 1


def _state(rng: random.Random) -> interface.Decoding:
    fields = interface.Decoding._fields_
    return interface.Decoding(*(number(rng) if rng.random() < 0.1 else rng.choice((-1, 0, 5)) for _ in fields))


def straight(library: c.CDLL, rng: random.Random, count: dict[str, int]) -> None:
    """plif_evt3_collect with random words, reader, tables and open frame."""
    kinds = [rng.choice((0, 2, 2, 3, 4, 5, 6, 8, rng.randrange(16))) for _ in range(rng.randrange(80))]
    small = rng.random() < 0.7  # values near the sensor's
    words = b"".join(
        (kind << 12 | (rng.randrange(24) if small else rng.getrandbits(12))).to_bytes(2, "little") for kind in kinds
    )
    words += rng.randbytes(rng.choice((0, 0, 1)))
    columns, rows, cells = rng.randrange(24), rng.randrange(24), rng.randrange(1, 60)
    reader = interface.Evt3Reader(decoder=_state(rng) if rng.random() < 0.5 else interface.Decoding(row=-1, base=-1))
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


def random_events(rng: random.Random, width: int, height: int) -> np.ndarray:
    """[N] of EVENT_DTYPE, some outside the sensor, with times up to the ends of int64."""
    t, made = rng.choice((0, 0, 1 << 60, -(1 << 63) + 1)), []
    for _ in range(rng.randrange(80)):
        t = max(
            -(1 << 63) + 1, min((1 << 63) - 1, t + rng.choice((0, 1, 500, 3000, -3, 20_000, -(1 << 63), number(rng))))
        )
        at = [rng.choice((0, size - 1, rng.randrange(size))) for size in (width, height)]
        made.append(
            (t, *(rng.choice((65535, width, height)) if rng.random() < 0.03 else n for n in at), rng.random() < 0.5)
        )
    return np.array(made, EVENT_DTYPE)


def filtered(library: c.CDLL, rng: random.Random, count: dict[str, int]) -> None:
    """A chain of a random line gives what the specification says; then what it remembers is changed, and must do no harm."""
    width, height = rng.choice((1, 2, 9, 40)), rng.choice((1, 2, 7, 30))
    line = Words(np.random.default_rng(rng.getrandbits(32))).filter()
    if rng.random() < 0.2:
        line = "".join(rng.choices(LETTERS, k=rng.randrange(30)))
    events, made = random_events(rng, width, height), c.c_void_p()
    marks = np.array([rng.choice((0, 1, 1, 1, 1, 2)) for _ in events], np.uint8)
    inside = (events["x"] < width) & (events["y"] < height)
    comes = np.flatnonzero((marks == 1) & inside)
    try:
        passed, sensor = apply(line, (width, height), [Event(*events[i].tolist()) for i in comes])
    except Refused:
        assert library.plif_filters_make(line.encode(), width, height, c.byref(made)) < 0, line
        assert not made and library.plif_error_text().decode().startswith("--filter ")
        count["refused"] += 1
        return
    assert library.plif_filters_make(line.encode(), width, height, c.byref(made)) == 0, line
    expected = np.where((marks == 1) & ~inside, 2, marks)
    expected[comes] = [one is not None for one in passed]
    with Room() as room:
        at, of = room.take(events.nbytes, events.tobytes()), room.take(len(marks), marks.tobytes())
        assert library.plif_filters_apply(made, at, len(events), of) == sum(one is not None for one in passed)
        found = np.frombuffer(c.string_at(at, events.nbytes), EVENT_DTYPE)
        assert c.string_at(of, len(marks)) == expected.tobytes(), line
        assert [Event(*one) for one in found[expected == 1].tolist()] == [one for one in passed if one], line
        assert (found[expected == 2] == events[expected == 2]).all()
        sizes = c.c_int(), c.c_int()
        library.plif_filters_sensor(made, *map(c.byref, sizes))
        assert (sizes[0].value, sizes[1].value) == sensor
        kept = room.take(size := library.plif_filters_bytes(made))
        library.plif_filters_keep(made, kept)
        for _ in range(rng.randrange(4) if size else 0):
            c.memset(kept + rng.randrange(size), rng.choice((0, 1, 2, 127, 128, 255)), 1)
        library.plif_filters_restore(made, kept)
        library.plif_filters_apply(made, at, len(events), of)
        if rng.random() < 0.5:
            library.plif_filters_begin(made)
        library.plif_filters_apply(made, at, len(events), of)
        library.plif_filters_note(made, rng.randrange(2), text := room.take(40), 40)
        assert len(c.string_at(text)) < 40
        library.plif_filters_free(made)
    count["ran"] += 1
