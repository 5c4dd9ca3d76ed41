"""What `plif predict` and `plif eval` say of a recording is what `plif stream` says of it alone, whatever lies beside it."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import plif_train
import runtime
from plif_export import export
from runtime.commands.predict.unlabelled import predict
from runtime.core.api import Model
from runtime.core.base.errors import Interrupted, PlifError
from runtime.core.cli.main import run
from runtime.core.data import open_dataset
from runtime.core.events import make_events, write_nmnist
from runtime.core.measure.evaluate.evaluation import evaluate
from tests.networks import firing
from tests.recordings import csv_bytes, evt3_bytes, some_events

VOTES, MEMBRANES = "c4k4s4-BN-PLIF-FC30-PLIF-APk10s10", "c4k4s4-BN-PLIF-FC3"
FRAMINGS = ("count:T=2", "duration:50ms")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of several sensors, of which some say theirs, in set/<class>, and networks."""
    folder = tmp_path_factory.mktemp("files")
    for name in "abc":
        (folder / "set" / name).mkdir(parents=True)
    write_nmnist(folder / "set" / "a" / "1.bin", some_events(400))
    (folder / "set" / "a" / "2.raw").write_bytes(evt3_bytes(some_events(500, 1, 1280, 720)))
    (folder / "set" / "b" / "1.csv").write_bytes(b"%geometry:346,260\n" + csv_bytes(some_events(500, 2, 346, 260)))
    stray = some_events(2000, 3, 128, 128)
    stray["x"][0] |= 128
    write_nmnist(folder / "set" / "b" / "2.bin", stray)
    lossy = some_events(400, 4, 100, 100)
    lossy["x"][:20] = 200
    (folder / "set" / "c" / "1.csv").write_bytes(b"%geometry:100,100\n" + csv_bytes(lossy))
    back = some_events(400, 5, 100, 100)
    back["t"][200:250] -= 140_000
    (folder / "set" / "c" / "2.csv").write_bytes(b"%geometry:100,100\n" + csv_bytes(back))
    for i, framing in enumerate(FRAMINGS):
        for sensor in (None, (128, 128)):
            net = firing(VOTES, (2, 32, 32), framing=framing, sensor=sensor, T=2)
            export(net, folder / f"{i}-{'trained' if sensor else 'plain'}.onnx", verify=False)
    export(firing(MEMBRANES, (2, 32, 32), framing="count:T=2", T=2), folder / "membranes.onnx", verify=False)
    export(
        plif_train.build(VOTES, shape=(2, 32, 32), T=2, classes=("a", "b", "c"), framing="count:T=2"),
        folder / "silent.onnx",
    )  # it is not scaled to fire
    return folder


def rows_of(path: Path) -> dict[str, dict[str, str]]:
    """{path: the row} of a table."""
    with path.open(newline="") as file:
        return {row["path"]: row for row in csv.DictReader(file)}


def said_by_stream(model: Model, path: str, **options: Any) -> dict[str, str]:
    """What a table would say of it."""
    running = model.stream(path, reset="recording", **{"decide": "sum", **options})
    last = [*running][-1]
    summary = running.summary()
    lost = sum(summary[f"events_{fate}"] for fate in ("late", "invalid", "dropped"))
    return {
        "predicted": last.label or "",
        "sensor": "{}x{}".format(*summary["sensor"]),
        "sensor_from": summary["sensor_from"],
        "events": str(summary["events_in"]),
        "events_used": str(summary["events_used"]),
        "events_lost": str(lost),
    }


@pytest.mark.parametrize("name", ("0-plain", "0-trained", "1-plain", "1-trained", "membranes", "silent"))
def test_the_rows_of_a_folder_are_what_a_stream_says_of_each_file(name: str, folder: Path, tmp_path: Path) -> None:
    model = runtime.load(folder / f"{name}.onnx")
    predict(model, [folder / "set"], out=tmp_path / "p.csv", batch=4)
    evaluate(model, f"folder:{folder / 'set'}", out=tmp_path / "eval", batch=3)
    tables = rows_of(tmp_path / "p.csv"), rows_of(tmp_path / "eval" / "predictions.csv")
    assert [len(table) for table in tables] == [6, 6]
    for path, row in tables[0].items():
        expected = said_by_stream(model, path)
        assert {key: row[key] for key in expected} == expected
        assert {key: tables[1][path][key] for key in expected} == expected
        assert not row["why"] if row["predicted"] and not path.endswith(("c/1.csv", "c/2.csv")) else True
    sensors = {"/".join(path.split("/")[-2:]): row["sensor"] for path, row in tables[0].items()}
    assert sensors["a/2.raw"] == "1280x720" and sensors["b/1.csv"] == "346x260"
    assert sensors["a/1.bin"] == ("128x128" if "trained" in name else "34x34")
    late = tables[0][str(folder / "set" / "c" / "2.csv")]["events_lost"]
    assert (int(late) > 0) == name.startswith("1"), "slices of a count follow no clock"


def test_what_native_code_reads_has_the_same_row_as_what_python_reads(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, sensor in (("0-plain", None), ("0-trained", None), ("0-plain", (40, 40))):
        model, tables = runtime.load(folder / f"{name}.onnx"), []
        for native in (True, False):
            with monkeypatch.context() as patch:
                if not native:
                    patch.setattr("runtime.core.data.dataset.read_frames", lambda *_: None)
                predict(model, [folder / "set" / "a"], out=tmp_path / "p.csv", sensor=sensor)
                tables.append((tmp_path / "p.csv").read_bytes())
        assert tables[0] == tables[1]


def test_a_file_that_lost_many_events_is_exit_code_2_after_all_is_written(
    folder: Path, tmp_path: Path, capsys: Any
) -> None:
    artifact, data, out = str(folder / "0-plain.onnx"), folder / "set", tmp_path / "p.csv"
    lossy = str(data / "c" / "1.csv")
    for command in (
        ["predict", artifact, str(data), "--out", str(out)],
        ["predict", artifact, str(data), "--out", str(tmp_path / "p.jsonl"), "--workers", "2", "--batch", "2"],
        ["eval", artifact, "--data", f"folder:{data}", "--out", str(tmp_path / "eval")],
    ):
        assert run([*command, "--json"]) == 2
        printed = capsys.readouterr()
        found = json.loads(printed.out)
        first = {"path": lossy, "events": 400, "events_lost": 20}
        assert found["lost"] == {"samples": 1, "events": 21, "first": [first]} and found["unanswered"] == 0
        errors = [line for line in printed.err.splitlines() if line.startswith("plif: error")]
        said = (
            "1 of 6 recordings lost more than 1 % of their events (the predictions table lists them); "
            f"the first is {lossy}: 20 of 400"
        )
        assert len(errors) == 1 and said in errors[0]
    lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    for table in (rows_of(out), rows_of(tmp_path / "eval" / "predictions.csv"), {one["path"]: one for one in lines}):
        assert len(table) == 6 and table[lossy]["predicted"] and table[lossy]["why"] == "20 of 400 events were lost"
        assert [path for path, row in table.items() if row["why"]] == [lossy], "one stray event of 2000 is no reason"
    assert "1 recordings lost more than 1 %" in (tmp_path / "eval" / "report.html").read_text(encoding="utf-8")
    columns = out.read_text().splitlines()[0].split(",")
    assert columns[-5:] == ["why", "sensor", "sensor_from", "events_used", "events_lost"]
    assert run(["predict", artifact, str(data / "a"), str(data / "b"), "--out", str(out)]) == 0


@pytest.mark.large
def test_the_counts_survive_workers_and_a_resume(folder: Path, tmp_path: Path) -> None:
    model, places = runtime.load(folder / "0-plain.onnx"), [folder / "set"] * 22  # 132 recordings, three shards
    whole = predict(model, places, out=tmp_path / "whole.csv", batch=8)

    def stop(done: int, total: int, note: str) -> None:
        if done >= 72:
            raise KeyboardInterrupt

    out = tmp_path / "p.csv"
    with pytest.raises(Interrupted):
        predict(model, places, out=out, batch=8, progress=stop)
    with pytest.raises(PlifError, match=r"min_margin 0.0, not 0.2"):
        predict(model, places, out=out, batch=8, resume=True, min_margin=0.2)
    with pytest.raises(PlifError, match=r"data 132 recordings, not 132 recordings, --sensor 34x34"):
        predict(model, places, out=out, batch=8, resume=True, sensor=(34, 34))
    with pytest.raises(PlifError, match=r"data 132 recordings, not 132 recordings, --csv t=ms,x,y,p"):
        predict(model, places, out=out, batch=8, resume=True, csv="t=ms,x,y,p")
    again = predict(model, places, out=out, batch=8, resume=True)
    both = predict(model, places, out=tmp_path / "two.csv", batch=8, workers=2)
    assert whole.lost == again.lost == both.lost and whole.lost["samples"] == 22 and whole.lost["events"] == 22 * 21
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()


def test_what_is_asked_for_is_for_recordings_that_do_not_say(folder: Path, tmp_path: Path, capsys: Any) -> None:
    artifact, data = str(folder / "0-plain.onnx"), tmp_path / "set"
    shutil.copytree(folder / "set", data)
    (data / "c" / "1.csv").unlink()
    command = ["predict", artifact, str(data), "--sensor", "240x180", "--out", str(tmp_path / "p.csv")]
    assert run(command) == 0
    said = capsys.readouterr().err
    assert "3 recordings say another sensor than 240x180, and are read as they say" in said
    (data / "sensor.txt").write_text("240x180\n")
    evaluated = evaluate(runtime.load(artifact), f"folder:{data}", out=tmp_path / "eval")
    assert (evaluated.sensor, evaluated.sensor_from) == (None, None), "they differ"
    for table in (rows_of(tmp_path / "p.csv"), rows_of(tmp_path / "eval" / "predictions.csv")):
        found = {"/".join(path.split("/")[-2:]): (row["sensor"], row["sensor_from"]) for path, row in table.items()}
        assert found["a/1.bin"] == found["b/2.bin"] == ("240x180", "asked")
        assert found["a/2.raw"] == ("1280x720", "recording") and found["c/2.csv"] == ("100x100", "recording")
    running = runtime.load(artifact).stream(str(data / "a" / "2.raw"), sensor=(240, 180))
    assert [*running]
    summary = running.summary()
    assert (summary["sensor"], summary["sensor_from"], summary["events_invalid"]) == ([1280, 720], "recording", 0)
    assert any("says itself that its sensor is 1280x720, which is taken" in note for note in summary["notes"])


def test_one_line_says_what_the_recordings_did_not(folder: Path, tmp_path: Path, capsys: Any) -> None:
    command = [str(folder / "0-trained.onnx"), str(folder / "set" / "a"), str(folder / "set" / "b")]
    assert run(["predict", *command, "--out", str(tmp_path / "p.csv")]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "do not say their sensor" in line]
    assert (
        len(said) == 1 and "2 of 4 recordings" in said[0] and "128x128 for 2 (as in the network's training)" in said[0]
    )
    assert run(["predict", str(folder / "0-plain.onnx"), *command[1:], "--out", str(tmp_path / "p.csv")]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "do not say their sensor" in line]
    assert len(said) == 1 and "34x34 for 1 (a guess)" in said[0] and "128x128 for 1 (a guess)" in said[0]


def test_a_training_reads_what_does_not_say_its_sensor_as_the_network_will(folder: Path, tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name, size in (("a", 34), ("b", 100)):
            (tmp_path / split / name).mkdir(parents=True)
            write_nmnist(tmp_path / split / name / "1.bin", some_events(500, width=size, height=size))
    data = open_dataset(f"folder:{tmp_path}", "train", framing="count:T=2")
    assert [data.recording(i)[1] for i in (0, 1)] == [(34, 34), (128, 128)]  # type: ignore[attr-defined]
    with pytest.warns(match="128x128 is a guess for all of them"):
        assert data.fix_sensor() == (128, 128)  # type: ignore[attr-defined]
    assert [data.recording(i)[1] for i in (0, 1)] == [(128, 128)] * 2  # type: ignore[attr-defined]
    recipe = plif_train.Recipe(epochs=1, batch_size=2)
    plif_train.train("FC20-PLIF-APk10s10", f"folder:{tmp_path}", tmp_path / "m.pt", recipe, T=2, size="16x16")
    found = evaluate(runtime.load(tmp_path / "m.pt"), f"folder:{tmp_path}")
    assert (found.sensor, found.sensor_from) == ([128, 128], "model")


# --- no answer ---------------------------------------------------------------------------------------------------------


def test_a_silent_network_answers_nothing_and_that_is_wrong(folder: Path, tmp_path: Path, capsys: Any) -> None:
    data, artifact = tmp_path / "set", str(folder / "silent.onnx")
    one_pixel = make_events(np.arange(50) * 1000, np.full(50, 5), np.full(50, 5), np.ones(50, bool))
    for name in "abc":
        (data / name).mkdir(parents=True)
        write_nmnist(data / name / "1.bin", one_pixel)
    assert [*runtime.load(artifact).stream(str(data / "a" / "1.bin"))][-1].why == "not sure"
    assert run(["predict", artifact, str(data), "--out", str(tmp_path / "p.csv"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["unanswered"], found["unreadable"], found["answers"]) == (3, 0, {"a": 0, "b": 0, "c": 0})
    assert {(row["predicted"], row["why"]) for row in rows_of(tmp_path / "p.csv").values()} == {("", "not sure")}
    assert run(["predict", artifact, str(data), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["predictions"]
    assert [(row["predicted"], row["why"], row["sensor"], row["events_used"]) for row in rows] == [
        (None, "not sure", [34, 34], 50)
    ] * 3
    assert run(["predict", artifact, str(data), "--out", str(tmp_path / "p.csv")]) == 0
    assert "3 of 3 recordings: not sure 3" in capsys.readouterr().out
    out = tmp_path / "eval"
    assert run(["eval", artifact, "--data", f"folder:{data}", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "accuracy 0.00 %  (0 of 3" in printed and "3 samples have no answer" in printed
    assert {(row["predicted"], row["why"]) for row in rows_of(out / "predictions.csv").values()} == {("", "not sure")}
    metrics = json.loads((out / "metrics.json").read_text())
    assert (metrics["samples"], metrics["correct"], metrics["unanswered"]) == (3, 0, 3)
    assert metrics["confusion"] == [[0] * 3] * 3 and [row["samples"] for row in metrics["per_class"]] == [1, 1, 1]
    assert [row["recall"] for row in metrics["per_class"]] == [0.0] * 3
    report = json.loads((out / "report.json").read_text())
    assert [row["correct"] for row in report["figures"]["accuracy-by-steps"]] == [0, 0]
    assert "3 samples have no answer" in (out / "report.html").read_text(encoding="utf-8")
    assert "| without an answer | 3, counted as wrong |" in (out / "README.md").read_text(encoding="utf-8")
    assert evaluate(runtime.load(artifact), f"folder:{data}").predictions == [-1, -1, -1]


@pytest.mark.parametrize("name", ("0-plain", "membranes"))
def test_a_margin_that_is_asked_for_decides_as_it_does_in_a_stream(name: str, folder: Path, tmp_path: Path) -> None:
    model = runtime.load(folder / f"{name}.onnx")
    margins = sorted(
        {one.margin or 0.0 for one in predict(model, [folder / "set"]).predictions if one.margin is not None}
    )
    labels = set()
    for margin in (*(round(m, 9) for m in margins if m < 1), 0.05, 0.3):
        predict(model, [folder / "set"], out=tmp_path / "p.csv", min_margin=margin)
        for path, row in rows_of(tmp_path / "p.csv").items():
            expected = said_by_stream(model, path, decide=f"sum,margin={margin:.9f}")["predicted"]
            assert (row["predicted"], row["why"].startswith("not sure")) == (expected, not expected)
            labels.add(expected)
    assert "" in labels and len(labels) > 1
    with pytest.raises(PlifError, match=r"--min-margin 2: expected a share from 0 to 1"):
        predict(model, [folder / "set"], min_margin=2)
