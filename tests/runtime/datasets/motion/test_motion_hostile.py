"""Motion capture of strangers: a collection that lies is one line, no motion is lost, and none lasts for ever."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runtime.core.base.errors import PlifError
from runtime.datasets.motion.joints import read_motions
from runtime.datasets.motion.simulate_motion import simulate_motion
from tests.runtime.datasets.motion.motions import bvh, waving, write_collection

COLLECTION = {"names": ["a", "b"], "fps": 60.0, "starts": [0, 2, 4], "delta_mm": np.zeros((4, 21, 3), np.int16)}


@pytest.mark.parametrize(
    "lie",
    [
        {"starts": 4},
        {"starts": [[0, 2, 4]] * 3},
        {"names": 3.0},
        {"names": np.zeros(0, "U1"), "starts": [0], "delta_mm": np.zeros((0, 21, 3), np.int16)},
    ],
)
def test_a_collection_whose_arrays_lie_is_one_line(tmp_path: Path, lie: dict[str, object]) -> None:
    np.savez(tmp_path / "motions.npz", **{**COLLECTION, **lie})
    with pytest.raises(PlifError, match="expected a collection of motions"):
        read_motions(tmp_path / "motions.npz")


@pytest.mark.parametrize(("at", "value"), [(6, 1), (8, 1), (8, 99)])  # encrypted; packed in other ways
def test_a_collection_that_zip_cannot_unpack_is_one_line(tmp_path: Path, at: int, value: int) -> None:
    np.savez(tmp_path / "motions.npz", **COLLECTION)
    data = bytearray((tmp_path / "motions.npz").read_bytes())
    for mark, more in ((b"PK\x03\x04", 0), (b"PK\x01\x02", 2)):
        place = -1
        while (place := data.find(mark, place + 1)) >= 0:
            data[place + at + more] = value
    (tmp_path / "motions.npz").write_bytes(data)
    with pytest.raises(PlifError, match="expected a collection of motions"):
        read_motions(tmp_path / "motions.npz")


def test_no_motion_takes_the_place_of_another_and_none_lasts_for_days(tmp_path: Path) -> None:
    (tmp_path / "in/wave").mkdir(parents=True)
    write_collection(tmp_path / "in/wave/all.npz", ["a/b", "a.b", "a b"], waving(3))
    with pytest.raises(PlifError, match=r"all\.npz: several of its motions are called a_b_1"):
        simulate_motion(tmp_path / "out", bvh=tmp_path / "in", workers=1)
    (tmp_path / "in/wave/all.npz").unlink()
    far = bvh(waving(3), places=[(k * 1e8, 92, 0) for k in range(3)])  # the way back takes a second a metre
    (tmp_path / "in/wave/far.bvh").write_text(far)
    with pytest.raises(PlifError, match=r"far: takes 1e\+06 s, expected at most 3600: --seconds, or fewer --loops"):
        simulate_motion(tmp_path / "out2", bvh=tmp_path / "in", workers=1, loops=2, views=1)
    assert not list(tmp_path.rglob("*.aedat*"))
