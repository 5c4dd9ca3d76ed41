"""Cards are read from files that anyone may have made: hostile ones give one clear line, and nothing else happens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import plif_train
import runtime
from plif_export import export
from runtime.core.base.errors import PlifError
from runtime.core.model.card import CARD_KEY, read_card
from tests.networks import firing


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cards")
    plif_train.save(firing(), folder / "model.pt")
    export(folder / "model.pt")
    return folder


def test_the_card_of_a_model_is_the_one_that_was_saved(folder: Path) -> None:
    card = read_card(folder / "model.pt")
    assert card["format"] == "plif-model" and card["T"] == 5 and card["classes"] == ["a", "b", "c"]


def test_a_file_cut_anywhere_gives_one_line(folder: Path, tmp_path: Path) -> None:
    for name in ("model.onnx", "model.pt"):
        whole = (folder / name).read_bytes()
        for end in np.linspace(0, len(whole) - 1, 64).astype(int):
            path = tmp_path / name
            path.write_bytes(whole[:end])
            with pytest.raises(PlifError) as error:
                runtime.load(path)
            assert "\n" not in str(error.value)


def test_a_flipped_byte_is_an_error_or_a_model_never_a_crash(folder: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("model.onnx", "model.pt"):
        whole = bytearray((folder / name).read_bytes())
        for _ in range(150):
            place, bit = int(rng.integers(len(whole))), int(rng.integers(8))
            whole[place] ^= 1 << bit
            path = tmp_path / name
            path.write_bytes(whole)
            whole[place] ^= 1 << bit
            try:
                read_card(path)
            except PlifError as error:
                assert "\n" not in str(error)


def edited(folder: Path, path: Path, change: Any) -> Path:
    model = onnx.load(folder / "model.onnx")
    card = read_card(folder / "model.onnx")
    change(model, card)
    card.pop("digest", None)  # as in a file of an older version; what the digest says: test_digest.py
    next(entry for entry in model.metadata_props if entry.key == CARD_KEY).value = json.dumps(card)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m, c: c.pop("states"), "the card lacks states"),
        (lambda m, c: c.update(format_version=99), "newer than this plif reads"),
        (lambda m, c: c.update(format_version=0), "older than this plif reads"),
        (lambda m, c: c.update(format="other"), "format 'other'"),
        (lambda m, c: c.update(T="many"), "T is a str; expected int"),
        (lambda m, c: c.update(T=-1), "T is -1"),
        (lambda m, c: c.update(classes=[]), "classes must be a list of names"),
        (lambda m, c: c["states"][0].pop("shape"), "a state lacks shape"),
        (lambda m, c: c["states"][0].update(shape=[2**40]), "expected a list of positive sizes"),
        (lambda m, c: c["states"][0].update(shape=[8, 8, 8]), "in the graph"),
        (lambda m, c: c["states"][0].update(input="v.other"), "v.other is missing in the graph"),
        (lambda m, c: c["input"].update(shape=[2, 16]), "expected [channels, height, width]"),
        (lambda m, c: c.update(normalisation={"mean": [0.0], "std": [1.0]}), "expected 2 numbers"),
        (lambda m, c: c.update(output={"kind": "votes", "voters": 0}), "expected a kind of"),
        *(
            (
                lambda m, c, said=said: c.update(trained_on=said),
                "expected size [width, height] or null, rate",
            )
            for said in (
                None,
                [1],
                {"size": 34},
                {"rate": [2, 1]},
                {"rate": [1]},
                {"polarity": [-1, 0]},
                {"rate": "fast"},
            )
        ),
    ],
)
def test_a_card_that_lies_is_refused(folder: Path, tmp_path: Path, change: Any, says: str) -> None:
    with pytest.raises(PlifError) as error:
        runtime.load(edited(folder, tmp_path / "m.onnx", change), "onnxruntime")  # the engine that reads the nodes, too
    assert says in str(error.value) and "\n" not in str(error.value)


def test_a_card_that_is_not_json_or_not_there_is_refused(folder: Path, tmp_path: Path) -> None:
    model = onnx.load(folder / "model.onnx")
    for text, says in (("{", "not valid JSON"), ("[1]", "expected an object"), ("[" * 100_000, "not valid JSON")):
        del model.metadata_props[:]
        entry = model.metadata_props.add()
        entry.key, entry.value = CARD_KEY, text
        onnx.save(model, tmp_path / "m.onnx")
        with pytest.raises(PlifError, match=says):
            read_card(tmp_path / "m.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(PlifError, match="without a plif card"):
        read_card(tmp_path / "m.onnx")


@pytest.mark.parametrize("location", ("../../etc/passwd", "/etc/passwd", "weights.bin"))
def test_weights_in_another_file_are_refused(folder: Path, tmp_path: Path, location: str) -> None:
    model = onnx.load(folder / "model.onnx")
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(PlifError, match="keeps its data in another file"):
        runtime.load(tmp_path / "m.onnx")


def test_a_length_that_lies_asks_for_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(bytes([0x72, 0xFF, 0xFF, 0xFF, 0xFF, 0x07]) + b"x")  # metadata_props of 2 GB
    with pytest.raises(PlifError, match="is not an ONNX file"):
        read_card(path)


def test_cards_of_equal_content_are_equal_text() -> None:
    from runtime.core.model.card import encode_card

    assert encode_card({"b": 1, "a": [1.5, None]}) == '{"a":[1.5,null],"b":1}'
    with pytest.raises(ValueError):
        encode_card({"a": float("nan")})
    assert json.loads(encode_card({"name": "é"})) == {"name": "é"}
