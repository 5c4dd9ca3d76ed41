"""libplif decodes the words of cameras as the specification does: any words, in pieces of any size, by way of Python and of C."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.core.events.formats import base, open_recording
from runtime.core.events.formats.base import Losses
from runtime.core.events.formats.words import Decoder, Words
from runtime.formats import aedat31, evt
from tests.libplif import CRecording
from tests.recordings import AEDAT2_HEADER, AEDAT31_HEADER, DAT_HEADER, EVT3_HEADER, aedat31_packet, some_events
from tests.specification import evt3, words

COUNT = 3000
Random = np.random.Generator


def of_kinds(random: Random, bits: int, p: dict[int, float]) -> np.ndarray:
    """Words of so many bits, of which the upper four are the type; of half of the types that do nothing, there are some."""
    kinds = random.choice([*p, *range(16)], COUNT, p=[*p.values(), *[(1 - sum(p.values())) / 16] * 16])
    rest = random.integers(0, 1 << bits - 4, COUNT, dtype=np.uint64)
    return kinds.astype(np.uint64) << np.uint64(bits - 4) | rest


def pairs(random: Random, upper: int) -> np.ndarray:
    """A number below `upper`, and 32 bits of a clock that wraps often, now and then by exactly half its range."""
    raw = np.where(random.random(COUNT) < 0.3, random.choice([0, 1 << 31], COUNT), random.integers(0, 1 << 32, COUNT))
    return (random.integers(0, upper, COUNT) << 32 | raw).astype(np.uint64)


def five_bytes(random: Random) -> np.ndarray:
    """Times that nearly never step back, by which these files are known, and some markers."""
    t = np.minimum(np.sort(random.integers(0, 1 << 23, COUNT)), (1 << 23) - 1)
    y = np.where(random.random(COUNT) < 0.05, 240, random.integers(0, 256, COUNT))
    fields = random.integers(0, 256, COUNT) << 32 | y << 24 | random.integers(0, 2, COUNT) << 23 | t
    return fields.astype(np.uint64)


# format -> (specification, bytes of a word, their order, words, header, name of the file)
FORMATS: dict[str, tuple[Callable[[], Any], int, Any, Callable[[Random], np.ndarray], bytes, str]] = {
    "nmnist": (words.FiveBytes, 5, "big", five_bytes, b"", "a.bin"),
    "evt2": (words.Evt2, 4, "little", lambda r: of_kinds(r, 32, {0: 0.3, 1: 0.3, 8: 0.1}), b"% evt 2.0\n% end\n", "a.raw"),
    "evt21": (words.Evt21, 8, "little", lambda r: of_kinds(r, 64, {0: 0.3, 1: 0.3, 8: 0.1}), b"% evt 2.1\n% end\n", "a.raw"),
    "evt3": (
        *(evt3.Decoder, 2, "little"),
        lambda r: of_kinds(r, 16, {0: 0.05, 2: 0.2, 3: 0.05, 4: 0.3, 5: 0.2, 6: 0.1, 8: 0.05}),
        *(EVT3_HEADER, "a.raw"),
    ),
    "dat": (words.Dat, 8, "little", lambda r: pairs(r, 1 << 32), DAT_HEADER + b"\x0c\x08", "a.dat"),
    "aedat2": (words.Aedat2, 8, "big", lambda r: pairs(r, 40_000), AEDAT2_HEADER, "a.aedat"),
}  # fmt: skip


def rows(events: np.ndarray) -> list[tuple[Any, ...]]:
    return [tuple(event) for event in events.tolist()]


def read(path: Path) -> tuple[list[tuple[Any, ...]], Losses]:
    """The events, and what was lost, with a note for each reason; in C, with the same events."""
    losses = Losses()
    events = [event for chunk in open_recording(path).decode(losses) for event in rows(chunk)]
    losses.close("it")
    recording = CRecording(path)
    assert rows(recording.events(777)) == events
    recording.close()
    return events, losses


def said(lost: Counter[str]) -> list[str]:
    return [f"it: {n} {'event' if n == 1 else 'events'} {why}: not used" for why, n in sorted(lost.items())]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("seed", range(6))
def test_any_words_are_the_events_and_losses_that_the_specification_says(
    name: str, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, size, order, draw, header, file_name = FORMATS[name]
    random = np.random.default_rng(seed)
    drawn, theirs = draw(random).tolist(), make()
    cut = int(random.integers(0, size))
    data = b"".join(word.to_bytes(size, order) for word in drawn) + bytes(cut)
    (tmp_path / file_name).write_bytes(header + data)
    expected = [tuple(event) for word in drawn for event in theirs.word(word)]
    monkeypatch.setattr(base, "CHUNK_BYTES", int(random.choice([1, 50, 3000, 1 << 18])))
    events, losses = read(tmp_path / file_name)
    assert events == expected and len(events) > 500
    assert losses.invalid == sum(theirs.lost.values())
    notes = [note for note in losses.notes if "left over" not in note]
    unknown = [note for note in notes if "of a type that" in note]
    assert len(losses.notes) - len(notes) == (cut > 0) and notes == unknown + said(theirs.lost)
    assert [int(note.split(": ")[1].split()[0]) for note in unknown] == [n for n in (theirs.unknown,) if n]


@pytest.mark.parametrize("seed", range(20))
def test_any_packets_are_the_events_and_losses_that_the_specification_says(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of any type and capacity, marked valid or not, with bits that agree or not; then cut, or with a damaged header."""
    random, data = np.random.default_rng(seed), bytearray()
    for number in range(12):
        wide = some_events(int(random.integers(0, 90)), number, 1 << 15, 1 << 15, 1 << 31)
        kind, valid = int(random.choice([1, 1, 1, 0, 2])), int(random.random() < 0.6)
        more = {"overflow": int(random.integers(0, 9)), "capacity": int(random.choice([0, 80, 120]))}
        packet = bytearray(aedat31_packet(wide, kind=kind, valid=valid, **more))
        if random.random() < 0.5:
            packet[24:28] = len(wide).to_bytes(4, "little")  # all count as valid
        for at in random.integers(0, max(len(wide), 1), random.choice([0, 1, 3])):
            packet[28 + 8 * at : 29 + 8 * at] = bytes([random.integers(0, 256)])
        data += packet
    if seed % 2:
        del data[int(random.integers(len(data) // 2, len(data))) :]
    if seed % 3 == 0:
        damage = len(data) + np.array([0, 4, 12, 20])[seed % 4]  # type, size, overflow, number
        data += 2 * aedat31_packet(some_events(9))
        data[damage : damage + 4] = (-1).to_bytes(4, "little", signed=True)
    (tmp_path / "a.aedat").write_bytes(AEDAT31_HEADER + data)
    theirs, expected, believed = words.Aedat31(), list[tuple[Any, ...]](), 0
    for theirs.overflow, theirs.believed, found, missing in words.packets(bytes(data)):
        expected += [tuple(event) for word in found for event in theirs.word(word)]
        theirs.lost[f"cut off at the end of the file (byte {len(AEDAT31_HEADER) + len(data)})"] += missing
        believed += len(found) if theirs.believed else 0
    monkeypatch.setattr(aedat31, "PIECE", int(random.choice([1, 7, 1 << 15])))
    events, losses = read(tmp_path / "a.aedat")
    assert events == expected and events
    assert losses.invalid == sum(theirs.lost.values())
    assert [note for note in losses.notes if note.startswith("it: ")] == said(+theirs.lost)
    assert sum(int(note.split(": ")[1].split()[0]) for note in losses.notes if "no valid bit" in note) == believed


def test_the_clock_wraps_and_steps_back_in_a_real_recording_as_the_specification_says(shared_data: Path) -> None:
    path = shared_data / "recordings" / "gen41_1280x720_evt3.raw"
    piece, theirs, losses = (
        np.frombuffer(path.read_bytes()[evt.read_sensor(path)[1] :], "<u2")[:60_000],
        evt3.Decoder(),
        Losses(),
    )
    assert rows(Decoder(Words.EVT3).feed(piece, losses)) == [
        tuple(e) for word in piece.tolist() for e in theirs.word(word)
    ]
    assert losses.invalid == sum(theirs.lost.values()) == 0
