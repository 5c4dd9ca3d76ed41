"""CIFAR-10: the official binary version, or folders of images. The pickles of the Python version are never loaded.

    DIR[/cifar-10-batches-bin]/data_batch_1.bin .. data_batch_5.bin, test_batch.bin
        a record: 1 byte label, 1024 bytes red, 1024 green, 1024 blue, rows from the top; 10,000 records a file
    DIR/{train,test}/<class>/*.png|jpg         32 x 32 colour images (needs Pillow: pip install 'plif[train]')

Source: www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from subprocess import PIPE
from threading import RLock
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from runtime.core.base.errors import MissingExtra, PlifError
from runtime.core.base.files import read_regular
from runtime.core.data.dataset import DatasetSpec, Description, ImageSet
from runtime.core.data.recordings import dataset_folder, join_folder_names, list_files
from runtime.datasets.cifar10_images.image_decode import MOST_SIDE
from runtime.formats.child.children import Child

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PIXELS = (3, 32, 32)
RECORD = 1 + 3 * 32 * 32
BATCHES = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
SUFFIXES = (".png", ".jpg", ".jpeg")
DECODE = Path(__file__).with_name("image_decode.py")
BUDGET, MOST_BYTES = 4 << 20, 64 << 20
MOST_REASON = 500  # bytes of an error message
_lock = RLock()  # a fork waits for the lock: the new process has no thread that would release it
os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


class Cifar10(ImageSet):
    """The data set `cifar10:DIR` of colour images, from binary files or folders of images.

    Binary files keep their order. Images: the first of each class, then the second ones, and so on.
    """

    about: ClassVar[Description] = Description(
        kind="static",
        spec="cifar10:DIR",
        shape=PIXELS,
        what="ten kinds of things, 50,000 + 10,000 colour images",
        source="www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz, unpacked in DIR; or DIR/{train,test}/<class>/*.png",
        licence="none stated (A. Krizhevsky 2009, from the Tiny Images)",
        size="162 MB",
        checksums={"cifar-10-binary.tar.gz": "md5:c32a1d4ab5d03f1284b67883e8d87530"},
    )

    def __init__(self, request: DatasetSpec) -> None:
        root = dataset_folder(request, "data_batch_1.bin ... or train/<class>/*.png in it")
        self._files: list[Path] = []
        for folder in (root, root / "cifar-10-batches-bin"):
            if (folder / BATCHES[request.split][0]).is_file():
                images, labels = _read_batches(folder, request.split)
                super().__init__(request, CLASSES, images, labels, folder / BATCHES[request.split][0])
                return
        if not (root / request.split).is_dir():
            raise PlifError(f"{request.name}: {_explain_missing(root, request.split)}")
        self._init_images(request, root / request.split)

    def _init_images(self, request: DatasetSpec, folder: Path) -> None:
        entries: list[tuple[int, int, Path]] = []
        for label, name in enumerate(CLASSES):
            paths = [p for p in list_files(folder / name, missing_ok=True) if p.suffix.lower() in SUFFIXES]
            if not paths:
                raise PlifError(f"{folder / name}: no images of class '{name}', expected *.png or *.jpg")
            entries.extend((rank, label, path) for rank, path in enumerate(paths))
        entries.sort(key=lambda entry: entry[:2])
        self._files = [path for _, _, path in entries]
        labels = np.array([label for _, label, _ in entries], np.uint8)
        # Pixels are read with each sample. The shape is that of the first image; every other image must have the same.
        self._decoder = ImageDecoder()
        first_image = self._decoder.read(self._files[0])
        super().__init__(
            request, CLASSES, np.broadcast_to(first_image, (len(entries), *first_image.shape)), labels, folder
        )

    def image(self, i: int) -> npt.NDArray[np.uint8]:
        """Return the pixels of the CIFAR-10 image i, uint8 [H, W, C]."""
        if not self._files:
            return super().image(i)
        image = self._decoder.read(self._files[i])
        if image.shape != self._images.shape[1:]:
            raise PlifError(
                f"{self._files[i]}: {_format_size(image)} pixels, expected {_format_size(self._images[0])} as the others"
            )
        return image

    def path(self, i: int) -> str:
        return str(self._files[i]) if self._files else super().path(i)


def _read_batches(folder: Path, split: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Read the images uint8 [N, 32, 32, 3] and labels uint8 [N] of a split from the binary files."""
    parts = []
    for name in BATCHES[split]:
        path = folder / name
        data = np.frombuffer(read_regular(path, f"all of {', '.join(BATCHES[split])}"), np.uint8)
        if not len(data) or len(data) % RECORD:
            raise PlifError(
                f"{path}: {len(data)} bytes, expected a multiple of {RECORD} (1 label + 3072 pixels): get it again"
            )
        parts.append(data.reshape(-1, RECORD))
    records = np.concatenate(parts)
    return np.ascontiguousarray(records[:, 1:].reshape(-1, *PIXELS).transpose(0, 2, 3, 1)), records[:, 0].copy()


class ImageDecoder:
    """A decoder of PNG and JPEG files that runs Pillow in a child process, since the files are not trusted.

    One child decodes files of BUDGET bytes in all, which sets its time limit (runtime/formats/child/children.py);
    then another starts. Threads may share the decoder; a forked process gets its own child.
    """

    def __init__(self) -> None:
        self._owner = self._budget = 0
        self._child: Child | None = None

    def read(self, path: Path) -> npt.NDArray[np.uint8]:
        """Decode a PNG or JPEG file to pixels uint8 [H, W, 3]. Raises PlifError if it cannot be decoded."""
        if importlib.util.find_spec("PIL") is None:
            raise MissingExtra("CIFAR-10 as a folder of images", "train")
        if path.is_file() and path.stat().st_size > MOST_BYTES:
            raise PlifError(
                f"{path}: {path.stat().st_size} bytes, too many for an image: expected at most {MOST_BYTES}"
            )
        data = read_regular(path, "an image")
        with _lock:
            child = self._child_for(len(data))
            child.write(len(data).to_bytes(8, "little") + data)
            height, width, message_size = (int.from_bytes(child.read(4), "little") for _ in range(3))
            claimed = height * width * 3 if 0 < height <= MOST_SIDE and 0 < width <= MOST_SIDE else 0
            if claimed and len(pixels := child.read(claimed)) == claimed:
                return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)
            reason = child.read(min(message_size, MOST_REASON)).decode(errors="replace")
            if not reason:
                reason = child.end()[1] or "it makes Pillow crash"
                self._close()
        raise PlifError(f"{path}: cannot be read as an image ({reason})")

    def _child_for(self, size: int) -> Child:
        if self._child is None or self._owner != os.getpid() or self._budget < size:
            self._close()
            self._budget = max(BUDGET, size)
            self._child, self._owner = Child(DECODE, size=self._budget, stdin=PIPE), os.getpid()
        self._budget -= size
        return self._child

    def _close(self) -> None:
        if self._child is not None and self._owner == os.getpid():
            self._child.__exit__(None, None, None)
        self._child = None

    __del__ = _close


def _format_size(image: np.ndarray) -> str:
    return f"{image.shape[1]} x {image.shape[0]}"


def _explain_missing(root: Path, split: str) -> str:
    for folder in (root, root / "cifar-10-batches-py"):
        if (folder / "data_batch_1").is_file():
            return (
                f"{folder} is the Python version, whose pickles are never loaded (they can run anything);"
                " get cifar-10-binary.tar.gz instead"
            )
    archive = root / "cifar-10-binary.tar.gz"
    if archive.is_file():
        return f"{archive} is still packed; type: tar -xzf {archive} -C {root}"
    return f"no {BATCHES[split][0]} and no folder {split} in {root}; found {join_folder_names(root)}"


SETS = {"cifar10": Cifar10}
