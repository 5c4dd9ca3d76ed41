"""docs/schemas say what commands print with --json: no key more, no key less, and of that type."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import plif_export
import plif_train
from docs import schemas
from plif_export.core.targets import find_target, list_targets
from plif_train import Network
from runtime.core.cli.main import run
from runtime.core.events import write_nmnist
from runtime.core.model.card import read_card
from tests.conftest import REPOSITORY
from tests.networks import firing
from tests.recordings import some_events

ONE = ("--batch", "2", "--workers", "1")
Says = Callable[..., list[Any]]


def closed(schema: Any) -> Any:
    """The same schema without room for a key that it does not name."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: closed(value) for key, value in schema.items()}
    return (
        {**found, "additionalProperties": False} if schema.get("type") == "object" and "properties" in schema else found
    )


def check(name: str, document: Any) -> None:
    schema = json.loads((REPOSITORY / "docs" / "schemas" / f"{name}.json").read_text())
    jsonschema.Draft202012Validator(closed(schema)).validate(document)


def network(**options: Any) -> Network:
    classes = tuple("0123456789")
    return firing("FC12-PLIF-FC10-PLIF", (2, 34, 34), T=4, framing="count:T=4", classes=classes, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("schemas")
    plif_train.save(network(), folder / "model.pt")
    plif_export.export(folder / "model.pt")
    (folder / "some").mkdir()
    write_nmnist(folder / "some" / "one.bin", some_events(4000))
    (folder / "some" / "torn.aedat").write_bytes(b"#!AER-DAT2.0\r\n123")
    return folder


@pytest.fixture
def says(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Says:
    """What a command prints with --json, line by line where it is a stream."""
    monkeypatch.chdir(folder)

    def says(*command: str, code: int = 0) -> list[Any]:
        assert run([*command, "--json"]) == code
        out = capsys.readouterr().out
        return [json.loads(line) for line in out.splitlines()] if command[0] == "stream" else [json.loads(out)]

    return says


def test_the_schemas_in_docs_are_those_of_the_records_in_code() -> None:
    for name, schema in schemas.schemas().items():
        jsonschema.Draft202012Validator.check_schema(schema)
        written = json.loads((schemas.FOLDER / f"{name}.json").read_text())
        assert written == json.loads(json.dumps(schema)), f"{name}: run python docs/schemas.py"
    assert {path.stem for path in schemas.FOLDER.iterdir()} == {*schemas.schemas()}


def test_an_evaluation_is_as_its_schema_says(says: Says) -> None:
    check(
        "eval", *says("eval", "model.onnx", "--data", "digits:4", *ONE, "--against", "model.pt", "--exit-margin", "0.5")
    )


@pytest.mark.large
def test_an_evaluation_under_stress_is_as_its_schema_says(says: Says) -> None:
    check("eval", *says("eval", "model.onnx", "--data", "digits:2", "--stress"))


def test_labels_are_as_their_schema_says_also_of_what_cannot_be_read(says: Says) -> None:
    (found,) = says("predict", "model.onnx", "some", code=2)
    check("predict", found)
    assert [row["error"] is None for row in found["predictions"]] == [True, False]
    says("predict", "model.onnx", "some", "--out", "labels.jsonl", code=2)
    row = schemas.schemas()["predict"]["$defs"]["TimedPredictionRow"]
    del row["properties"]["milliseconds"]
    row["required"].remove("milliseconds")
    for line in Path("labels.jsonl").read_text().splitlines():
        jsonschema.validate(json.loads(line), closed(row))


def test_a_proof_is_as_its_schema_says_passed_or_failed(says: Says, folder: Path) -> None:
    check("verify", *says("verify", "model.onnx", "--against", "model.pt", "--engine", "event"))
    plif_train.save(network(seed=1), folder / "other.pt")
    (found,) = says("verify", "model.onnx", "--against", "other.pt", code=1)
    check("verify", found)
    assert found["failed_at"] and found["structure"]


@pytest.mark.large
def test_a_thorough_proof_is_as_its_schema_says(says: Says) -> None:
    check("verify", *says("verify", "model.onnx", "--against", "model.pt", "--thorough"))


@pytest.mark.parametrize("sources", (["some/one.bin"], ["some/one.bin", "some/one.bin"]), ids=("one", "two"))
@pytest.mark.parametrize(
    "more", ([], ["--decide", "leak:50ms,margin=0.9", "--reset", "every:4"]), ids=("usual", "rules")
)
def test_each_line_of_a_stream_is_as_its_schema_says(says: Says, sources: list[str], more: list[str]) -> None:
    lines = says("stream", "model.onnx", *sources, *more)
    for line in lines:
        check("stream", line)
    assert "summary" in lines[-1] and len(lines) > 4


@pytest.mark.parametrize("name", [name for name in list_targets() if not name.startswith("tensorrt")])
def test_the_card_of_each_target_is_as_its_schema_says(tmp_path: Path, name: str) -> None:
    net = firing("FC12-PLIF-FC3-PLIF", (2, 8, 8))  # of what NIR has, too
    written = plif_export.export(net, tmp_path / f"m{find_target(name).suffix}", to=name, verify=False)
    check("card", read_card(written.path))


def test_cards_of_models_and_of_every_form_and_precision_are_as_their_schema_says(folder: Path, tmp_path: Path) -> None:
    for path in [*(REPOSITORY / "models").glob("*.pt"), folder / "model.pt", folder / "model.onnx"]:
        check("card", read_card(path))
    for number, options in enumerate(({"form": "unrolled"}, {"precision": "int8", "metadata": {"author": "A"}})):
        written = plif_export.export(folder / "model.pt", tmp_path / f"{number}.onnx", verify=number > 0, **options)  # type: ignore[arg-type]
        check("card", read_card(written.path))


def test_a_key_that_no_record_names_is_seen(folder: Path) -> None:
    card = copy.deepcopy(read_card(folder / "model.onnx"))
    with pytest.raises(jsonschema.ValidationError):
        check("card", {**card, "new_key": 1})
    with pytest.raises(jsonschema.ValidationError):
        check("card", {key: value for key, value in card.items() if key != "parity"})
