"""Recordings on files for tests: those that ship in tests/data (its README says whose they are), and real ones where they are."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np

from runtime.core.events import write_nmnist

SHIPPED = Path(__file__).with_name("data") / "recordings"  # one simulated digit in every format
CLIPS = Path(__file__).with_name("data") / "dvs128_gesture_clips.tar.xz"  # real: six gestures
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"  # real ones that may not be published


def unpack_clips(folder: Path) -> Path:
    """The six clips of DVS128 Gesture as <label>_<name>.bs2 in a new folder in `folder`; returns it."""
    with tarfile.open(CLIPS) as archive:
        for member in archive:
            content, path = archive.extractfile(member), folder / member.name
            assert content is not None
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content.read())
    return path.parent


def write_digits(folder: Path, train: int = 60, test: int = 100) -> Path:
    """Simulated N-MNIST in the layout of the real one; returns the folder."""
    from runtime.datasets.digits.drawing import draw_digit  # a part, which may be removed
    from runtime.datasets.digits.saccades import record_digits

    for split, count in (("Train", train), ("Test", test)):
        rngs = [np.random.default_rng([1, len(split), i]) for i in range(count)]
        recordings = record_digits([draw_digit(i % 10, rng) for i, rng in enumerate(rngs)], rngs)
        for i, events in enumerate(recordings):
            path = folder / split / str(i % 10) / f"{i + 1:05d}.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_nmnist(path, events)
    return folder


def real_or_shipped(real: str, shipped: str) -> Path:
    """A real recording where it is on this machine, otherwise one of the same format that ships."""
    path = SHARED / "recordings" / real
    return path if path.is_file() else SHIPPED / shipped
