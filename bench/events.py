"""From a camera's bytes to frames: EVT 3.0 decoding and binning.

    python bench/events.py                       generated recordings
    python bench/events.py --file recording.raw  a real EVT 3.0 recording as well
    python bench/events.py --more recording.aedat digit.bin   and recordings of any format
    python bench/events.py --json

There are four jobs: decoding (words in memory -> events), filtering (events -> those that pass), binning (events -> frames of
128x128), and all that a stream does up to the frames (file -> packets -> frames). Medians; one thread.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.machine import machine
from runtime.core.events import EVENT_DTYPE, make_events, open_source
from runtime.core.events.formats import open_recording
from runtime.core.events.formats.base import Losses
from runtime.core.events.formats.words import Decoder, Words
from runtime.core.events.framer import Extent, Framer
from runtime.core.stream.source_framer import SourceFramer
from runtime.formats.evt import read_sensor
from runtime.observers.event_filters import Filters

SHAPE = (2, 128, 128)
FRAMINGS = ("count:T=20", "duration:10ms", "events:n=5000,max=20ms")
LARGER = ("duration:10ms", "duration:10ms,resize=nearest,shape=square")  # of a camera of 640x480
FILTERS = (
    "hot",
    "refractory:1ms",
    "background:5ms",
    "roi:square",
    "hot,refractory:1ms,background:5ms,roi:square,down:2",
)
HEADER = b"% evt 3.0\n% format EVT3;width=1280;height=720\n% end\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--file", type=Path, help="an EVT 3.0 recording")
    parser.add_argument("--more", type=Path, nargs="+", default=[], help="recordings of any format")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = measure(options.events, options.rounds, options.file)
    rows += [row for path in options.more for row in read(path, options.rounds)]
    if options.json:
        print(json.dumps({"machine": machine(), "rows": rows}))
        return
    print(f"{'job':80} {'M events/s':>11} {'p50 ms':>9} {'p99 ms':>9}")
    for r in rows:
        print(f"{r['name']:80} {r['million_events_per_s']:11.1f} {r['p50_ms']:9.3f} {r['p99_ms']:9.3f}")


def measure(count: int, rounds: int, file: Path | None) -> list[dict[str, Any]]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "made.raw"
        made.write_bytes(HEADER + camera_words(count).tobytes())
        for label, path in (("generated", made), *((("real", file),) if file else ())):
            words = np.frombuffer(path.read_bytes()[read_sensor(path)[1] :], "<u2")
            total = len(Decoder(Words.EVT3).feed(words, Losses()))
            rows.append(
                measured(f"EVT3 decode, {label}", total, rounds, lambda w=words: Decoder(Words.EVT3).feed(w, Losses()))
            )
            for framing in LARGER:
                name = f"EVT3 file to frames, {framing}, {label}"
                rows.append(measured(name, total, rounds, lambda p=path, f=framing: list(streamed(p, f))))
        for line in FILTERS:
            name, events = f"filter {count // 1000} k events, {line}", moving(count)
            rows.append(measured(name, count, rounds, lambda e=events, f=line: filtered(e, f)))
        for size in (count, count // 15):
            events = moving(size)
            for framing in FRAMINGS:
                name = f"bin {size // 1000} k events, {framing}"
                rows.append(measured(name, size, rounds, lambda e=events, f=framing: frames(e, f)))
        for framing in LARGER:
            name, events = f"bin {count // 1000} k events of 640x480, {framing}", moving(count, (640, 480))
            rows.append(measured(name, count, rounds, lambda e=events, f=framing: frames(e, f, (640, 480))))
    return rows


def read(path: Path, rounds: int) -> list[dict[str, Any]]:
    recording = open_recording(path)

    def decode() -> int:
        return sum(map(len, recording.decode(Losses())))

    total, name = decode(), recording.format
    return [
        measured(f"{name} file to events, {path.name}", total, rounds, decode),
        measured(f"{name} file to frames, {path.name}", total, rounds, lambda: sum(1 for _ in streamed(path))),
    ]


def measured(name: str, events: int, rounds: int, job: Callable[[], object]) -> dict[str, Any]:
    ms = [timed(job) for _ in range(rounds)]
    return {
        "name": name,
        "engine": "native",
        "precision": "exact",
        "threads": 1,
        "p50_ms": round(float(np.median(ms)), 4),
        "p99_ms": round(float(np.percentile(ms, 99)), 4),
        "spike_mismatches": None,
        "million_events_per_s": round(events / float(np.median(ms)) / 1e3, 1),
    }


def timed(job: Callable[[], object]) -> float:
    began = time.perf_counter()
    job()
    return 1e3 * (time.perf_counter() - began)


def streamed(path: Path, framing: str = "duration:10ms") -> Iterator[np.ndarray]:
    return (frame.x for frame in SourceFramer(open_source(str(path)), framing, SHAPE))


def frames(events: np.ndarray, framing: str, sensor: tuple[int, int] = (128, 128)) -> list[np.ndarray]:
    framer = Framer(framing, SHAPE, sensor, Extent(len(events)))
    found = [f.x for i in range(0, len(events), 65536) for f in framer.push(events[i : i + 65536])]
    return found + [f.x for f in framer.close()]


def filtered(events: np.ndarray, line: str) -> list[np.ndarray]:
    filters = Filters(line, (128, 128))
    return [filters(events[i : i + 65536])[0] for i in range(0, len(events), 65536)]


def moving(count: int, sensor: tuple[int, int] = (128, 128)) -> np.ndarray:
    """Events [N] of a blob before a camera, at a million events a second."""
    rng = np.random.default_rng(0)
    t = np.cumsum(rng.integers(0, 3, count))
    x, y = (np.clip(rng.normal(size / 2, size / 6.4, count), 0, size - 1).astype(int) for size in sensor)
    return make_events(t, x, y, rng.random(count) < 0.5).astype(EVENT_DTYPE)


def camera_words(count: int) -> np.ndarray:
    """EVT 3.0 words, uint16 [N], like those of a gen4.1 camera: single events, vectors of events, and times."""
    rng = np.random.default_rng(1)
    words: list[int] = [0x8000, 0x6000]
    made, t = 0, 0
    while made < count:
        t += int(rng.integers(0, 8))
        words += [0x8000 | t >> 12 & 0xFFF, 0x6000 | t & 0xFFF, int(rng.integers(0, 720))]
        x = int(rng.integers(0, 1200))
        if rng.random() < 0.5:
            words.append(0x2000 | int(rng.integers(0, 2)) << 11 | x)
            made += 1
        else:
            words.append(0x3000 | int(rng.integers(0, 2)) << 11 | x)
            for kind in (0x4, 0x4, 0x5):
                bits = int(rng.integers(0, 1 << (8 if kind == 0x5 else 12)))
                words.append(kind << 12 | bits)
                made += bits.bit_count()
    return np.array(words, "<u2")


if __name__ == "__main__":
    main()
