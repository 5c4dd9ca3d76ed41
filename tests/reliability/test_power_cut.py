"""After a power cut every file that plif writes is the old one or the new one, whole."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import plif_train
from plif_export import export
from runtime.commands.record.guide import record
from runtime.core.base.files import atomic_write
from runtime.core.cli.main import run
from tests.conftest import REPOSITORY
from tests.reliability.power_cut import Files, PowerCut

DIGITS = REPOSITORY / "models" / "nmnist-digits.pt"


def hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def watch(
    folder: Path, before: Callable[[], object], again: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> int:
    """Write twice, the second time with a power cut after every call; return how many states were seen.

    Of each file every state has the old content or the new one; only a file that was new may be missing.
    """
    before()
    old = read(folder)
    with monkeypatch.context() as patch:
        cut = PowerCut(folder, patch)
        again()
        states = list(cut.states())
    new = read(folder)
    for what, files in states:
        for name in old.keys() & new.keys():
            if name.startswith(("shards/", "figures/")):  # of a run that was finished; a new one begins without them
                continue
            assert name in files, f"{what}: {name} is gone"
        for name, content in files.items():
            if not hidden(name):
                assert content in (old.get(name), new.get(name)), f"{what}: {name} is neither the old nor the new one"
    assert {name: content for name, content in states[-1][1].items() if not hidden(name)} == new  # all is on the disk
    return len(states)


def read(folder: Path) -> Files:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {name: path.read_bytes() for path in paths if not hidden(name := path.relative_to(folder).as_posix())}


def test_a_file_that_is_renamed_before_it_is_on_the_disk_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The layer itself: a rename alone is not enough, nor is an fsync of the file without its folder's."""

    def write(content: bytes, sync: bool) -> None:
        part = tmp_path / ".x.part"
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.replace(part, tmp_path / "x")

    with pytest.raises(AssertionError, match="neither the old nor the new one"):
        watch(tmp_path, lambda: write(b"old", False), lambda: write(b"new", False), monkeypatch)
    with pytest.raises(AssertionError, match="old"):
        watch(tmp_path, lambda: write(b"old", True), lambda: write(b"newer", True), monkeypatch)


def test_several_files_and_a_folder_are_old_or_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(content: str) -> None:
        with atomic_write(tmp_path / "folder", tmp_path / "report", tmp_path / "gone", folder=True) as (
            folder,
            report,
            gone,
        ):
            (folder / "deep").mkdir(parents=True)
            (folder / "deep" / "weights").write_text(content)
            report.write_text(content[::-1])
            if content == "first":
                gone.write_text("of the first alone")

    write("first")
    cut_names = []
    with monkeypatch.context() as patch:
        cut = PowerCut(tmp_path, patch)
        write("second")
        cut_names = list(cut.states())
    for what, files in cut_names:
        report = files["report"]
        assert report in (b"first"[::-1], b"second"[::-1]), what
        weights = {
            content
            for name, content in files.items()
            if name.endswith("weights") and not name.endswith(".part/deep/weights")
        }
        assert weights & {b"first", b"second"}, f"{what}: no folder is whole"


def test_exports_are_old_or_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for target, name in (("onnx", "m.onnx"), ("plif", "m.plif"), ("c", "m.c")):
        folder = tmp_path / name
        folder.mkdir()

        def write(precision: str, target: str = target, path: Path = folder / name) -> None:
            export(DIGITS, path, to=target, precision=precision, verify=False)

        assert watch(folder, lambda: write("fp32"), lambda: write("int8"), monkeypatch) > 6


def test_a_calibrated_card_and_tables_are_old_or_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, out = tmp_path / "m.onnx", tmp_path / "out"
    export(DIGITS, model, verify=False)
    out.mkdir()

    def evaluate(limit: int) -> None:
        words = ["eval", str(model), "--data", "digits:20", "--limit", str(limit), "--out", str(out)]
        assert run(words) == 0

    assert watch(out, lambda: evaluate(10), lambda: evaluate(20), monkeypatch) > 10


def test_a_training_leaves_the_old_network_or_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "m.pt"

    def train(epochs: int) -> None:
        plif_train.train(
            "c2k3s2-PLIF-FC20-PLIF-APk2s2",
            data="digits:12",
            out=out,
            epochs=epochs,
            T=4,
            overwrite=True,
            device="cpu",
            seed=epochs,
        )

    train(1)
    old = out.read_bytes()
    with monkeypatch.context() as patch:
        cut = PowerCut(tmp_path, patch)
        train(2)
        states = list(cut.states())
    whole = [files["m.pt"] for _, files in states if "m.pt" in files]
    assert len(whole) > 4
    for content in {*whole} - {old}:
        (tmp_path / "cut.pt").write_bytes(content)
        plif_train.load(tmp_path / "cut.pt")


def test_a_recorded_gesture_is_there_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make() -> None:
        options = {"classes": ("a", "b"), "rounds": 2, "seconds": 1.0, "pause": 0.1}
        record("sim:digits?seed=4&seconds=20", out=tmp_path, **options)

    assert watch(tmp_path, lambda: None, make, monkeypatch) > 8
