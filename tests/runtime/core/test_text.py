"""What files say is printed as text: it moves no cursor, begins no line, turns no direction, runs in no spreadsheet."""

from __future__ import annotations

import ast
import csv
import io
import json
import sys
import unicodedata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from plif_export import export
from runtime.core.base.errors import CheckFailed, MissingExtra, PlifError, PlifWarning
from runtime.core.base.text import MAX_CHARS, escape_csv_cell, printable, say
from runtime.core.cli.main import run
from runtime.core.model.card import check_model_card, read_card
from runtime.core.model.notation import NotationError, parse_notation
from runtime.core.parts import Part, find_parts
from tests.networks import digits_network
from tests.recordings import csv_bytes, some_events

pytestmark = pytest.mark.filterwarnings("ignore:Glyph")

# Class names as an attacker would give them: escape sequences, line breaks, directions, markup, formulas, lone surrogates.
CLASSES = (
    "\033[2J\033[1;1Hplif: parity passed", "two\nlines\r\n", "\u202egnp.exe\u2066", "[bold red]markup[/]", "=HYPERLINK(1)",
    "<script>alert(1)</script>", "$\\frac{1}$ and $x", "\x9b31m\x07\x00", "a,\"b\"", "拍手 \u2028",
)  # fmt: skip
ROOT = Path(__file__).parents[3]


def is_clean(text: str) -> bool:
    """Whether it holds lines of printable characters and nothing else."""
    return all(line.isprintable() for line in text.split("\n"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """m.onnx with those classes, and a recording whose name is no better."""
    folder = tmp_path_factory.mktemp("text")
    export(digits_network(classes=CLASSES), folder / "m.onnx")
    (folder / "a\033[31m\n\u202eb.csv").write_bytes(csv_bytes(some_events(3000)))
    return folder


@pytest.fixture
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


def test_every_character_that_is_no_text_is_replaced_and_every_other_is_kept() -> None:
    for code in range(sys.maxunicode + 1):
        char = chr(code)
        shown = printable(char)
        if unicodedata.category(char)[0] == "C" or unicodedata.category(char) in ("Zl", "Zp"):
            assert shown == "?", hex(code)
        elif char != " " and unicodedata.category(char) != "Zs":
            assert shown == char, hex(code)
    assert printable("two words") == "two words"


def test_a_text_without_end_loses_its_middle() -> None:
    shown = printable("begin" + "x" * 1_000_000 + "end")
    assert shown.startswith("begin") and shown.endswith("end") and len(shown) < MAX_CHARS + 60
    assert "998008 characters left out" in shown


def test_every_error_and_warning_is_one_line_whatever_its_parts_say() -> None:
    hostile = "".join(CLASSES)
    errors: list[Any] = [
        PlifError(hostile),
        CheckFailed(hostile),
        MissingExtra(hostile, "x"),
        NotationError(hostile, 9, hostile),
    ]
    for error in [*errors, PlifWarning(hostile), PlifError("é" * 1_000_000)]:
        assert str(error).isprintable() and len(str(error)) < MAX_CHARS + 60


def test_output_that_cannot_hold_a_character_gets_a_question_mark() -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    say("拍手 é", "\033[2J", file=out)
    assert raw.getvalue() == b"?? ?\n?[2J\n"


def test_nothing_is_printed_past_the_one_place() -> None:
    """No print, echo or write to a standard stream in the packages, except where lines are made printable or JSON."""
    allowed = {
        "runtime/core/base/text.py": "say",
        "runtime/core/cli/output.py": "print_json",
        "runtime/core/base/progress.py": "the stage of a command, printable, on a terminal only",
        "runtime/engines/tuner/calibrate.py": "JSON of a process of our own",
        "runtime/formats/child/records.py": "records of a process of our own",
        "runtime/formats/child/children.py": "JSON of a process of our own",
        "runtime/formats/hdf5/decode.py": "records of a process of our own",
        "runtime/datasets/cifar10_images/image_decode.py": "pixels of a process of our own",
        "runtime/observers/terminal/__init__.py": "the line that moves, made of printable parts",
    }
    found = []
    for package in ("runtime", "plif_train", "plif_export"):
        for path in sorted((ROOT / package).rglob("*.py")):
            where = path.relative_to(ROOT).as_posix()
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call) or where in allowed:
                    continue
                called = ast.unparse(node.func)
                if called in ("print", "typer.echo", "typer.secho") or called.startswith(
                    ("sys.stdout.write", "sys.stderr.write", "sys.stdout.buffer", "sys.stderr.buffer")
                ):
                    found.append(f"{where}:{node.lineno}: {called}")
    assert not found, "use runtime.core.base.text.say"


def test_info_prints_the_names_of_a_card_and_no_more_lines(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["info", "m.onnx"]) == 0
    text = capsys.readouterr().out
    assert is_clean(text) and "[bold red]markup[/]" in text and "拍手" in text
    assert [line.split()[0] for line in text.splitlines()].count("classes") == 1
    assert len(text.splitlines()) == 16 and "?[2J?[1;1Hplif: parity passed" in text


def test_json_keeps_the_names_exactly(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["info", "m.onnx", "--json"]) == 0
    text = capsys.readouterr().out
    assert is_clean(text), "JSON escapes what is no text"
    assert tuple(json.loads(text)["classes"]) == CLASSES


def test_a_stream_prints_names_of_files_and_classes_as_text(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recording = next(path.name for path in inside.glob("*.csv"))
    (inside / "bad\033[2J\n.csv").write_bytes(b"t,x,y,p\n1,2,3,1\n\033]0;title\x07,1,2\n5,5,5,1\n")
    try:
        assert run(["stream", "m.onnx", recording, "bad\033[2J\n.csv"]) == 0
        found = capsys.readouterr()
        assert is_clean(found.out) and is_clean(found.err)
        assert "a?[31m??b.csv" in found.out and "is not an event" in found.err
        assert run(["stream", "m.onnx", "absent\033[2J\nplif: error: none"]) == 2
        assert (
            capsys.readouterr().err == "plif: error: absent?[2J?plif: error: none: no such file; expected a recording\n"
        )
        assert run(["stream", "m.onnx", recording, "--json"]) == 0
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert {line["label"] for line in lines[:-1]} <= {None, *CLASSES}
    finally:
        (inside / "bad\033[2J\n.csv").unlink()


def test_usage_and_unexpected_errors_are_text_too(
    inside: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["info", "--\033[2J\u202e"]) == 2
    assert is_clean(capsys.readouterr().err)

    def broken() -> None:
        raise ValueError("\033[2J\u202e in the file")

    monkeypatch.setitem(find_parts("commands"), "broken", Part("broken", "broken"))
    monkeypatch.setitem(sys.modules, "broken", SimpleNamespace(command=broken))
    assert run(["broken"]) == 2
    assert "ValueError: ?[2J? in the file" in capsys.readouterr().err


def test_evaluation_writes_a_table_that_a_spreadsheet_does_not_run(
    inside: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from runtime.core.measure.evaluate.evaluation import Evaluation, write_results
    from runtime.core.measure.evaluate.predictions import Prediction
    from runtime.observers.prediction_tables import write_predictions

    result = Evaluation(
        accuracy=1.0, samples=10, correct=10, T=5, engine="event", batch=1, latency_ms={}, throughput_per_s=1.0,
        firing_rates={}, confusion=np.eye(10, dtype=int).tolist(), classes=list(CLASSES), data="$x$\033[2J\n",
    )  # fmt: skip
    scores = np.eye(10).tolist()
    write_predictions((Prediction(i, "a", i, tuple(scores[i])) for i in range(10)), CLASSES, tmp_path / "out")
    write_results(result, tmp_path / "out")
    text = (tmp_path / "out" / "predictions.csv").read_text(encoding="utf-8")
    rows = list(csv.reader(io.StringIO(text)))
    assert is_clean(text) and len(text.splitlines()) == 11 and all(len(row) == 23 for row in rows)
    assert [row[3] for row in rows[1:]] == [escape_csv_cell(name) for name in CLASSES] == [row[2] for row in rows[1:]]
    assert rows[5][3] == "'=HYPERLINK(1)" and rows[9][3] == 'a,"b"' and rows[0][12] == 'score_a,"b"'
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert tuple(metrics["classes"]) == CLASSES, "JSON stays exact"


@pytest.mark.parametrize("text", ["=1+1", "+cmd|'/C calc'!A0", "-2+3", "@SUM(1)", " =x", "\t=x", "-", "--1"])
def test_a_cell_that_would_be_a_formula_gets_an_apostrophe(text: str) -> None:
    assert escape_csv_cell(text).startswith(("'", "?"))


@pytest.mark.parametrize("text", ["-1", "+2.5", "-1e-3", "seven", "left hand", "a=b", ""])
def test_numbers_and_other_names_stay_as_they_are(text: str) -> None:
    assert escape_csv_cell(text) == text


def test_a_card_with_a_name_of_a_megabyte_is_refused_in_one_line(inside: Path) -> None:
    card = read_card(inside / "m.onnx")
    model = {**card, "format": "plif-model", "options": {}, "training": None}
    check_model_card(model)
    for name, reason in (
        ("x" * 1_000_000, "at most 256"),
        ("\033[2J" * 100, "at most 256"),
        ("a\ud800", "UTF-8 can hold"),
    ):
        with pytest.raises(PlifError, match=f"expected.* {reason}") as caught:
            check_model_card({**model, "classes": [name]})
        assert str(caught.value).isprintable() and len(str(caught.value)) < 200


@pytest.mark.parametrize("number", ["9" * 5000, "0" * 5000 + "1", "10000000"])
@pytest.mark.parametrize("layer", ["FC{}-PLIF", "c{}k3s1-PLIF", "c8k{}s1-PLIF", "MPk2s{}"])
def test_a_number_of_a_notation_may_have_any_length_and_is_refused_in_one_line(layer: str, number: str) -> None:
    with pytest.raises(NotationError, match=r"has a size outside 1..1000000") as caught:
        parse_notation("c8k3s1-PLIF-" + layer.format(number))
    assert caught.value.position == 12 and len(str(caught.value)) < 600


def test_the_place_of_an_error_in_a_long_notation_stays_visible() -> None:
    text = "FC10-PLIF-" * 500
    with pytest.raises(NotationError, match=r"character 2501: not a layer.*in '\.\.\..*PLIF->>>XX-FC10.*\.\.\.'"):
        parse_notation(text[:2500] + "XX-" + text)
