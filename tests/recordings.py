"""Small recordings for tests: some events, and a writer for each file format, as small as it can be."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import numpy as np

from runtime.core.events import format_names, make_events


def some_events(count: int, seed: int = 0, width: int = 34, height: int = 34, last_us: int = 300_000) -> np.ndarray:
    random = np.random.default_rng(seed)
    t = np.sort(random.integers(0, last_us, count))
    x, y = random.integers(0, width, count), random.integers(0, height, count)
    return make_events(t, x, y, random.random(count) < 0.5)


def nmnist_bytes(events: np.ndarray) -> bytes:
    out = b""
    for t, x, y, p in events.tolist():
        out += bytes([x, y, (p << 7) | (t >> 16) & 0x7F, (t >> 8) & 0xFF, t & 0xFF])
    return out


AEDAT2_HEADER = b"#!AER-DAT2.0\r\n# AEChip: ch.unizh.ini.jaer.chip.retina.DVS128\r\n#" + b"x" * 5000 + b"\r\n"


def aedat2_bytes(events: np.ndarray) -> bytes:
    words = [struct.pack(">II", y << 8 | x << 1 | (not p), t & 0xFFFFFFFF) for t, x, y, p in events.tolist()]
    return AEDAT2_HEADER + b"".join(words)


AEDAT31_HEADER = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#!END-HEADER\r\n"


def aedat31_packet(events: np.ndarray, *, capacity: int = 0, overflow: int = 0, valid: int = 1, kind: int = 1) -> bytes:
    capacity = max(capacity, len(events))
    body = b"".join(struct.pack("<Ii", x << 17 | y << 2 | p << 1 | valid, t) for t, x, y, p in events.tolist())
    counted = len(events) if valid else 0
    header = struct.pack("<hhiiiiii", kind, 1, 8, 4, overflow, capacity, len(events), counted)
    return header + body + b"\xff" * (8 * (capacity - len(events)))


def evt2_bytes(events: np.ndarray, header: bytes = b"% evt 2.0\n% geometry 640x480\n% end\n") -> bytes:
    out, high = header, -1
    for t, x, y, p in events.tolist():
        if t >> 6 != high:
            high = t >> 6
            out += struct.pack("<I", 0x8 << 28 | high & 0xFFFFFFF)
        out += struct.pack("<I", int(p) << 28 | (t & 0x3F) << 22 | x << 11 | y)
    return out


def evt21_bytes(
    events: np.ndarray, header: bytes = b"% evt 2.1\n% format EVT21;height=480;width=640\n% end\n"
) -> bytes:
    out, high = header, -1
    for t, x, y, p in events.tolist():
        if t >> 6 != high:
            high = t >> 6
            out += struct.pack("<Q", 0x8 << 60 | (high & 0xFFFFFFF) << 32)
        out += struct.pack("<Q", int(p) << 60 | (t & 0x3F) << 54 | (x & ~31) << 43 | y << 32 | 1 << (x & 31))
    return out


EVT3_HEADER = b"% evt 3.0\n% format EVT3;height=720;width=1280\n% end\n"


def words16(*words: int) -> bytes:
    return struct.pack(f"<{len(words)}H", *words)


def evt3_bytes(events: np.ndarray) -> bytes:
    out, high = EVT3_HEADER, -1
    for t, x, y, p in events.tolist():
        if t >> 12 != high:
            high = t >> 12
            out += words16(0x8000 | high & 0xFFF)
        out += words16(0x6000 | t & 0xFFF, y, 0x2000 | p << 11 | x)
    return out


DAT_HEADER = b"% Data file containing CD events.\n% Version 2\n% Height 240\n% Width 304\n"


def dat_bytes(events: np.ndarray) -> bytes:
    words = [struct.pack("<II", t & 0xFFFFFFFF, p << 28 | y << 14 | x) for t, x, y, p in events.tolist()]
    return DAT_HEADER + b"\x0c\x08" + b"".join(words)


def es_bytes(events: np.ndarray, atis: bool = False) -> bytes:
    out = b"Event Stream" + bytes([2, 0, 0, 2 if atis else 1]) + struct.pack("<HH", 128, 128)
    now, top = 0, 63 if atis else 127
    for t, x, y, p in events.tolist():
        while t - now >= top:
            out += b"\xfd" if atis else b"\xff"
            now += top
        out += bytes([(t - now) << 2 | p << 1 if atis else (t - now) << 1 | p]) + struct.pack("<HH", x, y)
        now = t
    return out


def csv_bytes(events: np.ndarray) -> bytes:
    return b"".join(b"%d,%d,%d,%d\n" % (t, x, y, p) for t, x, y, p in events.tolist())


def npz_bytes(events: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, t=events["t"], x=events["x"], y=events["y"], p=events["p"])
    return out.getvalue()


def npy_bytes(events: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, events)
    return out.getvalue()


# format: (events [N] -> the bytes of a file, a usual name of such a file)
WRITERS: dict[str, tuple[Callable[[np.ndarray], bytes], str]] = {
    "nmnist": (nmnist_bytes, "a.bin"),
    "aedat2": (aedat2_bytes, "a.aedat"),
    "aedat31": (lambda e: AEDAT31_HEADER + aedat31_packet(e[:50], capacity=80) + aedat31_packet(e[50:]), "a.aedat"),
    "evt2": (evt2_bytes, "a.raw"),
    "evt21": (evt21_bytes, "a.raw"),
    "evt3": (evt3_bytes, "a.raw"),
    "dat": (dat_bytes, "a.dat"),
    "es": (es_bytes, "a.es"),
    "csv": (csv_bytes, "a.csv"),
    "npy": (npy_bytes, "a.npy"),
}

READ = {name: known for name, known in WRITERS.items() if name in format_names()}  # those of formats that are here


def hdf5_bytes(events: np.ndarray, t_offset: int = 0, **options: object) -> bytes:
    """As DSEC stores events. options: of h5py's create_dataset, such as the compression."""
    import h5py

    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        for name, kind in (("x", "u2"), ("y", "u2"), ("p", "u1")):
            file.create_dataset(f"events/{name}", data=events[name].astype(kind), **options)
        file.create_dataset("events/t", data=events["t"] - t_offset, **options)
        last_ms = int(events["t"].max()) // 1000 + 1
        file["ms_to_idx"] = np.searchsorted(events["t"] - t_offset, np.arange(last_ms) * 1000).astype("u8")
        file["t_offset"] = np.int64(t_offset)
    return out.getvalue()
