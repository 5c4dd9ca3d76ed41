"""`--junit FILE` of verify and eval: a test case for each gate, as CI services read it."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

import plif_train
from plif_export import export
from runtime.core.cli.main import run
from tests.networks import firing

NETWORK = "FC12-PLIF-FC3-PLIF"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    plif_train.save(firing(NETWORK, (2, 8, 8), T=4, framing="count:T=4", classes=("a", "b<&", "c")), "model.pt")
    export("model.pt")
    return tmp_path


def cases(path: str, failures: int, skipped: int = 0) -> dict[str, str | None]:
    """{name: why it failed, or was skipped; None where it passed}, of a file whose counts are right."""
    (suite,) = ElementTree.parse(path).getroot()
    found = {}
    for case in suite:
        assert case.get("classname") == suite.get("name")
        (said,) = [*case] or [None]
        assert said is None or said.text == said.get("message"), "some services show the one, some the other"
        found[str(case.get("name"))] = None if said is None else f"{said.tag}: {said.get('message')}"
    counts = {name: int(suite.get(name, "")) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": len(found), "failures": failures, "errors": 0, "skipped": skipped}
    return found


def test_a_proof_is_a_case_for_each_layer_the_structure_and_the_digest(folder: Path) -> None:
    assert run(["verify", "model.onnx", "--against", "model.pt", "--junit", "gates.xml"]) == 0
    assert cases("gates.xml", failures=0) == dict.fromkeys(("fc1", "fc2", "structure", "digest"))


def test_what_fails_a_proof_fails_its_case_and_what_says_nothing_is_skipped(folder: Path) -> None:
    plif_train.save(firing(NETWORK, (2, 8, 8), seed=1, T=4, framing="count:T=4", classes=("a", "b<&", "c")), "other.pt")
    assert run(["verify", "model.onnx", "--against", "other.pt", "--junit", "gates.xml"]) == 1
    found = cases("gates.xml", failures=2)
    assert str(found["structure"]).startswith("failure: structure: ")
    assert [name for name, said in found.items() if said and "parity failed: layer fc1" in said] == ["fc1"]
    ignored = ["--structure", "ignored", "--junit", "gates.xml"]
    assert run(["verify", "model.onnx", "--against", "model.pt", *ignored]) == 0
    assert cases("gates.xml", failures=0, skipped=1)["structure"] == "skipped: not compared"


def test_a_command_that_ends_with_an_error_leaves_it_as_the_case_that_failed(folder: Path) -> None:
    assert run(["verify", "model.onnx", "--against", "lost\x1b.pt", "--junit", "gates.xml"]) == 2
    (said,) = cases("gates.xml", failures=1).values()
    assert str(said).startswith("failure: lost?.pt: no such file")
    assert run(["eval", "model.onnx", "--data", "folder:lost", "--junit", "gates.xml"]) == 2
    assert "lost" in str(cases("gates.xml", failures=1)["plif eval"])


def test_each_bar_of_an_evaluation_is_a_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = {"T": 4, "framing": "count:T=4", "classes": tuple("0123456789")}
    plif_train.save(firing("FC12-PLIF-FC10-PLIF", (2, 34, 34), **options), "model.pt")
    export("model.pt", verify=False)
    bars = ["--min-accuracy", "1", "--against", "model.onnx", "--max-changed", "0", "--junit", "gates.xml"]
    assert run(["eval", "model.onnx", "--data", "digits:4", "--batch", "2", "--workers", "1", *bars]) == 1
    found = cases("gates.xml", failures=1)
    assert [*found] == ["--min-accuracy 1", "--max-changed 0", "all recordings"]
    assert "is below --min-accuracy 1" in str(found["--min-accuracy 1"])


def test_a_place_where_no_file_can_be_is_refused_before_the_work(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "there").mkdir()
    assert run(["verify", "model.onnx", "--against", "model.pt", "--junit", "there"]) == 2
    said = capsys.readouterr()
    assert run(["verify", "model.onnx", "--against", "model.pt", "--junit", "lost/gates.xml"]) == 2
    assert "gates.xml: its folder does not exist" in capsys.readouterr().err
    assert "there: is a folder; expected a place for a file" in said.err and "parity" not in said.out
    assert (
        run(["eval", "model.onnx", "--data", "digits", "--calibrate-exit", "5%", "-o", "n.onnx", "--junit", "g.xml"])
        == 2
    )
    assert "--junit says nothing; leave it out" in capsys.readouterr().err
