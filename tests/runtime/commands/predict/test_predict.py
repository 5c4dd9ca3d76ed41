"""`plif predict`: the answers of plif eval, for recordings whose classes nobody knows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runtime
from plif_export import export
from runtime.commands.predict.unlabelled import predict
from runtime.core.base.errors import Interrupted, PlifError
from runtime.core.cli.main import run
from runtime.core.data.recordings import find_recordings, natural_key
from runtime.core.events import write_nmnist
from runtime.core.measure.evaluate.evaluation import evaluate
from runtime.datasets.digits.drawing import draw_digit
from runtime.datasets.digits.saccades import record_digit
from runtime.observers.prediction_tables import read_csv
from tests.conftest import REPOSITORY
from tests.networks import digits_network, firing

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*do not say their sensor"),
]

# A prediction that kills itself when that many recordings are done.
KILLED = """
import os, sys
from pathlib import Path
import runtime
from runtime.commands.predict.unlabelled import predict

def progress(done, total, note):
    if done >= int(last):
        os.kill(os.getpid(), 9)

if __name__ == "__main__":
    model, place, out, last, workers = sys.argv[1:]
    predict(runtime.load(model), [place], out=Path(out), sensor=(34, 34), workers=int(workers), progress=progress)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve recordings, in the layout of N-MNIST, and a random network."""
    folder = tmp_path_factory.mktemp("predict")
    (folder / "Train").mkdir()
    for i in range(12):
        rng = np.random.default_rng(i)
        path = folder / "Test" / str(i % 2) / f"{i}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_nmnist(path, record_digit(draw_digit(i % 10, rng), rng))
    export(digits_network("count:T=8"), folder / "m.onnx")
    return folder


def test_predictions_are_those_of_an_evaluation(folder: Path, tmp_path: Path) -> None:
    model = runtime.load(folder / "m.onnx")
    evaluate(model, f"nmnist:{folder}", out=tmp_path)
    known = {one.path: one for one in read_csv(tmp_path / "predictions.csv")[1]}
    out = tmp_path / "p.csv"
    result = predict(model, [folder / "Test"], out=out, sensor=(34, 34), workers=2)
    classes, rows = read_csv(out)
    found = list(rows)
    expected = [str(folder / "Test" / str(d) / f"{i}.bin") for d in range(2) for i in range(d, 12, 2)]
    assert [one.path for one in found] == expected, "folder by folder, numbers as numbers"
    for one in found:
        same = known[one.path]
        assert one.truth is None and (one.scores, one.steps, one.events) == (same.scores, same.steps, same.events)
    assert classes == model.classes and sum(result.answers.values()) == result.recordings == 12
    lines = predict(model, [folder / "Test" / "1"], out=tmp_path / "p.jsonl", sensor=(34, 34), batch=1)
    row = json.loads((tmp_path / "p.jsonl").read_text().splitlines()[0])
    assert lines.recordings == 6 and row["truth"] is None and row["scores"] == list(known[row["path"]].scores)


def test_what_cannot_be_read_has_a_row_that_says_so_and_the_rest_is_written(
    folder: Path, tmp_path: Path, capsys: Any
) -> None:
    place = tmp_path / "in"
    (place / "deeper").mkdir(parents=True)
    for i in range(3):
        (place / f"{i}.bin").hardlink_to(folder / "Test" / str(i % 2) / f"{i}.bin")
    (place / "deeper" / "empty.bin").touch()
    os.mkfifo(place / "deeper" / "pipe.bin")
    (place / "notes.txt").write_text("no recording")
    (place / ".hidden").write_text("no recording")
    out = tmp_path / "out.csv"
    assert run(["predict", str(folder / "m.onnx"), str(place), "--out", str(out), "--json"]) == 2
    printed = capsys.readouterr()
    assert json.loads(printed.out)["unreadable"] == 2
    errors = [line for line in printed.err.splitlines() if "error" in line]
    assert len(errors) == 1 and "2 of 5 recordings could not be read" in errors[0]
    rows = list(read_csv(out)[1])
    assert [one.error is None for one in rows] == [True, True, True, False, False]
    assert "empty" in str(rows[3].error) and "not a regular file" in str(rows[4].error)
    assert rows[3].predicted is None


def test_a_prediction_that_was_stopped_goes_on_and_ends_in_the_same_bytes(
    folder: Path, tmp_path: Path, capsys: Any
) -> None:
    model, places = runtime.load(folder / "m.onnx"), [folder / "Test"] * 8  # 96 recordings, two shards
    predict(model, places, out=tmp_path / "whole.csv", sensor=(34, 34), batch=8)
    out = tmp_path / "p.csv"

    def stop(done: int, total: int, note: str) -> None:
        if done >= 72:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="what is done is kept: go on with --resume"):
        predict(model, places, out=out, sensor=(34, 34), batch=8, progress=stop)
    assert not out.exists() and (tmp_path / "p.csv.shards" / "000000.jsonl").is_file()
    command = ["predict", str(folder / "m.onnx"), *map(str, places), "--out", str(out), "--sensor", "34x34"]
    assert run(command) == 2 and "go on with --resume" in capsys.readouterr().err
    done: list[int] = []
    predict(model, places, out=out, sensor=(34, 34), resume=True, progress=lambda n, *_: done.append(n))
    assert done == [72, 80, 88, 96], "the first shard is not done again"
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"p.csv", "whole.csv"}
    assert run([*command[:-4], "--resume"]) == 2 and "name it" in capsys.readouterr().err


def link(folder: Path, target: Path, count: int) -> Path:
    """Fill a folder with that many recordings, hard links to the twelve, under names as a camera gives them."""
    target.mkdir(parents=True)
    for i in range(count):
        source = folder / "Test" / str(i % 2) / f"{i}.bin" if i < 12 else target / f"recording_2026-11-29_{i % 12}.bin"
        (target / f"recording_2026-11-29_{i}.bin").hardlink_to(source)
    return target


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("count", [300, pytest.param(100_000, marks=pytest.mark.large)])
def test_a_killed_prediction_goes_on_and_ends_in_the_same_bytes(
    count: int, workers: int, folder: Path, tmp_path: Path
) -> None:
    """The table lies in the folder of the recordings, and neither it nor its shards become recordings."""
    place, model = link(folder, tmp_path / "in", count), runtime.load(folder / "m.onnx")
    predict(model, [place], out=tmp_path / "whole.csv", sensor=(34, 34), workers=workers)
    out, program, last = place / "labels.csv", tmp_path / "killed.py", str(count * 2 // 3)
    program.write_text(KILLED)
    command = [sys.executable, str(program), str(folder / "m.onnx"), str(place), str(out), last, str(workers)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    assert subprocess.run(command, env=environment, capture_output=True).returncode == -signal.SIGKILL
    kept = len(list((place / "labels.csv.shards").glob("*.jsonl")))
    assert not out.exists() and kept >= count // 200
    done: list[int] = []
    options: dict[str, Any] = {"out": out, "sensor": (34, 34), "workers": workers}
    predict(model, [place], **options, resume=True, progress=lambda n, *_: done.append(n))
    assert done[0] > 64 * (kept - 1), "shards that were kept are not done again"
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes() and not (place / "labels.csv.shards").exists()
    assert predict(model, [place], **options).recordings == count, "the table is no recording"
    with pytest.raises(PlifError, match="no recordings besides this table"):
        predict(model, [out], **options)


def test_shards_that_a_killed_removal_left_are_not_those_of_another_prediction(folder: Path, tmp_path: Path) -> None:
    place, model, options = link(folder, tmp_path / "in", 200), runtime.load(folder / "m.onnx"), {"sensor": (34, 34)}
    shards = tmp_path / "p.csv.shards"
    shards.mkdir()
    old = shards / "000002.jsonl"
    old.write_text("of an older prediction")

    def stop(done: int, total: int, note: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        predict(model, [place], out=tmp_path / "p.csv", **options, batch=8, progress=stop)
    assert (shards / "plan.json").exists() and not old.exists()


def test_the_list_of_a_hundred_thousand_names_is_short_and_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for i in range(500):
        (tmp_path / f"recording_2026-11-29_camera3_{i}.bin").touch()
    tracemalloc.start()
    paths = find_recordings([tmp_path])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [int(path.rpartition("_")[2][:-4]) for path in paths] == list(range(500))
    assert peak / 500 < 1000, "bytes a name: a key of a tuple for each character took 2,300"
    names = ["ab", "a.1", "", "7", "07", "12", "8", "007", "a1b10", "A", "a", "a1b2", "a1"]
    in_order = ["007", "07", "7", "8", "12", "", "A", "a1", "a1b2", "a1b10", "a", "a.1", "ab"]
    assert sorted(names, key=natural_key) == in_order


def test_without_out_the_table_is_printed(folder: Path, capsys: Any) -> None:
    recording = str(folder / "Test" / "0" / "0.bin")
    assert run(["predict", str(folder / "m.onnx"), recording, recording, "--sensor", "34x34"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and lines[0].startswith("sample,path,truth,predicted,") and lines[1][2:] == lines[2][2:]


@pytest.mark.parametrize(
    ("places", "said"),
    [
        (["NOWHERE"], "no such file"),
        (["EMPTY"], "no recordings in this folder"),
        (["PIPE"], "is a pipe"),
        (["ALL-BAD"], "none of 1 recordings can be read"),
        (["GOOD", "--out", "table.txt"], "ends in .csv or .jsonl"),
    ],
)
def test_what_cannot_be_predicted_is_one_line(
    places: list[str], said: str, folder: Path, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "ALL-BAD").write_bytes(b"")
    os.mkfifo(tmp_path / "PIPE")
    (tmp_path / "GOOD").hardlink_to(folder / "Test" / "0" / "0.bin")
    assert run(["predict", str(folder / "m.onnx"), str(tmp_path / places[0]), *places[1:]]) == 2
    printed = capsys.readouterr()
    assert said in printed.err and not printed.out and len(printed.err.splitlines()) <= 2


def test_a_network_for_still_images_is_refused(folder: Path, tmp_path: Path) -> None:
    net = firing(shape=(1, 16, 16), kind="static", framing=None)
    export(net, tmp_path / "still.onnx")
    with pytest.raises(PlifError, match="takes still images"):
        predict(runtime.load(tmp_path / "still.onnx"), [folder / "Test"])
