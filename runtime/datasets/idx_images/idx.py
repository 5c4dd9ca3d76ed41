"""IDX files, the format of MNIST and Fashion-MNIST, raw or gzipped.

    byte 0-1  0      byte 2  element type, 8 = uint8      byte 3  number of dimensions
    then one big-endian uint32 a dimension, then the elements, C order

Source: yann.lecun.com/exdb/mnist. A file is refused if its length is not exactly the length in its header.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import IO, cast

import numpy as np
import numpy.typing as npt

from runtime.core.base.errors import PlifError
from runtime.core.base.files import open_regular

Bytes = npt.NDArray[np.uint8]

UINT8 = 8
MAX_BYTES = 1 << 30  # 20 times MNIST: no data set of images unpacks to more


def read_idx(path: str | os.PathLike[str], dimensions: int) -> Bytes:
    """Read the array of an IDX file (the file format of MNIST), uint8 [N, ...] with a given number of dimensions.

    Raises PlifError when header and file do not agree.
    """
    file = Path(path)
    try:
        with open_regular(file, "an IDX file") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            stream = cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if packed else raw
            head = stream.read(4 + 4 * dimensions)
            shape = _read_shape(file, head, dimensions)
            promised = math.prod(shape)
            if promised > MAX_BYTES:
                raise PlifError(
                    f"{file}: the header promises {_format_shape(shape)} = {promised} bytes, more than {MAX_BYTES}:"
                    " not a data set of images"
                )
            body = stream.read(promised + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise PlifError(f"{file}: cannot be read: {error}") from None
    if len(body) != promised:
        actual = f"only {len(body)}" if len(body) < promised else "more than that"
        raise PlifError(
            f"{file}: the header promises {_format_shape(shape)} = {promised} bytes after it, found {actual}:"
            " get the file again"
        )
    return np.frombuffer(body, np.uint8).reshape(shape)


def _read_shape(path: Path, head: bytes, dimensions: int) -> tuple[int, ...]:
    if len(head) < 4 or head[:2] != b"\0\0":
        magic = head[:4].hex(" ") or "nothing"
        raise PlifError(f"{path}, byte 0: {magic}, expected an IDX header, 00 00 08 0{dimensions}")
    if head[2] != UINT8 or head[3] != dimensions:
        raise PlifError(
            f"{path}, byte 2: element type {head[2]} in {head[3]} dimensions, expected type 8 (uint8) in {dimensions}"
        )
    if len(head) < 4 + 4 * dimensions:
        raise PlifError(f"{path}: the file ends within its header, at byte {len(head)}")
    return struct.unpack(f">{dimensions}I", head[4:])


def _format_shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


PREFIX = {"train": "train", "test": "t10k"}


def read_images(directory: str | os.PathLike[str], split: str, torchvision: str = "MNIST") -> tuple[Bytes, Bytes, Path]:
    """Read the images [N, H, W] and labels [N] of a split, both uint8, and the path of its image file.

    The files lie in DIR, DIR/raw or DIR/MNIST/raw; raw files come before gzipped ones. `torchvision` is the name of
    torchvision's folder.
    """
    root = Path(directory)
    if not root.is_dir():
        raise PlifError(f"{root}: no such folder; expected one with {PREFIX[split]}-images-idx3-ubyte(.gz)")
    folders = ("", "raw", f"{torchvision}/raw")
    images_at = _find_file(root, folders, f"{PREFIX[split]}-images", "idx3")
    labels_at = _find_file(root, folders, f"{PREFIX[split]}-labels", "idx1")
    images, labels = read_idx(images_at, 3), read_idx(labels_at, 1)
    if len(images) != len(labels):
        raise PlifError(f"{labels_at}: {len(labels)} labels for the {len(images)} images of {images_at.name}")
    return images, labels, images_at


def _find_file(root: Path, folders: tuple[str, ...], stem: str, kind: str) -> Path:
    for folder in folders:
        for name in (f"{stem}-{kind}-ubyte", f"{stem}.{kind}-ubyte"):
            for suffix in ("", ".gz"):
                path = root / folder / (name + suffix)
                if path.is_file():
                    return path
    places = ", ".join(str(root / folder) for folder in folders)
    raise PlifError(f"{root}: {stem}-{kind}-ubyte(.gz) is in none of {places}")
