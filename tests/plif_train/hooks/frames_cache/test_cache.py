"""Frames on disk: the same numbers, made once, continued after a stop, and never used for other data."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from plif_train.core.data.sets import load_samples
from plif_train.hooks.frames_cache.cache import PIECE
from runtime.core.base.errors import PlifError
from runtime.core.base.files import atomic_write
from runtime.core.data import Dataset, open_dataset
from tests.conftest import REPOSITORY
from tests.plif_train.core.small import largest_file
from tests.runtime.core.test_data import some_events, write_mnist, write_recordings


def recorded(root: Path, count: int) -> Path:
    write_recordings(root, [f"Test/{i % 10}/{i + 1}.bin" for i in range(count)])
    return root


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    return recorded(tmp_path / "set", 20)


def opened(root: Path, **options: str) -> Dataset:
    return open_dataset(f"nmnist:{root}", **{"framing": "count:T=3", **options})


class Counting:
    """A data set that counts how often it is read, and stops where it is told to."""

    def __init__(self, dataset: Dataset, stop_at: int | None = None) -> None:
        self.dataset, self.stop_at, self.read = dataset, stop_at, 0

    def __getattr__(self, name: str) -> object:
        return getattr(self.dataset, name)

    def __len__(self) -> int:
        return len(self.dataset)

    def sample(self, i: int) -> np.ndarray:
        if i == self.stop_at:
            raise KeyboardInterrupt
        self.read += 1
        return self.dataset.sample(i)


def folders(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def test_cached_samples_are_the_samples_and_are_read_once(recordings: Path, tmp_path: Path) -> None:
    plain = load_samples(opened(recordings))
    for expected in (20, 0):
        counting = Counting(opened(recordings))
        samples = load_samples(counting, cache=tmp_path / "cache")
        assert counting.read == expected
        assert samples.x.dtype == torch.uint8 and torch.equal(samples.x, plain.x) and torch.equal(samples.y, plain.y)
    (folder,) = (tmp_path / "cache").iterdir()
    assert folders(folder) == ["about.json", "lock", "x.npy", "y.npy"]
    assert json.loads((folder / "about.json").read_text())["settings"]["framing"] == "count:T=3"
    samples.x[0] += 1  # writing to the samples does not write to the file
    assert torch.equal(load_samples(opened(recordings), cache=tmp_path / "cache").x, plain.x)


def test_a_stopped_cache_is_continued_and_not_mistaken_for_a_whole_one(tmp_path: Path) -> None:
    recordings = recorded(tmp_path / "set", 2 * PIECE + 12)
    with pytest.raises(KeyboardInterrupt):
        load_samples(Counting(opened(recordings), stop_at=2 * PIECE + 2), cache=tmp_path / "cache")
    (folder,) = (tmp_path / "cache").iterdir()
    assert folders(folder) == ["lock", "part-00000.npy", "part-00001.npy"]
    counting = Counting(opened(recordings))
    samples = load_samples(counting, cache=tmp_path / "cache")
    assert counting.read == 12 and torch.equal(samples.x, load_samples(opened(recordings)).x)


def test_everything_that_changes_a_sample_changes_the_key_and_nothing_else(recordings: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    load_samples(opened(recordings), cache=cache)
    recordings.rename(tmp_path / "moved")
    recordings = tmp_path / "moved"
    load_samples(opened(recordings), cache=cache)
    assert len(folders(cache)) == 1  # a set that was moved is the same set
    load_samples(opened(recordings, framing="count:T=2"), cache=cache)
    load_samples(opened(recordings, framing="count:T=3,polarity=swapped"), cache=cache)
    load_samples(opened(recordings, shape=(2, 17, 17)), cache=cache)
    load_samples(opened(recordings), limit=10, cache=cache)
    assert len(folders(cache)) == 5
    path = recordings / "Test" / "3" / "4.bin"
    os.utime(path, ns=(1, 1))
    load_samples(opened(recordings), cache=cache)
    assert len(folders(cache)) == 6
    changed = path.read_bytes()
    path.write_bytes(changed[:-5])
    os.utime(path, ns=(1, 1))
    assert load_samples(opened(recordings), cache=cache).x[3].sum() == 39
    assert len(folders(cache)) == 7


def test_counts_beyond_a_byte_in_one_piece_widen_the_whole(tmp_path: Path) -> None:
    write_recordings(tmp_path / "set", [f"Test/1/{i:03}.bin" for i in range(2 * PIECE + 1)])
    from runtime.core.events import write_nmnist

    many = some_events(300)
    many["x"], many["y"], many["p"] = 3, 4, True
    write_nmnist(tmp_path / "set" / "Test" / "1" / f"{PIECE:03}.bin", many)
    samples = load_samples(opened(tmp_path / "set", framing="count:T=1"), cache=tmp_path / "cache")
    assert samples.x.dtype == torch.int16 and samples.x[PIECE, 0, 1, 4, 3] == 300
    assert torch.equal(samples.x, load_samples(opened(tmp_path / "set", framing="count:T=1")).x)


def test_a_damaged_cache_is_made_again_and_a_place_that_cannot_be_written_is_said(
    recordings: Path, tmp_path: Path
) -> None:
    load_samples(opened(recordings), cache=tmp_path / "cache")
    (folder,) = (tmp_path / "cache").iterdir()
    (folder / "x.npy").write_bytes((folder / "x.npy").read_bytes()[:1000])
    assert torch.equal(load_samples(opened(recordings), cache=tmp_path / "cache").x, load_samples(opened(recordings)).x)
    (tmp_path / "file").write_text("x")
    with pytest.raises(PlifError, match="cannot be written"):
        load_samples(opened(recordings), cache=tmp_path / "file")


def test_images_and_their_normalisation_are_cached_too(tmp_path: Path) -> None:
    write_mnist(tmp_path / "mnist")
    for mean in (0.1, 0.2):
        data = open_dataset(f"mnist:{tmp_path / 'mnist'}", normalisation={"mean": [mean], "std": [0.3]})
        assert torch.equal(load_samples(data, cache=tmp_path / "cache").x, load_samples(data).x)
    assert len(folders(tmp_path / "cache")) == 2


def test_sets_that_are_no_files_are_told_apart_by_their_names(tmp_path: Path) -> None:
    for split in ("train", "test"):
        data = open_dataset("digits:3", split, framing="count:T=3")
        assert torch.equal(load_samples(data, cache=tmp_path / "cache").x, load_samples(data).x)
    assert len(folders(tmp_path / "cache")) == 2


def test_a_data_set_that_cannot_be_read_is_not_blamed_on_the_cache(recordings: Path, tmp_path: Path) -> None:
    class Forbidden(Counting):
        def sample(self, i: int) -> np.ndarray:
            raise PermissionError(errno.EACCES, "Permission denied")

    for cache in (tmp_path / "cache", None):
        with pytest.raises(PlifError, match=r"1\.bin: cannot be read \(Permission denied\)$"):
            load_samples(Forbidden(opened(recordings)), cache=cache)


@pytest.mark.parametrize(("count", "T"), [(20, 100), (2 * PIECE, 6)], ids=["a part of 4.6 MB", "two of 0.9 MB"])
def test_a_full_disk_is_named_and_leaves_no_half_file(count: int, T: int, tmp_path: Path) -> None:
    data = opened(recorded(tmp_path / "set", count), framing=f"count:T={T}")
    with largest_file(1 << 20), pytest.raises(PlifError, match=r"cannot be written \(File too large\); choose another"):
        load_samples(data, cache=tmp_path / "cache")
    (folder,) = (tmp_path / "cache").iterdir()
    parts = [name for name in folders(folder) if name not in ("lock", "y.npy")]
    assert parts == [f"part-{number:05}.npy" for number in range(count // PIECE)]
    assert torch.equal(load_samples(data, cache=tmp_path / "cache").x, load_samples(data).x)


def test_an_error_without_a_number_keeps_its_words(tmp_path: Path) -> None:
    words = "16 requested and 0 written"  # as np.save has it
    with pytest.raises(PlifError, match=rf"cannot be written \({words}\)"), atomic_write(tmp_path / "x"):
        raise OSError(words)


SMALL_DISK = """
import sys
from pathlib import Path
from plif_train.hooks.frames_cache import cache
from plif_train.core.data.sets import load_samples
from runtime.core.data import open_dataset
cache.PIECE = 4
try:
    load_samples(open_dataset(f"nmnist:{sys.argv[1]}", framing="count:T=30"), cache=sys.argv[2])
except Exception as error:
    print(f"{type(error).__name__}: {error}")
"""


def test_a_disk_that_is_full_in_earnest_is_named_too(recordings: Path, tmp_path: Path) -> None:
    """The parts fit onto the disk, the whole does not: written through a map of a file with holes, that was a bus error."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=2m none {disk}"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small disk")
    program = [sys.executable, "-c", SMALL_DISK, str(recordings), str(disk)]
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", f'{mount} && exec "$@"', "sh", *program],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and "cannot be written (No space left on device)" in done.stdout, done


def test_what_a_killed_process_left_is_taken_away(recordings: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        load_samples(Counting(opened(recordings), stop_at=0), cache=tmp_path / "cache")
    (folder,) = (tmp_path / "cache").iterdir()
    (folder / ".x.npy.1234.part").write_bytes(b"half")
    load_samples(opened(recordings), cache=tmp_path / "cache")
    assert sorted(path.name for path in folder.iterdir()) == ["about.json", "lock", "x.npy", "y.npy"]
