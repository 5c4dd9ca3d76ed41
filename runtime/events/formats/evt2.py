"""Prophesee EVT 2.0: little-endian 32-bit words, type in bits 28-31.

    0x0 CD_OFF, 0x1 CD_ON   bits 22-27 t[5:0], bits 11-21 x, bits 0-10 y
    0x8 TIME_HIGH           bits 0-27 t[33:6]
    0xA trigger, 0xE other, 0xF continued: no change events

Times wrap at 2^34 us. Events before the first TIME_HIGH have no time: invalid. The '%' header may be missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from runtime.events.array import make_events
from runtime.events.formats import evt
from runtime.events.formats.base import Format, Losses, Unwrapper, forward_fill, read_chunks

WORD = 4
TIME_HIGH = 0x8
KNOWN = np.isin(np.arange(16), [0x0, 0x1, 0x8, 0xA, 0xE, 0xF])


def matches(head: bytes, path: Path) -> bool:
    if (named := evt.is_version(head, "2.0")) is not None:
        return named
    # without a header: (nearly) all words of a known type, and a clock that runs forward
    words = np.frombuffer(head[: len(head) // WORD * WORD], "<u4")
    kind = words >> 28
    high = (words[kind == TIME_HIGH] & 0xFFFFFFF).astype(np.int64)
    if len(words) < (2 if path.suffix.lower() == ".raw" else 16) or not len(high):
        return False
    # what is continued has a beginning: 5-byte events of a long pause are mostly zeros and bytes F0, at every fifth place
    if np.sum(kind == 0xF) > 8 * (1 + np.isin(kind, (0xA, 0xE)).sum()):
        return False
    return bool(KNOWN[kind].mean() >= 0.99 and np.mean(np.diff(high, prepend=high[0]) >= 0) >= 0.9)


def _decode(path: Path, offset: int, losses: Losses) -> Iterator[np.ndarray]:
    unwrap = Unwrapper(28)
    high, unknown = -1, 0  # high: the time base in units of 64 us, -1 before the first TIME_HIGH
    for chunk in read_chunks(path, offset, WORD, losses):
        words = chunk.view("<u4")
        kind = words >> 28
        is_high = kind == TIME_HIGH
        base = forward_fill(is_high, unwrap(words[is_high] & 0xFFFFFFF), high)
        high = int(base[-1])
        unknown += int(len(kind) - KNOWN[kind].sum())
        event = kind <= 1
        timed = event & (base >= 0)
        losses.add(int(event.sum() - timed.sum()), "before the first TIME_HIGH")
        word = words[timed]
        t = base[timed] << 6 | ((word >> 22) & 0x3F).astype(np.int64)
        yield make_events(t, (word >> 11) & 0x7FF, word & 0x7FF, (word >> 28) == 1)
    if unknown:
        losses.note(f"{path}: {unknown} words of a type that EVT 2.0 does not have: passed over")


FORMAT = Format("evt2", matches, lambda path: evt.open_raw(path, "evt2", _decode))
