"""Where a network comes from: in the card of every export, shown by plif info, and outside the digest."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

import plif_train
import runtime
from plif_export import export, verify
from runtime.core.base.errors import PlifError
from runtime.core.cli.main import run
from runtime.core.model.card import read_card
from runtime.core.model.digest import read_digest
from tests.networks import firing

TRAINING = {"dataset": "nmnist", "test_accuracy": 0.982, "test_samples": 500, "command": "plif train nmnist"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "m.pt"
    plif_train.save(firing(), path, training=TRAINING)
    return path


def test_it_is_in_the_card_and_shown(model: Path, tmp_path: Path, capsys: Any) -> None:
    log = tmp_path / "train.log"
    log.write_text("epoch 1\n")
    command = ["export", str(model), "-o", str(tmp_path / "m.onnx"), "--metadata", "author=A. Author, B. Author"]
    assert run([*command, "--metadata", "licence=MIT", "--metadata", f"log={log}"]) == 0
    found = read_card(tmp_path / "m.onnx")["provenance"]
    assert found == {
        "data": "nmnist", "samples": 500, "accuracy": 0.982, "interval": [0.9661, 0.9905], "command": "plif train nmnist",
        "author": "A. Author, B. Author", "licence": "MIT", "log_sha256": hashlib.sha256(b"epoch 1\n").hexdigest(),
    }  # fmt: skip
    capsys.readouterr()
    assert run(["info", str(tmp_path / "m.onnx")]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("provenance"))
    assert "accuracy 98.20 % of 500 samples of nmnist (95 % interval 96.6 - 99.1)" in line and "licence MIT" in line


def test_the_digest_binds_it_and_the_proof_does_not_look_at_it(model: Path, tmp_path: Path) -> None:
    plain = export(model, tmp_path / "plain.onnx").path
    named = export(model, tmp_path / "named.onnx", metadata={"author": "A. Author"}).path
    assert read_digest(read_card(plain)) != read_digest(read_card(named))
    for path in (plain, named):
        runtime.load(path)
        assert verify(path, model).passed
    assert export(firing(), tmp_path / "live.onnx").passed and "provenance" not in read_card(tmp_path / "live.onnx")


@pytest.mark.parametrize("pair", ["author", "=x", " =x", "log=nowhere.log", "log=.", "a=" + "x" * 2000])
def test_what_is_no_pair_is_refused(pair: str, model: Path, tmp_path: Path) -> None:
    with pytest.raises(PlifError, match=r"--metadata|no such file"):
        export(model, tmp_path / "m.onnx", metadata=[pair])
    assert not (tmp_path / "m.onnx").exists()
