"""CIFAR-10, CIFAR10-DVS, DVS128 Gesture and zipped N-MNIST: files written in the very format of the originals."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from runtime.commands.sets.check import check_dataset
from runtime.core.base.errors import PlifError
from runtime.core.data import open_dataset
from runtime.core.events import make_frames
from runtime.datasets.cifar10_images.set import CLASSES, ImageDecoder
from runtime.datasets.dvs128_gesture.set import CLASSES as GESTURES
from tests.recordings import AEDAT31_HEADER, aedat2_bytes, aedat31_packet
from tests.runtime.core.test_data import FRAMING, some_events, write_recordings

# --- CIFAR-10 -------------------------------------------------------------------------------------------------------


def write_cifar10(folder: Path, records: int = 4) -> np.ndarray:
    """The binary version, small: [6 files, records, 3073], label then planes of red, green, blue."""
    folder.mkdir(parents=True, exist_ok=True)
    data = np.random.default_rng(0).integers(0, 256, (6, records, 3073), dtype=np.uint8)
    data[:, :, 0] %= 10
    for name, part in zip([*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"], data, strict=True):
        (folder / name).write_bytes(part.tobytes())
    return data


@pytest.mark.parametrize("place", ["", "cifar-10-batches-bin"])
def test_the_binary_version_of_cifar10_is_read_in_the_order_of_its_files(place: str, tmp_path: Path) -> None:
    data = write_cifar10(tmp_path / place)
    train, test = (open_dataset(f"cifar10:{tmp_path}", split) for split in ("train", "test"))
    assert (len(train), len(test), train.kind, train.classes[9]) == (20, 4, "static", "truck")
    for i in (0, 3, 4, 19):
        record = data[i // 4, i % 4]
        assert train.label(i) == record[0]
        assert np.array_equal(train.sample(i), record[1:].reshape(3, 32, 32).astype(np.float32) / np.float32(255))
    assert test.label(1) == data[5, 1, 0] and test.path(1).endswith("test_batch.bin#1")


def test_the_pickles_of_cifar10s_python_version_are_refused_and_never_loaded(tmp_path: Path) -> None:
    class Touch:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "ran"),)

    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(pickle.dumps(Touch()))
    with pytest.raises(PlifError, match=r"never loaded .* get cifar-10-binary\.tar\.gz"):
        open_dataset(f"cifar10:{tmp_path}", "train")
    assert not (tmp_path / "ran").exists()


def test_what_is_wrong_with_a_cifar10_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(PlifError, match=r"no test_batch\.bin and no folder test"):
        open_dataset(f"cifar10:{tmp_path}")
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(b"")
    with pytest.raises(PlifError, match="type: tar -xzf"):
        open_dataset(f"cifar10:{tmp_path}")
    write_cifar10(tmp_path)
    (tmp_path / "data_batch_3.bin").unlink()
    with pytest.raises(PlifError, match=r"data_batch_3\.bin: no such file; expected all of"):
        open_dataset(f"cifar10:{tmp_path}", "train")
    (tmp_path / "test_batch.bin").write_bytes(bytes(3072))
    with pytest.raises(PlifError, match="3072 bytes, expected a multiple of 3073"):
        open_dataset(f"cifar10:{tmp_path}")
    (tmp_path / "test_batch.bin").write_bytes(b"\x0a" + bytes(3072))
    with pytest.raises(PlifError, match="label 10"):
        open_dataset(f"cifar10:{tmp_path}")


def test_cifar10_may_be_a_folder_of_images(tmp_path: Path) -> None:
    Image = pytest.importorskip("PIL.Image", reason="images need Pillow")
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (10, 2, 32, 32, 3), dtype=np.uint8)
    for label, name in enumerate(CLASSES):
        (tmp_path / "test" / name).mkdir(parents=True)
        for n in (0, 1):
            Image.fromarray(pixels[label, n]).save(tmp_path / "test" / name / f"{10 * n + 2}.png")
    data = open_dataset(f"cifar10:{tmp_path}")
    assert [data.label(i) for i in range(20)] == [*range(10), *range(10)]
    assert np.array_equal(data.sample(13), pixels[3, 1].transpose(2, 0, 1).astype(np.float32) / np.float32(255))
    assert data.path(13).endswith("cat/12.png")
    Image.fromarray(pixels[0, 0, :16]).save(tmp_path / "test" / "dog" / "2.png")
    with pytest.raises(PlifError, match=r"dog/2\.png: 32 x 16 pixels, expected 32 x 32"):
        data.sample(5)
    (tmp_path / "test" / "dog" / "2.png").write_bytes(b"\x89PNG\r\n\x1a\nnonsense")
    with pytest.raises(PlifError, match="cannot be read as an image"):
        data.sample(5)
    shutil.rmtree(tmp_path / "test" / "frog")
    with pytest.raises(PlifError, match="no images of class 'frog'"):
        open_dataset(f"cifar10:{tmp_path}")


def test_one_process_without_rights_decodes_many_images_and_survives_those_that_are_none(tmp_path: Path) -> None:
    """Which threads share; another takes over where one has died, or was given as much as its time is for."""
    Image = pytest.importorskip("PIL.Image", reason="images need Pillow")
    pixels = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    for n in range(8):
        Image.fromarray(pixels[n]).save(tmp_path / f"{n}.png")
    Image.new("RGB", (4097, 1)).save(tmp_path / "wide.png")
    Image.fromarray(pixels[0]).save(tmp_path / "gif.png", format="GIF")  # no format that these names stand for
    decoder = ImageDecoder()

    def same(n: int) -> bool:
        return np.array_equal(decoder.read(tmp_path / f"{n}.png"), pixels[n])

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(same, range(8)))
    first = decoder._child
    assert first is not None
    for name, said in (("wide", "4097 x 1 pixels, expected 32 x 32"), ("gif", "cannot identify image file")):
        with pytest.raises(PlifError, match=rf"{name}\.png: cannot be read as an image \({said}\)"):
            decoder.read(tmp_path / f"{name}.png")
    with (tmp_path / "long.png").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(PlifError, match=r"long\.png: 1099511627776 bytes, too many for an image"):
        decoder.read(tmp_path / "long.png")
    assert same(1) and decoder._child is first
    first._process.kill()
    with pytest.raises(PlifError, match="it makes Pillow crash"):
        decoder.read(tmp_path / "2.png")
    assert same(2) and decoder._child is not first
    second, decoder._budget = decoder._child, 100
    assert same(3) and decoder._child is not second


# --- CIFAR10-DVS ----------------------------------------------------------------------------------------------------

NUMBERS = (0, 5, 899, 900, 999)


def write_cifar10_dvs(root: Path) -> dict[tuple[int, int], np.ndarray]:
    written = {}
    for label, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for n in NUMBERS:
            events = some_events(50, seed=100 * label + n, size=128)
            (root / name / f"cifar10_{name}_{n}.aedat").write_bytes(aedat2_bytes(events))
            written[label, n] = events
    return written


def zip_classes(root: Path, out: Path) -> None:
    out.mkdir()
    for name in CLASSES:
        with zipfile.ZipFile(out / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted((root / name).iterdir()):
                archive.write(path, f"{name}/{path.name}")


def test_cifar10_dvs_is_split_by_number_and_reads_the_same_from_its_zips(tmp_path: Path) -> None:
    written = write_cifar10_dvs(tmp_path / "plain")
    zip_classes(tmp_path / "plain", tmp_path / "zips")
    for place in ("plain", "zips"):
        spec = f"cifar10-dvs:{tmp_path / place}"
        train, test = (open_dataset(spec, split, framing=FRAMING) for split in ("train", "test"))
        assert (len(train), len(test), train.classes) == (30, 20, CLASSES)
        assert [train.label(i) for i in range(20)] == [*range(10), *range(10)]  # number 0 of each class, then number 5
        assert "cifar10_bird_899.aedat" in train.path(22) and "cifar10_ship_900.aedat" in test.path(8)
        expected = make_frames(written[8, 900], FRAMING, (2, 128, 128), (128, 128), "rotate180")
        assert np.array_equal(test.sample(8), expected) and expected.sum() == 50
    paper = open_dataset(spec, framing=f"{FRAMING},orientation=paper").sample(8)
    assert np.array_equal(paper, expected[..., ::-1])
    sj = open_dataset(spec, framing=f"{FRAMING},orientation=sj").sample(8)
    assert np.array_equal(sj, expected[..., ::-1, ::-1].swapaxes(2, 3))


def test_what_is_wrong_with_cifar10_dvs_is_said_by_its_own_name(tmp_path: Path) -> None:
    write_cifar10_dvs(tmp_path / "plain")
    zip_classes(tmp_path / "plain", tmp_path / "zips")
    archive = tmp_path / "zips" / "cat.zip"
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr("cat/cifar10_cat_900.aedat", b"")
        content.writestr("cat/cifar10_cat_0.aedat", b"")
    data = open_dataset(f"cifar10-dvs:{tmp_path / 'zips'}", framing=FRAMING)
    with pytest.raises(PlifError, match=r"zips/cat\.zip/cat/cifar10_cat_900\.aedat"):
        data.sample(3)
    archive.write_bytes(b"PK\x03\x04 this is no zip")
    with pytest.raises(PlifError, match=r"cat\.zip: not a zip archive"):
        open_dataset(f"cifar10-dvs:{tmp_path / 'zips'}", framing=FRAMING)
    archive.unlink()
    with pytest.raises(PlifError, match="no recordings of 'cat'"):
        open_dataset(f"cifar10-dvs:{tmp_path / 'zips'}", framing=FRAMING)
    (tmp_path / "plain" / "dog" / "dog.aedat").write_bytes(b"")
    with pytest.raises(PlifError, match="expected a number at the end of its name"):
        open_dataset(f"cifar10-dvs:{tmp_path / 'plain'}", framing=FRAMING)


def test_nmnist_reads_the_same_from_its_zips(tmp_path: Path) -> None:
    write_recordings(tmp_path / "plain", ["Test/7/00001.bin", "Test/2/00010.bin", "Test/7/00009.bin"])
    (tmp_path / "zips").mkdir()
    with zipfile.ZipFile(tmp_path / "zips" / "Test.zip", "w") as archive:
        for path in sorted((tmp_path / "plain").rglob("*.bin")):
            archive.write(path, str(path.relative_to(tmp_path / "plain")))
        archive.writestr("__MACOSX/Test/7/._00001.bin", b"x")
    plain, zipped = (open_dataset(f"nmnist:{tmp_path / place}", framing=FRAMING) for place in ("plain", "zips"))
    assert [zipped.label(i) for i in range(len(zipped))] == [7, 7, 2]
    assert all(np.array_equal(plain.sample(i), zipped.sample(i)) for i in range(3))


# --- DVS128 Gesture -------------------------------------------------------------------------------------------------

pytestmark = pytest.mark.filterwarnings("ignore:.*marked invalid by the camera")


def write_gestures(root: Path, train: int = 2, test: int = 1) -> np.ndarray:
    """Recordings of 11 gestures of 1 s each; every recording has the same events, [N], sorted by time."""
    root.mkdir(parents=True, exist_ok=True)
    events = some_events(1100, size=128)
    events["t"] = np.arange(1100) * 10_000
    rows = [f"{number},{(number - 1) * 1_000_000},{number * 1_000_000}" for number in range(1, 12)]
    names = {"train": [f"user{i:02d}_led.aedat" for i in range(train)], "test": ["user24_lab.aedat"][:test]}
    invalid = aedat31_packet(events[:3], valid=0)
    content = AEDAT31_HEADER + invalid + aedat31_packet(events[:600], capacity=700) + aedat31_packet(events[600:])
    for split, files in names.items():
        (root / f"trials_to_{split}.txt").write_text("".join(f"{name}\n" for name in files))
        for name in files:
            (root / name).write_bytes(content)
            text = "\n".join(["class,startTime_usec,endTime_usec", *rows]) + "\n"
            (root / f"{Path(name).stem}_labels.csv").write_text(text)
    return events


@pytest.mark.parametrize("place", ["", "DvsGesture"])
def test_gestures_are_cut_from_start_to_before_end_and_invalid_events_are_no_events(place: str, tmp_path: Path) -> None:
    events = write_gestures(tmp_path / place)
    spec = f"dvs128-gesture:{tmp_path}"
    train, test = (open_dataset(spec, split, framing=FRAMING) for split in ("train", "test"))
    assert (len(train), len(test), train.classes) == (22, 11, GESTURES)
    assert [test.label(i) for i in range(11)] == list(range(11))
    found, size, upright = test.recording(4)  # type: ignore[attr-defined]
    assert np.array_equal(found, events[400:500]) and size == (128, 128) and upright == "identity"
    assert test.sample(4).sum() == 100 and test.path(4).endswith("user24_lab.aedat#4000000-5000000us")


def test_the_class_order_of_spikingjelly_is_an_option_and_a_models_own_order_is_followed(tmp_path: Path) -> None:
    write_gestures(tmp_path)
    own = open_dataset(f"dvs128-gesture:{tmp_path}", framing=FRAMING)
    sj = open_dataset(f"dvs128-gesture:{tmp_path}?order=sj", framing=FRAMING)
    assert sj.classes[2] == "other_gestures" and sj.classes[3] == "left_hand_wave" and sj.classes[10] == "air_guitar"
    for i in range(11):
        assert sj.classes[sj.label(i)] == own.classes[own.label(i)]
    model = open_dataset(f"dvs128-gesture:{tmp_path}", framing=FRAMING, classes=sj.classes)
    assert [model.label(i) for i in range(11)] == [sj.label(i) for i in range(11)]
    with pytest.raises(PlifError, match="class 2 is 'left_hand_wave', expected 'other_gestures'"):
        open_dataset(f"dvs128-gesture:{tmp_path}?order=own", framing=FRAMING, classes=sj.classes)
    with pytest.raises(PlifError, match=r"order='tonic', expected own or sj"):
        open_dataset(f"dvs128-gesture:{tmp_path}?order=tonic", framing=FRAMING)


def test_the_authors_training_split_is_the_first_78_recordings(tmp_path: Path) -> None:
    write_gestures(tmp_path, train=80)
    spec = f"dvs128-gesture:{tmp_path}?train=authors-936"
    assert len(open_dataset(spec, "train", framing=FRAMING)) == 78 * 11
    assert len(open_dataset(spec, "test", framing=FRAMING)) == 11
    write_gestures(tmp_path / "few")
    with pytest.raises(PlifError, match="needs 78 training recordings, found 2"):
        open_dataset(f"dvs128-gesture:{tmp_path / 'few'}?train=authors-936", "train", framing=FRAMING)


def test_what_is_wrong_with_a_gesture_folder_is_said(tmp_path: Path) -> None:
    spec = f"dvs128-gesture:{tmp_path}"
    with pytest.raises(PlifError, match=r"no trials_to_test\.txt"):
        open_dataset(spec, framing=FRAMING)
    (tmp_path / "DvsGesture.tar.gz").write_bytes(b"")
    with pytest.raises(PlifError, match=f"type: tar -xzf {tmp_path}/DvsGesture.tar.gz -C {tmp_path}"):
        open_dataset(spec, framing=FRAMING)
    write_gestures(tmp_path)
    labels = tmp_path / "user24_lab_labels.csv"
    for text, message in (
        ("class,startTime_usec,endTime_usec\n12,0,5\n", "line 2: '12,0,5', expected a class from 1 to 11"),
        ("class,startTime_usec,endTime_usec\n1,5,5\n", "start before end"),
        ("class,startTime_usec,endTime_usec\n1,5\n", "three whole numbers"),
        ("a,b\n", "expected the first line class"),
    ):
        labels.write_text(text)
        with pytest.raises(PlifError, match=message):
            open_dataset(spec, framing=FRAMING)
    labels.write_text("class,startTime_usec,endTime_usec\n1,90000000,90000005\n")
    with pytest.raises(PlifError, match="no events from 90000000 to 90000005 us"):
        open_dataset(spec, framing=FRAMING).sample(0)
    labels.unlink()
    with pytest.raises(PlifError, match=r"user24_lab_labels\.csv: no such file; expected it next to"):
        open_dataset(spec, framing=FRAMING)
    (tmp_path / "trials_to_test.txt").write_text("../secret.aedat\n")
    with pytest.raises(PlifError, match=r"'\.\./secret\.aedat' is not the name"):
        open_dataset(spec, framing=FRAMING)
    (tmp_path / "trials_to_test.txt").write_text("user29_led.aedat\n")
    with pytest.raises(PlifError, match="1 of 1 recordings are missing"):
        open_dataset(spec, framing=FRAMING)


def test_gestures_are_read_from_small_files_that_another_program_wrote(shared_data: Path, tmp_path: Path) -> None:
    for path in (shared_data / "aedat31_micro").iterdir():
        shutil.copy(path, tmp_path / path.name)
    (tmp_path / "trials_to_train.txt").write_text("c.aedat\n")
    (tmp_path / "trials_to_test.txt").write_text("a.aedat\n")
    with pytest.warns(UserWarning, match="valid bit"):
        test = open_dataset(f"dvs128-gesture:{tmp_path}", framing="count:T=1")
        found = [test.recording(i)[0]["t"].tolist() for i in range(2)]  # type: ignore[attr-defined]
    assert found == [[25, 38, 48], [102865, 102898, 119579]]
    with pytest.raises(PlifError, match="no events from 2157620 to 2178812 us"):  # one 1 us before, one at the end
        test.sample(2)
    assert [test.classes[test.label(i)] for i in range(3)] == [GESTURES[0], GESTURES[4], GESTURES[10]]


# --- plif data ------------------------------------------------------------------------------------------------------


def test_a_check_reads_the_new_sets_and_compares_what_was_downloaded(tmp_path: Path) -> None:
    write_cifar10(tmp_path / "cifar10")
    (tmp_path / "cifar10" / "cifar-10-binary.tar.gz").write_bytes(b"half of it")
    found = check_dataset(f"cifar10:{tmp_path / 'cifar10'}")
    assert found["splits"]["train"]["samples"] == 20 and found["files"] == {"cifar-10-binary.tar.gz": False}
    write_gestures(tmp_path / "gesture")
    found = check_dataset(f"dvs128-gesture:{tmp_path / 'gesture'}?order=sj")
    assert found["splits"]["test"]["per_class"]["other_gestures"] == 1
    assert found["splits"]["test"]["events"] == {"min": 100, "median": 100, "max": 100}


FORKS = """
import os, sys, threading
from pathlib import Path
from runtime.datasets.cifar10_images.set import ImageDecoder
decoder, image, done = ImageDecoder(), Path(sys.argv[1]), []
def read():
    while not done:
        decoder.read(image)
def forked():
    if (process := os.fork()) == 0:
        decoder.read(image)
        os._exit(0)
    os.waitpid(process, 0)
reading = threading.Thread(target=read)
reading.start()
for _ in range(8):
    forked()
done.append(1)
reading.join()
print(decoder.read(image).shape)
"""


def test_images_are_read_before_and_after_a_fork_while_a_thread_reads_them(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    image.new("RGB", (32, 32)).save(tmp_path / "1.png")
    (tmp_path / "tmp").mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKS, str(tmp_path / "1.png")],
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == ["(32, 32, 3)"], done
    assert not list((tmp_path / "tmp").iterdir())
