"""A decoder that fell to its file says what it likes: headers that are none, sizes that no memory holds. It comes to one line."""

from __future__ import annotations

import importlib
import json
import tracemalloc
from pathlib import Path

import pytest

from runtime.base.errors import PlifError
from runtime.datasets.cifar10_images import set as cifar10
from runtime.events import open_source
from runtime.sources import inivation

SAYS = """
import sys
def record(tag, said):
    sys.stdout.buffer.write(tag + len(said).to_bytes(8, "little") + said)
record(b"H", {said!r}.encode()); record(b"P", bytes(39)); record(b"Z", b"")
"""
NONE = ("{", "NaN", "[8]", "5", '"x"', "[" * 100_000, "9" * 10_000)
SENSORS = ('{"a": [1, 2]}', '{"0": 5}', '{"0": [1, 2, 3]}', '{"0": ["a", 2]}', '{"0": [1e999, 2]}', '{"0": [-5, 1]}')
TOPICS = tuple(
    json.dumps({"topics": 2, "first": ["a"], "size": [8, 8]} | wrong)
    for wrong in ({"topics": "x"}, {"topics": 1e999}, {"first": []}, {"first": 5}, {"size": 5}, {"size": [1, -1]})
)
LIES = [("aedat4", b"#!AER-DAT4.0", said) for said in (*NONE, *SENSORS)]
LIES += [("rosbag", b"#ROSBAG V2.0", said) for said in (*NONE, "{}", *TOPICS)]


@pytest.mark.parametrize(("name", "magic", "said"), LIES, ids=lambda value: str(value)[:30])
def test_a_header_that_is_none_is_one_line(
    name: str, magic: bytes, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("aedat" if name.startswith("aedat") else "rosbags")
    file, program = tmp_path / "file", tmp_path / "decoder.py"
    file.write_bytes(magic)
    program.write_text(SAYS.format(said=said))
    monkeypatch.setattr(importlib.import_module(f"runtime.formats.{name}"), "CHILD", program)
    with pytest.raises(PlifError, match="damaged") as error:
        list(open_source(str(file)).packets())
    assert str(error.value).startswith(str(file))


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


@pytest.mark.parametrize(
    "said", [*NONE, "[1e999, 1]", "[NaN, 1]", "[-5, 1]", "[1000000000, 8]"], ids=lambda value: value[:30]
)
def test_a_reader_of_a_server_that_names_no_size_is_one_line(
    said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("dv_processing")
    program = tmp_path / "reader.py"
    program.write_text(SAYS.format(said=said).replace('b"H"', 'b"C"'))
    monkeypatch.setattr(inivation, "READ", program)
    with pytest.raises(PlifError, match="what was read of it cannot be"):
        open_source("tcp://127.0.0.1:7777")
