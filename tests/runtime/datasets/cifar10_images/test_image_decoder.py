"""A decoder of images that fell to its file says what it likes: sizes that no memory holds. It comes to one line."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from runtime.core.base.errors import PlifError
from runtime.datasets.cifar10_images import set as cifar10


def test_an_image_that_no_image_is_so_large_takes_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("PIL")
    file, program = tmp_path / "image.png", tmp_path / "decoder.py"
    file.write_bytes(b"image")
    program.write_text(
        "import sys\nsys.stdin.buffer.read(13)\nsys.stdout.buffer.write(b'\\xff' * 8 + bytes(100 << 20))"
    )
    monkeypatch.setattr(cifar10, "DECODE", program)
    tracemalloc.start()
    with pytest.raises(PlifError, match="cannot be read as an image"):
        cifar10.ImageDecoder().read(file)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 50 << 20
