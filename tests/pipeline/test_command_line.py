"""The command line: one clear line for what goes wrong, the right exit code, nothing half-written."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import plif_train
from plif_export import export
from runtime import native
from runtime.core.cli.main import run
from runtime.core.events import write_nmnist
from runtime.datasets.digits.drawing import draw_digit
from runtime.datasets.digits.saccades import record_digit
from tests.conftest import interruptible
from tests.networks import digits_network

PLIF = [sys.executable, "-c", "from runtime.core.cli.main import main; main()"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    plif_train.save(digits_network("count:T=8"), folder / "model.pt")
    export(folder / "model.pt", verify=False)
    export(folder / "model.pt", form="unrolled", verify=False)
    rng = np.random.default_rng(0)
    write_nmnist(folder / "seven.bin", record_digit(draw_digit(7, rng), rng))
    (folder / "text.onnx").write_text("this is not a model\n")
    (folder / "empty.onnx").write_bytes(b"")
    (folder / "cut.onnx").write_bytes((folder / "model.onnx").read_bytes()[:5000])
    (folder / "cut.pt").write_bytes((folder / "model.pt").read_bytes()[:5000])
    return folder


class Bomb:
    """Runs code when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["info", "missing.onnx"], "missing.onnx: no such file"),
        (["info", "https://host/m.onnx"], "host/m.onnx: an address, and plif downloads nothing: fetch the file first"),
        (["predict", "model.onnx", "hf://host/r.bin"], "an address, and plif downloads nothing"),
        (["stream", "model.onnx", "https://host/r.aedat"], "an address, and plif downloads nothing"),
        (["info", "."], "is a folder"),
        (["info", "text.onnx"], "is not an ONNX file"),
        (["info", "empty.onnx"], "is empty"),
        (["info", "cut.onnx"], "not an ONNX file, or was cut short"),
        (["info", "cut.pt"], "it was cut short"),
        (["export", "missing.pt"], "missing.pt: no such file"),
        (["export", "model.onnx"], "is an exported artifact, not a model"),
        (["export", "model.pt", "--form", "both"], "--form both"),
        (["export", "model.pt", "--T", "many"], "--T"),
        (["export", "model.pt", "-o", "nowhere/m.onnx"], "its folder does not exist"),
        (["export", "model.pt", "--precision", "int3"], "--precision int3"),
        (["verify", "model.onnx", "--against", "missing.pt"], "missing.pt"),
        (["verify", "model.onnx"], "against"),
        (["eval", "model.onnx", "--data", "nmnist:nowhere"], "nowhere"),
        (["eval", "model.onnx", "--data", "nmnist:~/nowhere"], str(Path("~/nowhere").expanduser())),
        (["eval", "model.onnx", "--data", "mnits:x"], "did you mean 'mnist'"),
        (["eval", "text.onnx", "--data", "digits"], "is not an ONNX file"),
        (["eval", "model.onnx", "--data", "digits", "--engine", "warp"], "engine 'warp' is not known"),
        (["stream", "model.onnx", "missing.bin"], "missing.bin"),
        (["stream", "model_T8.onnx", "seven.bin"], "use the step form"),
        (["stream", "model.onnx", "seven.bin", "--framing", "count:T=0"], "T=0"),
        (["stream", "model.onnx", "seven.bin", "--decide", "coin"], "--decide coin"),
        (["stream", "model.onnx", "seven.bin", "--reset", "sometimes"], "--reset sometimes"),
        (["stream", "model.onnx", "seven.bin", "--sensor", "big"], "--sensor big"),
        (["stream", "model.onnx", "seven.bin", "--sensor", "²x²"], "--sensor ²x²: expected WIDTHxHEIGHT"),
        (["stream", "model.onnx", "seven.bin", "--sensor", "9" * 5000 + "x3"], "expected WIDTHxHEIGHT"),
        (["stream", "model.onnx", "seven.bin", "--sensor", "65537x3"], "with both from 1 to 65536"),
        (["stream", "model.onnx", "seven.bin", "--decide", "leak:" + "9" * 400 + "s"], "is not a time"),
        (["stream", "model.onnx", "seven.bin", "--filter", "hot:"], "expected hot, hot:2s or hot:FILE"),
        (["stream", "model.onnx", "sim:digits?seed=" + "9" * 5000], "expected a whole number"),
        (["send", "seven.bin", "udp://127.0.0.1:7777?sensor=²x3"], "expected WIDTHxHEIGHT"),
        (["send", "seven.bin", "udp://127.0.0.1:7777", "--speed", "²"], "--speed ²: expected real, max or"),
        (["send", "seven.bin", "udp://127.0.0.1:7777", "--speed", "9" * 5000], "expected real, max or"),
        (["stream", "model.onnx", "model.pt"], "model.pt"),
        (["stream", "model.onnx", "-", "--sensor", "34x34"], "cannot serve a live source"),
        (["frobnicate"], "frobnicate"),
        (["info", "--colour"], "--colour"),
        (["data", "mnist", "--root", "nowhere"], "nowhere"),
        (["train", "c8k3", "--data", "digits"], "character"),
    ],
)
def test_what_goes_wrong_is_one_line_and_exit_code_2(
    folder: Path, arguments: list[str], says: str, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.chdir(folder)
    before = sorted(path.name for path in folder.iterdir())
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert says in err and err.startswith("plif: error: ") and err.count("\n") == 1, err
    assert "Traceback" not in err and out == ""
    assert sorted(path.name for path in folder.iterdir()) == before


@pytest.mark.parametrize(
    "command", (["info"], ["export"], ["eval", "--data", "digits"], ["verify", "--against", "x.pt"])
)
def test_a_pickle_with_code_in_it_is_refused_and_the_code_does_not_run(
    tmp_path: Path, command: list[str], capsys: Any
) -> None:
    import torch

    marker = tmp_path / "it-ran"
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(Bomb(marker)))
    torch.save({"card": "{}", "weights": Bomb(marker)}, tmp_path / "zip.pt")
    for name in ("bare.pt", "zip.pt"):
        assert run([command[0], str(tmp_path / name), *command[1:]]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and name in err
        assert not marker.exists()


def test_export_prints_what_to_type_next_and_json_is_json(folder: Path, tmp_path: Path, capsys: Any) -> None:
    target = tmp_path / "m.onnx"
    assert run(["export", str(folder / "model.pt"), "-o", str(target)]) == 0
    out = capsys.readouterr().out
    assert "parity passed" in out and f"plif stream {target}" in out
    assert run(["export", str(folder / "model.pt"), "-o", str(target), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert set(document) == {"path", "sha256", "bytes", "seconds", "verify"}
    assert document["verify"]["passed"] is True and document["bytes"] == target.stat().st_size


def test_verify_eval_and_info_give_the_json_of_the_contract(folder: Path, capsys: Any) -> None:
    artifact, model = str(folder / "model.onnx"), str(folder / "model.pt")
    assert run(["verify", artifact, "--against", model, "--json"]) == 0
    verified = json.loads(capsys.readouterr().out)
    keys = {"passed", "steps", "spikes", "spike_mismatches", "excused", "max_abs_dv", "decisions", "decisions_changed"}
    assert keys | {"first_divergence", "untested", "layers"} <= set(verified)
    assert {"name", "rate", "mismatches", "excused", "max_abs_dv"} <= set(verified["layers"][0])
    assert run(["verify", artifact, "--against", model, "--data", "digits:2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 8
    for file in (artifact, model):
        assert run(["eval", file, "--data", "digits:20", "--json"]) == 0
        evaluated = json.loads(capsys.readouterr().out)
        keys = {"accuracy", "samples", "correct", "T", "engine", "latency_ms", "throughput_per_s", "firing_rates"}
        assert keys | {"confusion", "classes"} <= set(evaluated)
        assert set(evaluated["latency_ms"]) == {"p50", "p99"} and evaluated["samples"] == 20
    assert run(["info", artifact, "--json"]) == 0
    card = json.loads(capsys.readouterr().out)
    keys = {"format", "notation", "input", "T", "classes", "form", "precision", "math", "states", "taus", "v_threshold"}
    assert keys | {"v_reset", "framing", "source_sha256", "parity", "versions"} <= set(card)
    assert run(["info", "--json"]) == 0
    assert "engines" in json.loads(capsys.readouterr().out)


def test_stream_prints_one_json_object_a_line_and_the_account_last(folder: Path, capsys: Any) -> None:
    assert run(["stream", str(folder / "model.onnx"), str(folder / "seven.bin"), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"t_us", "step", "label", "soft", "index", "score", "votes", "latency_ms"} <= set(
        lines[0]
    ) and "source" not in lines[0]
    assert [line["step"] for line in lines[:-1]] == list(range(8))
    summary = lines[-1]["summary"]
    assert summary["events_in"] == summary["events_used"] > 1000 and summary["frames"] == summary["decisions"] == 8
    assert run(["stream", str(folder / "model.onnx"), "sim:digits?seed=1&seconds=1"]) == 0
    assert "answer" in capsys.readouterr().out


def test_bench_puts_artifacts_and_the_original_side_by_side(folder: Path, capsys: Any) -> None:
    files = [str(folder / "model.onnx"), str(folder / "model.pt")]
    assert run(["bench", *files, "--seconds", "0.1", "--streams", "2", "--threads", "1", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    fastest = "event" if native.is_built() else "onnxruntime"
    assert [(row["artifact"], row["engine"]) for row in rows] == [("model.onnx", fastest), ("model.pt", "torch")]
    keys = {"artifact", "engine", "precision", "streams", "threads", "p50_ms", "p99_ms", "steps_per_s"}
    assert keys | {"after_silence_p50_ms", "spike_mismatches", "rss_mb"} <= set(rows[0])
    assert all(0 < row["p50_ms"] <= row["p99_ms"] and row["streams"] == 2 for row in rows)
    assert rows[0]["firing_rates"] == pytest.approx(rows[1]["firing_rates"])
    assert run(["bench", *files, "--seconds", "0.1", "--threads", "1"]) == 0
    assert run(["bench", str(folder / "model_T8.onnx")]) == 2


def test_events_come_through_a_pipe(folder: Path) -> None:
    rng = np.random.default_rng(1)
    events = record_digit(draw_digit(3, rng), rng)
    rows = "t,x,y,p\n" + "".join(f"{e['t']},{e['x']},{e['y']},{int(e['p'])}\n" for e in events)
    command = [*PLIF, "stream", "model.onnx", "-", "--sensor", "34x34", "--framing", "duration:20ms", "--json"]
    done = subprocess.run(command, cwd=folder, input=rows, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["summary"]["events_used"] == len(events)


def test_eval_writes_its_results_into_a_folder(folder: Path, tmp_path: Path, capsys: Any) -> None:
    assert run(["eval", str(folder / "model.onnx"), "--data", "digits:20", "--out", str(tmp_path / "run")]) == 0
    assert {"metrics.json", "predictions.csv"} <= {path.name for path in (tmp_path / "run").iterdir()}
    assert len((tmp_path / "run" / "predictions.csv").read_text().splitlines()) == 21


def test_ctrl_c_ends_a_stream_with_its_account_and_exit_code_130(folder: Path) -> None:
    command = [
        *PLIF,
        "stream",
        "model.onnx",
        "sim:digits?seconds=60",
        "--speed",
        "real",
        "--framing",
        "duration:20ms",
        "--json",
    ]
    process = interruptible(command, cwd=folder)
    assert process.stdout is not None
    process.stdout.readline()  # it streams
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "plif: interrupted"
    assert "summary" in json.loads(out.splitlines()[-1])


@pytest.mark.one_in(2)
@pytest.mark.parametrize("how", (signal.SIGINT, signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.large)))
def test_a_signal_during_an_export_leaves_nothing_half_written_and_is_said(
    how: signal.Signals, folder: Path, tmp_path: Path
) -> None:
    program = (
        "import sys, time\n"
        "from plif_export.core import pipeline\n"
        "from runtime.core.cli.main import main\n"
        "prove = pipeline.prove\n"
        "def takes_long(*arguments, **options):\n"  # asleep: in a destructor of the engine Python would lose the interrupt
        "    report = prove(*arguments, **options)\n"
        "    print('proving', file=sys.__stdout__, flush=True)\n"
        "    time.sleep(100)\n"
        "    return report\n"
        "pipeline.prove = takes_long\n"
        "main()"
    )
    options = ["export", str(folder / "model.pt"), "-o", str(tmp_path / "m.onnx"), "--form", "unrolled"]
    process = interruptible([sys.executable, "-c", program, *options])
    assert process.stdout is not None and process.stdout.readline() == "proving\n"
    process.send_signal(how)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 128 + how and err.splitlines()[-1] == "plif: interrupted" and "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_version_and_help_need_nothing(capsys: Any) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("plif ")
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(
        command in text for command in ("train", "export", "verify", "eval", "stream", "bench", "info", "data", "demo")
    )
    assert run(["info", "--help"]) == 0 and capsys.readouterr().out.startswith("Usage: plif info ")


def test_the_command_is_a_module_too_as_launchers_want_it() -> None:
    done = subprocess.run([sys.executable, "-m", "runtime.core.cli", "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("plif ") and done.stderr == ""


def test_a_mistyped_command_is_named_and_the_nearest_one_offered(capsys: Any) -> None:
    assert run(["strem", "model.onnx"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("plif: error: No such command 'strem'.") and err.count("\n") == 1
    assert "Did you mean 'stream'?" in err
