"""Recordings on files for tests: those that ship in tests/data (its README says whose they are), and real ones where they are."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

DATA = Path(__file__).with_name("data")
SHIPPED = DATA / "recordings"  # one simulated digit in every format
CLIPS = DATA / "dvs128_gesture_clips.tar.xz"  # real: six gestures
DIGITS = DATA / "nmnist.tar.xz"  # real: 100 recordings of Test/ and 60 of Train/
# real ones that may not be published
SHARED = Path(os.environ.get("PLIF_TEST_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")


def unpack_clips(folder: Path) -> Path:
    """The six clips of DVS128 Gesture as <label>_<name>.bs2 in a new folder in `folder`; returns it."""
    return _unpack(CLIPS, folder)


def unpack_digits(folder: Path) -> Path:
    """The recordings of N-MNIST that ship, in its layout, in a new folder in `folder`; returns it."""
    return _unpack(DIGITS, folder)


def _unpack(archive: Path, folder: Path) -> Path:
    with tarfile.open(archive) as members:
        for member in filter(tarfile.TarInfo.isfile, members):
            content, path = members.extractfile(member), folder / member.name
            assert content is not None
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.read())
    return folder / archive.name.partition(".")[0]


def real_or_shipped(real: str, shipped: str) -> Path:
    """A real recording where it is on this machine, otherwise one of the same format that ships."""
    path = SHARED / "recordings" / real
    return path if path.is_file() else SHIPPED / shipped
