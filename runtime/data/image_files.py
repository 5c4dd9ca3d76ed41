"""Images of somebody else, decoded by Pillow in a process of its own (image_files_decode.py): one for many images.

A process may take as long as BUDGET bytes of files are worth (runtime/base/children.py), and is given so many. Then comes the next.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from subprocess import PIPE
from threading import Lock

import numpy as np
import numpy.typing as npt

from runtime.base.children import Child
from runtime.base.errors import MissingExtra, PlifError
from runtime.base.files import read_regular

CHILD = Path(__file__).with_name("image_files_decode.py")
BUDGET = 4 << 20
MOST_SAID = 500  # bytes of what is said of a file


class ImageDecoder:
    """Reads PNG and JPEG files. Threads may share it; a process that was forked gets a child of its own."""

    def __init__(self) -> None:
        self._lock, self._child, self._owner, self._left = Lock(), None, 0, 0
        self._child: Child | None

    def read(self, path: Path) -> npt.NDArray[np.uint8]:
        """A file -> uint8 [H, W, 3]. Raises PlifError."""
        if importlib.util.find_spec("PIL") is None:
            raise MissingExtra("CIFAR-10 as a folder of images", "train")
        data = read_regular(path, "an image")
        with self._lock:
            child = self._child_for(len(data))
            child.write(len(data).to_bytes(8, "little") + data)
            height, width, said = (int.from_bytes(child.read(4), "little") for _ in range(3))
            if height and len(pixels := child.read(height * width * 3)) == height * width * 3:
                return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)
            reason = child.read(min(said, MOST_SAID)).decode(errors="replace")
            if not reason:
                code, reason = child.end()
                self._close()
        raise PlifError(f"{path}: cannot be read as an image ({reason or 'it makes Pillow crash'})")

    def _child_for(self, size: int) -> Child:
        if self._child is None or self._owner != os.getpid() or self._left < size:
            self._close()
            self._left = max(BUDGET, size)
            self._child, self._owner = Child(CHILD, size=self._left, stdin=PIPE), os.getpid()
        self._left -= size
        return self._child

    def _close(self) -> None:
        if self._child is not None and self._owner == os.getpid():
            self._child.__exit__(None, None, None)
        self._child = None

    __del__ = _close
