"""`plif verify` reads an artifact once, judges these bytes alone, and says their SHA-256."""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import plif_train
import runtime
from plif_export import export, verify
from plif_export.core import verification
from runtime.core.base.errors import CheckFailed, PlifError
from runtime.core.base.files import hash_artifact
from tests.networks import firing

IN_OPEN, IN_CLOSE = 0x20, 0x18
TARGETS = {"onnx": "net.onnx", "plif": "net.plif", "c": "net.c", "triton": "net_triton", "openvino": "net_openvino"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("judged") / "net.pt"
    plif_train.save(firing(), path)
    return path


@pytest.fixture(scope="module")
def other(model: Path) -> Path:
    net = firing()
    with torch.no_grad():
        net.get_submodule("conv2").weight[3] += 0.5
    plif_train.save(net, model.with_name("other.pt"))
    return model.with_name("other.pt")


def written(to: str, model: Path, folder: Path) -> Path:
    if to == "openvino":
        pytest.importorskip("openvino")
    if to == "c" and shutil.which("cc") is None:
        pytest.skip("no C compiler here")
    if to == "plif" and not runtime.native.is_built():
        pytest.skip("the event engine is not built (no C compiler at installation)")
    folder.mkdir()
    return export(model, folder / TARGETS[to], to=to, verify=False).path


def move(path: Path, to: Path) -> None:
    """Moves an artifact, and the header next to it."""
    for source in [path, *path.parent.glob("*.h")]:
        place = to.with_name(source.name)
        shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
        shutil.move(source, place)


def swap_after_reading(monkeypatch: pytest.MonkeyPatch, path: Path, new: Path) -> None:
    """Another artifact takes the place of `path` as soon as all its bytes were read."""

    def read_and_swap(artifact: Path, copy: Path | None = None) -> tuple[int, str]:
        size_and_sha256 = hash_artifact(artifact, copy)
        if new.exists() and artifact.suffix in (path.suffix, ".h") and not (artifact == path and path.suffix == ".c"):
            move(new, path)
        return size_and_sha256

    monkeypatch.setattr(verification, "hash_artifact", read_and_swap)


@pytest.mark.parametrize("to", TARGETS)
def test_what_is_exchanged_while_it_is_verified_is_not_what_is_judged(
    to: str, model: Path, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right, wrong = written(to, model, tmp_path / "right"), written(to, other, tmp_path / "wrong")
    _, sha256 = hash_artifact(right)
    _, wrong_sha256 = hash_artifact(wrong)
    assert sha256 != wrong_sha256
    swap_after_reading(monkeypatch, right, wrong)
    report = verify(right, model, steps=3)
    assert hash_artifact(right)[1] == wrong_sha256 and not wrong.exists()
    assert report.passed and report.sha256 == sha256
    monkeypatch.undo()
    report = verify(right, model, steps=3)
    assert not report.passed and report.sha256 == wrong_sha256


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is of Linux")
def test_an_artifact_is_opened_once(model: Path, tmp_path: Path) -> None:
    path = written("onnx", model, tmp_path / "folder")
    libc = ctypes.CDLL(None)
    descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    libc.inotify_add_watch(descriptor, os.fsencode(path), IN_OPEN | IN_CLOSE)  # equal events in a row would be one
    assert verify(path, model, steps=3).passed
    data = os.read(descriptor, 1 << 16)
    os.close(descriptor)
    masks = [mask for _, mask, _, _ in struct.iter_unpack("iIII", data)]
    assert sum(bool(mask & IN_OPEN) for mask in masks) == 1


@pytest.mark.parametrize("to", ("onnx", "triton", "openvino"))
def test_the_sha256_is_that_of_the_export_and_of_the_runtime(to: str, model: Path, tmp_path: Path) -> None:
    if to == "openvino":
        pytest.importorskip("openvino")
    exported = export(model, tmp_path / TARGETS[to], to=to)
    report = verify(exported.path, model, steps=3)
    assert report.passed and exported.verify is not None
    assert report.sha256 == exported.sha256 == exported.verify.sha256
    if to != "triton":
        runtime.load(exported.path, sha256=report.sha256)
        with pytest.raises(PlifError, match=f"SHA-256 is {report.sha256}; expected 00"):
            runtime.load(exported.path, sha256="00")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut": (cut, "net.onnx: is not an ONNX file"),
    "text": (lambda path: path.write_text("no network"), "net.onnx: is not an ONNX file"),
    "missing": (Path.unlink, "net.onnx: no such file; expected a model.pt or an exported artifact"),
    "a folder": (make_folder, "net.onnx: is a folder, and no artifact"),
    "a pipe": (make_pipe, "net.onnx: is a pipe, not a file"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_message_names_the_path_as_it_was_given(
    name: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written("onnx", model, tmp_path / "folder")
    change, message = BROKEN[name]
    change(path)
    monkeypatch.chdir(path.parent)
    with pytest.raises(PlifError, match=f"^{message}") as error:
        verify("net.onnx", model, steps=3)
    assert "plif-verify" not in str(error.value)


def test_a_failure_of_an_engine_names_the_path_as_it_was_given(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written("onnx", model, tmp_path / "folder")
    monkeypatch.chdir(path.parent)

    def refuse(artifact: Path, *_: Any) -> Any:
        raise CheckFailed(f"{artifact}: refused")

    monkeypatch.setattr(verification, "_open_for_gate", refuse)
    failed_at = verify("net.onnx", model, steps=3).failed_at
    assert failed_at is not None and failed_at["what"].startswith("net.onnx: refused")


def test_a_disk_without_room_for_the_copy_is_one_line(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written("onnx", model, tmp_path / "folder")

    def is_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", is_full)
    with pytest.raises(PlifError, match=r"net\.onnx: cannot be copied to .* \(No space left on device\); set TMPDIR"):
        verify(path, model, steps=3)


def test_the_command_says_the_sha256(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from runtime.core.cli.main import run

    path = written("onnx", model, tmp_path / "folder")
    assert run(["verify", str(path), "--against", str(model), "--steps", "3"]) == 0
    assert f"SHA-256 {hash_artifact(path)[1]}\n" in capsys.readouterr().out
