"""What an evaluation promises: neither batch, form, workers nor a kill in the middle changes a byte of predictions.csv."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runtime
from plif_export import export
from runtime.core.base.errors import Interrupted, PlifError, PlifWarning
from runtime.core.cli.main import run
from runtime.core.events import write_nmnist
from runtime.core.measure.evaluate.evaluation import Evaluation, evaluate
from runtime.core.observers import find_observers
from runtime.core.parts import find_parts
from runtime.datasets.digits.drawing import draw_digit
from runtime.datasets.digits.saccades import record_digit
from tests.conftest import REPOSITORY
from tests.networks import digits_network

SAMPLES = 200  # four shards

# A program whose driver kills one of its workers, and later itself, at known places.
KILLED = """
import os, sys
from pathlib import Path
import runtime
from runtime.core.measure.evaluate.evaluation import evaluate

model, data, out, end, workers, *cluster = sys.argv[1:]

def below(parent):
    children = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            fields = (place / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent:
                children += [(int(place.name), (place / "cmdline").read_text()), *below(int(place.name))]
        except OSError:
            continue
    return children

def progress(done, total, note, killed=[]):
    if done >= 40 and not killed:
        found = [pid for pid, command in below(os.getpid()) if "spawn_main" in command or "ray::_Actor" in command]
        killed.append(found[0])
        os.kill(found[0], 9)
    if done >= 130 and end == "die":
        os.kill(os.getpid(), 9)

if __name__ == "__main__":
    how = {"workers": int(workers), "cluster": cluster[0] if cluster else None, "batch": 8, "progress": progress}
    evaluate(runtime.load(model), data, out=out, **how)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("evaluation"))


def fill(folder: Path) -> Path:
    """Recordings in the layout of N-MNIST, ten in many places, and a random network that fires on them, in both forms."""
    for i in range(SAMPLES):
        path = folder / "nmnist" / "Test" / str(i % 10) / f"{i}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        if i < 10:
            rng = np.random.default_rng(i)
            write_nmnist(path, record_digit(draw_digit(i, rng), rng))
        else:
            path.hardlink_to(path.with_name(f"{i % 10}.bin"))
    (folder / "nmnist" / "Train").mkdir()
    net = digits_network("count:T=8")
    export(net, folder / "step.onnx", verify=False)
    export(net, folder / "unrolled.onnx", form="unrolled", verify=False)
    export(net, folder / "loop.onnx", form="loop", verify=False)
    return folder


@pytest.fixture(scope="module")
def data(folder: Path) -> str:
    return f"nmnist:{folder / 'nmnist'}"


@pytest.fixture(scope="module")
def whole(folder: Path, data: str) -> tuple[Evaluation, bytes]:
    """An evaluation that nobody disturbed, one sample at a time."""
    result = evaluate(runtime.load(folder / "step.onnx"), data, batch=1, out=folder / "whole")
    table = (folder / "whole" / "predictions.csv").read_bytes()
    scores = {line.split(b",", 3)[3] for line in table.splitlines()}
    assert len(set(result.predictions)) > 1 and len(scores) == 11, "ten recordings that differ"
    return result, table


@pytest.mark.one_in(2)
@pytest.mark.parametrize("engine", ("event", "onnxruntime"))
@pytest.mark.parametrize(
    ("form", "batch", "workers"),
    [
        ("step", 16, 2),
        ("unrolled", 7, 1),
        ("loop", 3, 1),
        pytest.param("step", 5, 7, marks=pytest.mark.large),
        pytest.param("unrolled", 64, 2, marks=pytest.mark.large),
    ],
)
def test_batch_form_engine_and_workers_change_no_byte(
    form: str, batch: int, workers: int, engine: str, folder: Path, data: str, tmp_path: Path, whole: tuple[Any, bytes]
) -> None:
    model = runtime.load(folder / f"{form}.onnx", engine)
    result = evaluate(model, data, batch=batch, workers=workers, out=tmp_path)
    assert (tmp_path / "predictions.csv").read_bytes() == whole[1]
    assert result.predictions == whole[0].predictions and result.confusion == whole[0].confusion


def test_without_a_part_that_hears_it_the_loop_gives_the_same_bytes(
    folder: Path, data: str, tmp_path: Path, whole: tuple[Any, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in find_observers("workers"):
        monkeypatch.delitem(find_parts("observers"), part.name)
    told: list[int] = []
    result = evaluate(
        runtime.load(folder / "step.onnx"), data, out=tmp_path, progress=lambda done, *_: told.append(done)
    )
    assert (tmp_path / "predictions.csv").read_bytes() == whole[1] and not (tmp_path / "shards").exists()
    assert (result.batch, result.workers, result.threads) == (16, 1, 1) and told == [*range(16, 200, 16), 200]
    assert result.confusion == whole[0].confusion and result.data_list == whole[0].data_list


def killed(folder: Path, data: str, out: Path, end: str, workers: int = 2, cluster: Sequence[str] = ()) -> int:
    """The exit code of KILLED; what it says is in said.txt."""
    program = folder / "killed.py"
    program.write_text(KILLED)
    command = [sys.executable, str(program), str(folder / "step.onnx"), data, str(out), end, str(workers), *cluster]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with open(folder / "said.txt", "w") as said:
        return subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=said, timeout=500).returncode


def test_a_worker_that_is_killed_costs_nothing_but_time(folder: Path, data: str, tmp_path: Path, whole: Any) -> None:
    assert killed(folder, data, tmp_path, "live") == 0
    said = (folder / "said.txt").read_text()
    assert re.search(r"a worker died at samples \d+ to \d+, which are done again \(exit code -9\)", said), said
    assert (tmp_path / "predictions.csv").read_bytes() == whole[1]


def test_a_run_that_was_killed_goes_on_and_ends_in_the_same_bytes(
    folder: Path, data: str, tmp_path: Path, whole: tuple[Any, bytes]
) -> None:
    assert killed(folder, data, tmp_path, "die") == -signal.SIGKILL
    done = list((tmp_path / "shards").glob("*.jsonl"))
    assert 0 < len(done) < 4 and not (tmp_path / "predictions.csv").exists()
    before = {path: path.read_bytes() for path in done}
    model = runtime.load(folder / "step.onnx")
    with pytest.raises(PlifError, match="not finished; go on with --resume"):
        evaluate(model, data, out=tmp_path)
    with pytest.raises(PlifError, match="samples 200, not 50"):
        evaluate(model, data, out=tmp_path, limit=50, resume=True)
    with pytest.raises(PlifError, match="batch 8, not 3"):
        evaluate(model, data, out=tmp_path, batch=3, resume=True)
    with pytest.raises(PlifError, match="artifact_sha256"):
        evaluate(runtime.load(folder / "unrolled.onnx"), data, out=tmp_path, resume=True)
    result = evaluate(model, data, out=tmp_path, resume=True)
    assert (tmp_path / "predictions.csv").read_bytes() == whole[1]
    assert result.batch == 8 and result.predictions == whole[0].predictions
    assert all(path.read_bytes() == content for path, content in before.items()), "what was done was not done again"


@pytest.mark.machines
@pytest.mark.parametrize(
    ("workers", "end"),
    [
        (2, "live"),
        pytest.param(1, "live", marks=pytest.mark.large),
        pytest.param(7, "live", marks=pytest.mark.large),
        pytest.param(2, "die", marks=pytest.mark.large),
    ],
)
def test_a_cluster_that_loses_a_worker_or_its_driver_gives_the_same_bytes(
    workers: int, end: str, folder: Path, data: str, tmp_path: Path, whole: tuple[Any, bytes]
) -> None:
    pytest.importorskip("ray", reason="clusters need Ray")
    assert killed(folder, data, tmp_path, end, workers, ["local"]) == (0 if end == "live" else -signal.SIGKILL)
    if end == "die":
        done = len(list((tmp_path / "shards").glob("*.jsonl")))
        assert 0 < done < 4 and not (tmp_path / "predictions.csv").exists()
        evaluate(runtime.load(folder / "step.onnx"), data, out=tmp_path, resume=True)
    assert (tmp_path / "predictions.csv").read_bytes() == whole[1]


def test_an_address_without_a_cluster_is_one_line(folder: Path, data: str, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="clusters need Ray")
    model = runtime.load(folder / "step.onnx")
    for address in ("127.0.0.1:1", "nonsense", "ray://127.0.0.1:1"):
        with pytest.raises(PlifError, match=f"--cluster {address}: no Ray cluster answers there"):
            evaluate(model, data, cluster=address, out=tmp_path / "out")
    assert not list((tmp_path / "out").iterdir()), "the next command begins without --resume"
    assert "RAY_AUTH_MODE" not in os.environ
    with pytest.raises(PlifError, match="that all machines share"):
        evaluate(model, data, cluster="127.0.0.1:1")


def test_a_damaged_shard_is_done_again(folder: Path, data: str, tmp_path: Path, whole: tuple[Any, bytes]) -> None:
    model = runtime.load(folder / "step.onnx")
    evaluate(model, data, out=tmp_path)
    shard = tmp_path / "shards" / "000002.jsonl"
    shard.write_bytes(shard.read_bytes()[:-40])
    result = evaluate(model, data, out=tmp_path, resume=True)
    assert (tmp_path / "predictions.csv").read_bytes() == whole[1] and result.samples == SAMPLES


def test_the_hash_of_the_data_does_not_know_where_they_lie(
    folder: Path, data: str, whole: Any, monkeypatch: Any
) -> None:
    monkeypatch.chdir(folder)
    model = runtime.load("step.onnx")
    for place in ("nmnist:nmnist", "nmnist:./nmnist/"):
        assert evaluate(model, place, batch=16).data_list == whole[0].data_list


@pytest.fixture
def heard() -> Iterator[None]:
    """Ctrl-C is heard, also where the tests are a background job, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_says_what_is_known_and_keeps_it(
    folder: Path, data: str, tmp_path: Path, whole: Any, heard: None
) -> None:
    def progress(done: int, total: int, note: str) -> None:
        if done >= 100:
            signal.raise_signal(signal.SIGINT)

    model = runtime.load(folder / "step.onnx")
    for place, kept in ((None, "nothing is kept"), (tmp_path, "go on with --resume")):
        with pytest.raises(Interrupted, match=rf"^112 of 200 samples are done, accuracy .* %.*{kept}") as caught:
            evaluate(model, data, out=place, batch=16, progress=progress)
        assert caught.value.exit_code == 130
    evaluate(model, data, out=tmp_path, resume=True)
    assert (tmp_path / "predictions.csv").read_bytes() == whole[1]


def test_what_is_wrong_in_a_worker_is_said_here(folder: Path, data: str) -> None:
    model = runtime.load(folder / "step.onnx")
    changed = folder / "changed.onnx"
    changed.write_bytes((folder / "step.onnx").read_bytes())
    opened = runtime.load(changed)
    changed.write_bytes(b"no artifact any more")
    with pytest.raises(PlifError, match=r"changed\.onnx"):
        evaluate(opened, data, workers=2)
    with pytest.raises(PlifError, match="expected 1 or more"):
        evaluate(model, data, workers=0)


def test_one_recording_that_cannot_be_read_is_named_and_the_others_count(
    folder: Path, tmp_path: Path, capsys: Any
) -> None:
    place = tmp_path / "nmnist" / "Test"
    for i in range(20):
        (place / str(i % 10)).mkdir(parents=True, exist_ok=True)
        (place / str(i % 10) / f"{i}.bin").hardlink_to(folder / "nmnist" / "Test" / str(i % 10) / f"{i}.bin")
    bad = place / "3" / "13.bin"
    bad.unlink()
    bad.write_bytes(b"")
    out = tmp_path / "out"
    command = ["eval", str(folder / "step.onnx"), "--data", f"nmnist:{tmp_path / 'nmnist'}", "--out", str(out)]
    assert run([*command, "--json"]) == 2
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found["samples"] == 19 and found["unreadable"]["samples"] == 1 and found["predictions"][13] == -1
    assert found["unreadable"]["first"][0]["path"] == str(bad) and sum(map(sum, found["confusion"])) == 19
    lines = printed.err.splitlines()
    assert sum("error" in line for line in lines) == 1 and "1 of 20 recordings could not be read" in printed.err
    row = (out / "predictions.csv").read_text().splitlines()[14]
    assert row.startswith(f"13,{bad},3,,,") and "the file is empty" in row
    (place / "7" / "7.bin").unlink()
    (place / "7" / "17.bin").unlink()
    with pytest.warns(PlifWarning, match="no samples of class 7"):
        evaluate(runtime.load(folder / "step.onnx"), f"nmnist:{tmp_path / 'nmnist'}")
    for path in place.rglob("*.bin"):
        path.unlink()
        path.write_bytes(b"")
    assert run([*command]) == 2
    assert "none of 18 recordings can be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "code", "lines"),
    [
        (["--min-accuracy", "0", "--max-p99-ms", "1e9"], 0, []),
        (["--min-accuracy", "1"], 1, ["--min-accuracy 1"]),
        (["--min-accuracy", "1", "--max-p99-ms", "1e-9"], 1, ["--min-accuracy 1", "--max-p99-ms 1e-09"]),
        (["--max-changed", "0", "--against", "SAME"], 0, []),
        (["--max-changed", "0.01", "--against", "OTHER"], 1, ["--max-changed 0.01"]),
        (["--max-changed", "0.01"], 2, ["--against FILE"]),
        (["--min-accuracy", "97"], 2, ["a share from 0 to 1"]),
        (["--max-p99-ms", "nan"], 2, ["expected 1e-09 or more"]),
    ],
)
def test_a_bar_that_is_missed_is_exit_code_1_and_a_line(
    options: list[str], code: int, lines: list[str], folder: Path, data: str, tmp_path: Path, capsys: Any
) -> None:
    places = {"SAME": str(folder / "unrolled.onnx"), "OTHER": str(tmp_path / "other.onnx")}
    if "OTHER" in options:
        export(digits_network("count:T=8", seed=5), tmp_path / "other.onnx", verify=False)
    command = ["eval", str(folder / "step.onnx"), "--data", data, "--limit", "40", "--json"]
    assert run([*command, *(places.get(option, option) for option in options)]) == code
    printed = capsys.readouterr()
    said = [line for line in printed.err.splitlines() if line.startswith("plif: error: ")]
    assert len(said) == len(lines) and all(part in line for part, line in zip(lines, said, strict=True))
    assert bool(printed.out) == (code != 2), "the numbers are printed also where a bar is missed"
