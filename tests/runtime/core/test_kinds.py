"""Kinds of files are told apart by their first bytes, or by a file in a folder: no two parts recognise the same one."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from runtime.core.base.errors import PlifError
from runtime.core.model.artifacts import HEAD_BYTES, MODEL, ONNX, ZIP, detect_kind, has_mark
from runtime.core.parts import Part, find_parts

# what a file of each kind that has no fixed first bytes begins with
BEGINS = {"tensorrt_plan": (b'\x20\x03\0\0{"ca', b"ftrt\0\0\0\0", b"vtrt\0\0\0\0")}
ONNX_HEADS = (b"\x08\x08\x12\x04plif"[:HEAD_BYTES], b"\x08\x0b:\x80\x10\n\x05x", ZIP + bytes(4))


def parts() -> list[Part]:
    return list(find_parts("artifacts").values())


def heads(part: Part) -> list[bytes]:
    assert bool(part.magic) + bool(part.pattern) <= 1
    assert part.magic or part.pattern or part.holds, f"{part.name} says nothing that it is recognised by"
    return [magic.ljust(HEAD_BYTES, b"\0")[:HEAD_BYTES] for magic in part.magic] + list(BEGINS.get(part.name, ()))


@pytest.mark.parametrize("part", parts(), ids=lambda part: part.name)
def test_what_a_part_recognises_no_other_does(part: Part, tmp_path: Path) -> None:
    for head in heads(part):
        assert [other.name for other in parts() if has_mark(other, tmp_path, head, False)] == [part.name]
    assert bool(part.pattern) == (part.name in BEGINS)
    if part.holds:
        file = tmp_path / part.holds.replace("*", "name")
        file.parent.mkdir(exist_ok=True)
        file.write_text("")
        assert [other.name for other in parts() if has_mark(other, tmp_path, b"", True)] == [part.name]
        assert detect_kind(tmp_path).name in [kind.name for kind in part.load("kind:KINDS")]


def test_a_model_and_an_onnx_file_are_recognised_by_no_part(tmp_path: Path) -> None:
    assert not [(part.name, head) for part in parts() for head in ONNX_HEADS if has_mark(part, tmp_path, head, False)]
    for name, head, kind in (("m.pt", ZIP + bytes(4), MODEL), ("m.onnx", ONNX_HEADS[0], ONNX), ("empty", b"", ONNX)):
        (tmp_path / name).write_bytes(head)
        assert detect_kind(tmp_path / name) is kind


def test_a_bare_pickle_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\x80\x04\x95abcd")
    with pytest.raises(PlifError, match="a bare pickle"):
        detect_kind(tmp_path / "file")


def test_random_bytes_are_of_one_kind_at_most(tmp_path: Path) -> None:
    rng = random.Random(0)
    for _ in range(2000):
        head = rng.randbytes(HEAD_BYTES)
        assert len([part for part in parts() if has_mark(part, tmp_path, head, False)]) <= 1
