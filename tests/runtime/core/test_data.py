"""Promises of the data sets: what is read, in which order, and what is refused."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path

import numpy as np
import pytest

from runtime.commands.sets.check import check_dataset, list_datasets
from runtime.core.base.errors import PlifError
from runtime.core.data import dataset_names, open_dataset
from runtime.core.events import EVENT_DTYPE, make_frames, read_events, write_nmnist
from runtime.datasets.idx_images.idx import read_idx
from runtime.datasets.nmnist_sim.simulate_nmnist import simulate_nmnist
from runtime.datasets.simulated_camera.simulated_set import NOTE

FRAMING = "count:T=4"


def idx(array: np.ndarray, claim: tuple[int, ...] | None = None) -> bytes:
    shape = array.shape if claim is None else claim
    return struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape) + array.astype(np.uint8).tobytes()


def write_mnist(folder: Path, train: int = 12, test: int = 6, seed: int = 0, packed: bool = False) -> None:
    """A small MNIST of bright blobs."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    for prefix, count in (("train", train), ("t10k", test)):
        images = np.zeros((count, 28, 28), np.uint8)
        images[:, 8:20, 10:18] = random.integers(100, 255, (count, 12, 8))
        for stem, array in (("images-idx3", images), ("labels-idx1", np.arange(count) % 10)):
            path = folder / f"{prefix}-{stem}-ubyte"
            if packed:
                path.with_name(path.name + ".gz").write_bytes(gzip.compress(idx(array)))
            else:
                path.write_bytes(idx(array))


def some_events(count: int = 40, seed: int = 0, size: int = 34) -> np.ndarray:
    random = np.random.default_rng(seed)
    events = np.empty(count, EVENT_DTYPE)
    events["t"] = np.sort(random.integers(0, 300_000, count))
    events["x"], events["y"] = random.integers(0, size, (2, count))
    events["p"] = random.random(count) < 0.5
    return events


def write_recordings(root: Path, names: list[str]) -> None:
    for k, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write_nmnist(root / name, some_events(seed=k))


# --- images ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["", "raw", "MNIST/raw"])
@pytest.mark.parametrize("packed", [False, True])
def test_mnist_is_found_raw_or_gzipped_in_the_usual_folders(tmp_path: Path, place: str, packed: bool) -> None:
    write_mnist(tmp_path / place, packed=packed)
    data = open_dataset(f"mnist:{tmp_path}", "train")
    assert (len(data), data.kind, data.classes) == (12, "static", tuple("0123456789"))
    assert data.sample(3).shape == (1, 28, 28) and data.sample(3).dtype == np.float32
    assert [data.label(i) for i in range(12)] == [*range(10), 0, 1]
    assert data.path(3).endswith("#3")
    assert len(open_dataset(f"mnist:{tmp_path}", "test")) == 6


def test_mnist_and_fashion_mnist_in_one_torchvision_folder_are_not_mixed_up(tmp_path: Path) -> None:
    write_mnist(tmp_path / "MNIST" / "raw", train=5)
    write_mnist(tmp_path / "FashionMNIST" / "raw", train=7)
    assert len(open_dataset(f"mnist:{tmp_path}", "train")) == 5
    fashion = open_dataset(f"fashion-mnist:{tmp_path}", "train")
    assert len(fashion) == 7 and fashion.classes[9] == "Ankle boot"


def test_images_are_divided_by_255_and_normalised(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    raw = read_idx(tmp_path / "t10k-images-idx3-ubyte", 3)
    plain = open_dataset(f"mnist:{tmp_path}")
    assert np.array_equal(plain.sample(2)[0], raw[2].astype(np.float32) / np.float32(255))
    data = open_dataset(f"mnist:{tmp_path}", normalisation={"mean": [0.1307], "std": [0.3081]})
    assert np.allclose(data.sample(2)[0], (raw[2] / 255 - 0.1307) / 0.3081, atol=1e-6)
    for bad in (
        {"mean": [0.1]},
        {"mean": [0.1], "std": [0]},
        {"mean": [0.1, 0.2], "std": [1, 1]},
        {"mean": "a", "std": [1]},
    ):
        with pytest.raises(PlifError, match="normalisation"):
            open_dataset(f"mnist:{tmp_path}", normalisation=bad)


def test_images_of_another_size_than_the_networks_are_refused(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    with pytest.raises(PlifError, match="1 x 28 x 28, but the network takes 3 x 32 x 32"):
        open_dataset(f"mnist:{tmp_path}", shape=(3, 32, 32))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (idx(np.zeros((2, 3, 3)))[:-1], "promises 2 x 3 x 3 = 18 bytes after it, found only 17"),
        (idx(np.zeros((2, 3, 3))) + b"\0", "found more than that"),
        (idx(np.zeros((2, 3, 3)), claim=(2, 3, 2**31)), "more than 1073741824"),
        (idx(np.zeros((2, 3, 3)), claim=(2**32 - 1,) * 3), "more than 1073741824"),
        (idx(np.zeros(18)), "expected type 8 .uint8. in 3"),
        (b"\0\0\x0d\x03" + bytes(40), "element type 13"),
        (b"\x89PNG" + bytes(40), "byte 0: 89 50 4e 47"),
        (b"\0\0\x08\x03\0\0", "ends within its header"),
        (b"", "byte 0: nothing"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_an_idx_header_that_lies_is_refused(tmp_path: Path, content: bytes, message: str, packed: bool) -> None:
    path = tmp_path / "images"
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(PlifError, match=message) as caught:
        read_idx(path, 3)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_damaged_gzip_is_refused_in_one_line(tmp_path: Path) -> None:
    whole = gzip.compress(idx(np.random.default_rng(0).integers(0, 255, (20, 9, 9))))
    for content in (whole[:-20], whole[:30], whole[:200] + b"\xff" * 20 + whole[220:]):
        (tmp_path / "images.gz").write_bytes(content)
        with pytest.raises(PlifError, match=r"images\.gz"):
            read_idx(tmp_path / "images.gz", 3)


def test_labels_that_do_not_belong_to_the_images_are_refused(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(np.arange(5)))
    with pytest.raises(PlifError, match="5 labels for the 6 images"):
        open_dataset(f"mnist:{tmp_path}")
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(np.arange(6) + 5))
    with pytest.raises(PlifError, match="label 10, expected 0 to 9"):
        open_dataset(f"mnist:{tmp_path}")


# --- recordings -----------------------------------------------------------------------------------------------------


def test_nmnist_comes_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    write_recordings(tmp_path, ["Test/7/00001.bin", "Test/2/00010.bin", "Test/7/00009.bin", "Test/0/00100.bin"])
    data = open_dataset(f"nmnist:{tmp_path}", framing=FRAMING, shape=(2, 34, 34))
    assert [Path(data.path(i)).stem for i in range(4)] == ["00001", "00009", "00010", "00100"]
    assert [data.classes[data.label(i)] for i in range(4)] == ["7", "7", "2", "0"]
    expected = make_frames(some_events(seed=0), FRAMING, (2, 34, 34), (34, 34))
    assert np.array_equal(data.sample(0), expected) and data.sample(0).sum() == 40


def test_one_half_of_nmnist_may_be_named_itself_but_only_for_its_own_split(tmp_path: Path) -> None:
    write_recordings(tmp_path, ["Test/1/1.bin"])
    assert len(open_dataset(f"nmnist:{tmp_path / 'Test'}", "test", framing=FRAMING)) == 1
    with pytest.raises(PlifError, match="this is the Test half, but split 'train'"):
        open_dataset(f"nmnist:{tmp_path / 'Test'}", "train", framing=FRAMING)


def test_a_wrong_nmnist_layout_is_explained(tmp_path: Path) -> None:
    with pytest.raises(PlifError, match="no such folder"):
        open_dataset(f"nmnist:{tmp_path / 'nowhere'}", framing=FRAMING)
    (tmp_path / "README.md").write_text("x")
    with pytest.raises(PlifError, match=r"no folder Test .* found README\.md"):
        open_dataset(f"nmnist:{tmp_path}", framing=FRAMING)
    (tmp_path / "Test" / "zero").mkdir(parents=True)
    with pytest.raises(PlifError, match="found zero"):
        open_dataset(f"nmnist:{tmp_path}", framing=FRAMING)
    write_recordings(tmp_path, ["Test/3/first.bin"])
    with pytest.raises(PlifError, match="expected a number as its name"):
        open_dataset(f"nmnist:{tmp_path}", framing=FRAMING)


def test_a_broken_recording_is_named_when_it_is_read(tmp_path: Path) -> None:
    write_recordings(tmp_path, ["Test/1/1.bin", "Test/1/2.bin"])
    path = tmp_path / "Test/1/2.bin"
    path.write_bytes(b"")
    data = open_dataset(f"nmnist:{tmp_path}", framing=FRAMING)
    assert data.sample(0).shape == (4, 2, 34, 34)
    with pytest.raises(PlifError, match=r"2\.bin"):
        data.sample(1)


def test_a_recording_that_is_cut_short_is_used_with_a_warning(tmp_path: Path) -> None:
    write_recordings(tmp_path, ["Test/1/1.bin"])
    path = tmp_path / "Test/1/1.bin"
    path.write_bytes(path.read_bytes()[:-2])
    data = open_dataset(f"nmnist:{tmp_path}", framing=FRAMING)
    with pytest.warns(UserWarning, match="byte"):
        assert data.sample(0).sum() == 39
    assert check_dataset(f"nmnist:{tmp_path}")["splits"]["test"]["damaged"] == 1


def test_a_folder_of_recordings_has_one_class_a_subfolder_fairly_mixed(tmp_path: Path) -> None:
    write_recordings(tmp_path, [f"{name}/{k}.bin" for name in ("wave", "clap") for k in (2, 10, 1)])
    (tmp_path / "wave" / "notes.txt").write_text("x")
    (tmp_path / ".git").mkdir()
    data = open_dataset(f"folder:{tmp_path}", framing=FRAMING, shape=(2, 34, 34))
    assert data.classes == ("clap", "wave")
    names = [Path(data.path(i)).parent.name + Path(data.path(i)).stem for i in range(len(data))]
    assert names == ["clap1", "wave1", "clap2", "wave2", "clap10", "wave10"]
    assert data.sample(0).shape == (4, 2, 34, 34)


def test_a_folders_classes_take_the_order_that_is_given(tmp_path: Path) -> None:
    write_recordings(tmp_path, ["a/1.bin", "b/1.bin", "c/1.bin"])
    data = open_dataset(f"folder:{tmp_path}", framing=FRAMING, classes=["c", "a", "b"])
    assert data.classes == ("c", "a", "b") and Path(data.path(0)).parent.name == "c"
    with pytest.raises(PlifError, match="missing d, not among the classes b"):
        open_dataset(f"folder:{tmp_path}", framing=FRAMING, classes=["c", "a", "d"])


def test_a_folders_splits_are_its_train_and_test_folders_and_never_the_same_files(tmp_path: Path) -> None:
    write_recordings(tmp_path / "one", ["train/a/1.bin", "train/b/1.bin", "test/a/2.bin", "test/b/2.bin"])
    train, test = (open_dataset(f"folder:{tmp_path / 'one'}", split, framing=FRAMING) for split in ("train", "test"))
    assert {train.path(i) for i in range(2)}.isdisjoint(test.path(i) for i in range(2))
    write_recordings(tmp_path / "two", ["a/1.bin"])
    with pytest.raises(PlifError, match="all of it is the test split"):
        open_dataset(f"folder:{tmp_path / 'two'}", "train", framing=FRAMING)
    (tmp_path / "two" / "b").mkdir()
    with pytest.raises(PlifError, match="no recordings of class 'b'"):
        open_dataset(f"folder:{tmp_path / 'two'}", framing=FRAMING)


def test_a_folder_reads_other_formats_and_resizes_as_the_framing_says(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    events = some_events(60, size=120)
    rows = "\n".join(f"{e['t']},{e['x']},{e['y']},{int(e['p'])}" for e in events)
    (tmp_path / "a" / "1.csv").write_text(f"t,x,y,p\n{rows}\n")
    write_nmnist(tmp_path / "b" / "1.bs2", events)
    data = open_dataset(f"folder:{tmp_path}", framing=FRAMING, shape=(2, 64, 64))
    assert np.array_equal(data.sample(0), data.sample(1)) and data.sample(0).sum() == 60
    assert np.array_equal(data.sample(0), make_frames(events, FRAMING, (2, 64, 64), (128, 128)))


# --- drawn digits ---------------------------------------------------------------------------------------------------


def test_sample_i_of_the_drawn_digits_is_always_the_same() -> None:
    few, many = (open_dataset(f"digits:{n}", "test", framing="count:T=10") for n in (12, 500))
    assert len(few) == 12 and len(open_dataset("digits", framing=FRAMING)) == 200
    assert np.array_equal(few.sample(11), many.sample(11)) and few.label(11) == 1
    assert few.sample(0).shape == (10, 2, 34, 34) and few.sample(0).sum() > 800
    train = open_dataset("digits:12", "train", framing="count:T=10")
    assert not np.array_equal(few.sample(0), train.sample(0))
    with pytest.raises(IndexError):
        few.sample(12)


@pytest.mark.parametrize("place", ["0", "-3", "x", "1e9", "99999999999"])
def test_a_number_of_drawn_digits_that_is_none_is_refused(place: str) -> None:
    with pytest.raises(PlifError, match="no number of samples"):
        open_dataset(f"digits:{place}", framing=FRAMING)


# --- the door -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("nmnst:x", {}, "did you mean 'nmnist'"),
        ("", {}, "NAME one of"),
        ("nmnist", {}, "no folder named, expected nmnist:DIR"),
        ("mnist:", {}, "no folder named"),
        ("digits", {"split": "validation"}, "expected train or test"),
        ("digits", {"framing": None}, "needs a framing"),
        ("digits", {"framing": "cuont:T=3"}, "cuont"),
        ("digits", {"shape": (34, 34)}, "expected .channels, height, width."),
        ("digits", {"shape": (3, 34, 34)}, "3 channels"),
        ("digits", {"normalisation": {"mean": [0], "std": [1]}}, "takes no normalisation"),
        ("digits", {"classes": ["zero"] * 10}, "class 0 is '0', expected 'zero'"),
        ("digits", {"classes": ["0"]}, "10 classes .*, expected 1"),
    ],
)
def test_what_cannot_be_opened_is_explained_in_one_line(spec: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(PlifError, match=message) as caught:
        open_dataset(spec, **{"framing": FRAMING, **options}).sample(0)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_every_set_says_what_it_is_and_its_licence() -> None:
    rows = list_datasets()
    assert [row["name"] for row in rows] == dataset_names()
    assert all(row["kind"] in ("events", "static") and row["licence"] and row["source"] for row in rows)


def test_a_check_counts_what_is_there_and_says_which_split_is_missing(tmp_path: Path) -> None:
    write_recordings(tmp_path, ["Test/4/1.bin", "Test/4/2.bin", "Test/5/3.bin"])
    found = check_dataset(f"nmnist:{tmp_path}")
    assert found["splits"]["test"]["per_class"]["4"] == 2 and found["splits"]["test"]["events"]["median"] == 40
    assert found["splits"]["train"]["samples"] == 0 and "no folder Train" in found["splits"]["train"]["problem"]
    with pytest.raises(PlifError):
        check_dataset(f"nmnist:{tmp_path / 'nowhere'}")


# --- simulated N-MNIST ----------------------------------------------------------------------------------------------


def test_a_simulated_nmnist_is_read_like_the_official_one(tmp_path: Path) -> None:
    write_mnist(tmp_path / "mnist")
    seen: list[tuple[int, int]] = []
    simulate_nmnist(
        tmp_path / "mnist",
        tmp_path / "sim",
        train=6,
        test=2,
        seed=5,
        workers=1,
        progress=lambda *n: seen.append(n),
        skip_train=3,
    )
    train = open_dataset(f"nmnist:{tmp_path / 'sim'}", "train", framing=FRAMING)
    assert [Path(train.path(i)).stem for i in range(6)] == [f"{n:05d}" for n in range(4, 10)]
    assert [train.label(i) for i in range(6)] == [3, 4, 5, 6, 7, 8]
    assert len(read_events(train.path(0), sensor=(34, 34))) > 500
    assert seen[-1] == (8, 8)
    note = json.loads((tmp_path / "sim" / NOTE).read_text())
    assert note["seed"] == 5 and note["parameters"]["uniform"]["threshold"] and "simulated" in note["what"]


def test_a_stopped_simulation_continues_and_gives_the_same_files(tmp_path: Path) -> None:
    write_mnist(tmp_path / "mnist", train=20)
    simulate_nmnist(tmp_path / "mnist", tmp_path / "whole", train=20, test=2, seed=0, workers=1)
    simulate_nmnist(tmp_path / "mnist", tmp_path / "parts", train=5, test=0, seed=0, workers=1)
    kept = next((tmp_path / "parts" / "Train" / "0").glob("*.bin"))
    before = kept.stat().st_mtime_ns
    cut = tmp_path / "parts" / "Train" / "1" / "00002.bin"
    cut.write_bytes(cut.read_bytes()[:-3])  # not whole: made again
    simulate_nmnist(tmp_path / "mnist", tmp_path / "parts", train=20, test=2, seed=0, workers=2)
    assert kept.stat().st_mtime_ns == before
    files = sorted(p.relative_to(tmp_path / "whole") for p in (tmp_path / "whole").rglob("*.bin"))
    assert len(files) == 22 == len(list((tmp_path / "parts").rglob("*.bin")))
    assert all((tmp_path / "whole" / f).read_bytes() == (tmp_path / "parts" / f).read_bytes() for f in files)


def test_simulations_with_other_settings_are_never_mixed(tmp_path: Path) -> None:
    write_mnist(tmp_path / "mnist")
    simulate_nmnist(tmp_path / "mnist", tmp_path / "sim", train=1, test=0, seed=0, workers=1)
    with pytest.raises(PlifError, match="another seed"):
        simulate_nmnist(tmp_path / "mnist", tmp_path / "sim", train=1, test=0, seed=1, workers=1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(PlifError, match=r"has no simulated\.json"):
        simulate_nmnist(tmp_path / "mnist", tmp_path / "mine", train=1, test=0, seed=0, workers=1)
    with pytest.raises(PlifError, match="ask for 10 at most"):
        simulate_nmnist(tmp_path / "mnist", tmp_path / "more", train=11, test=0, seed=0, workers=1, skip_train=2)
