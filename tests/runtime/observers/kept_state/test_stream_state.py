"""--state: a stream that ends is gone on with in another process, and decides as if it had never ended."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runtime
from runtime.core.api import Model
from runtime.core.base.errors import PlifError
from runtime.core.cli.main import run
from runtime.core.events import make_events
from runtime.observers.event_filters import FILTERS
from runtime.sources.push import PushSource
from tests.live import FedSource, balanced

N = 6000
RULES: list[dict[str, Any]] = [
    {"framing": "duration:7ms"},
    {"framing": "events:n=130,max=5ms", "decide": "leak:40ms,margin=0.1,release=0.05,idle=2k", "reset": "silence:20"},
    {"framing": "duration:5ms,value=binary", "decide": "kofn:2/7", "reset": "every:12/3"},
    {"framing": "duration:20ms,every=5ms", "decide": "leak:40ms"},
    {"framing": "duration:5ms", "decide": "sum,exit=0.2", "reset": "every:12"},
    {"framing": "duration:5ms", "decide": "own:40ms,margin=0.1,release=0.05,other=30ms,idle=auto"},
    {
        "framing": "events:n=200,max=9ms",
        "filters": "hot:50ms,refractory:1ms,background:4ms",
        "decide": "leak:80ms",
        "reset": "decay:50ms",
    },
]
OTHER_PROCESS = """
import json, sys, runtime
artifact, recording, state, rules = sys.argv[1:]
running = runtime.load(artifact, "onnxruntime").stream(recording, sensor=(34, 34), state=state, **json.loads(rules))
print(json.dumps([decision.to_dict() | {"latency_ms": 0} for decision in running]))
"""


@pytest.fixture(scope="module")
def model(digits_onnx: Path) -> Model:
    return runtime.load(digits_onnx, "onnxruntime")


@pytest.fixture(scope="module")
def events() -> np.ndarray:
    """300 ms of blobs that come and go, one hot pixel, and 40 ms of nothing."""
    rng = np.random.default_rng(3)
    t = np.sort(rng.integers(0, 300_000, N))
    t[t > 200_000] += 40_000
    x, y = (np.clip(rng.normal(17 + 8 * np.sin(t / 40_000 + a), 4, N), 0, 33).astype(int) for a in (0, 1.5))
    hot = rng.random(N) < 0.1
    return make_events(t, np.where(hot, 5, x), np.where(hot, 6, y), rng.random(N) < 0.5)


def csv(path: Path, events: np.ndarray) -> Path:
    np.savetxt(
        path, np.stack([events[name].astype(int) for name in "txyp"], 1), "%d", ",", header="t,x,y,p", comments=""
    )
    return path


def said(decisions: Any) -> list[dict[str, Any]]:
    return [decision.to_dict() | {"latency_ms": 0} for decision in decisions]


@pytest.mark.one_in(4)
@pytest.mark.parametrize("rules", RULES, ids=range(len(RULES)))
def test_another_process_goes_on_within_a_frame(
    model: Model, events: np.ndarray, rules: dict[str, Any], tmp_path: Path
) -> None:
    whole = said(model.stream(str(csv(tmp_path / "whole.csv", events)), sensor=(34, 34), **rules))
    assert len(whole) > 20 and len({one["label"] for one in whole}) > 1
    state, found, cuts = tmp_path / "state.npz", [], (0, 700, 701, 2900, N)
    for i, (begin, end) in enumerate(pairwise(cuts)):
        part = csv(tmp_path / f"{i}.csv", events[begin:end])
        if i == 2:
            arguments = [str(model.path), str(part), str(state), json.dumps(rules)]
            done = subprocess.run([sys.executable, "-c", OTHER_PROCESS, *arguments], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            found += json.loads(done.stdout)
            continue
        running = model.stream(str(part), sensor=(34, 34), state=str(state), **rules)
        found += said(running)
        assert balanced(running.summary()) and running.summary()["events_dropped"] == 0
    rest = model.stream(str(csv(tmp_path / "last.csv", events[-1:])), sensor=(34, 34), state=str(state), **rules)
    assert found == whole[: len(found)] and len(whole) - len(found) <= 1, "only the frame that is still open is missing"
    assert rest.streams[0].steps == len(found)
    rest.close()


def test_two_streams_side_by_side_go_on(model: Model, events: np.ndarray, tmp_path: Path) -> None:
    a, b = csv(tmp_path / "a.csv", events), csv(tmp_path / "b.csv", events[::2])
    options: dict[str, Any] = {"framing": "duration:7ms", "sensor": (34, 34)}
    whole = [d.votes for d in model.stream([str(a), str(b)], **options)]
    halves = [str(csv(tmp_path / f"{n}.csv", e)) for n, e in (("a1", events[:3000]), ("b1", events[:3000:2]))]
    others = [str(csv(tmp_path / f"{n}.csv", e)) for n, e in (("a2", events[3000:]), ("b2", events[3000::2]))]
    options["state"] = str(tmp_path / "s.npz")
    found = [d.votes for part in (halves, others) for d in model.stream(part, **options)]
    assert found == whole[: len(found)] and len(whole) - len(found) <= 2


def test_a_live_stream_that_is_told_to_end_leaves_its_state(model: Model, events: np.ndarray, tmp_path: Path) -> None:
    state, votes = tmp_path / "s.npz", []
    options = {"framing": "duration:10ms", "decide": "sum", "reset": "never", "overload": "merge:1000"}
    for part in (events[:3000], events[3000:]):
        source = PushSource(34, 34)
        running = model.stream(source, state=str(state), **options)
        assert running.streams[0].steps == len(votes)
        source.push(part)
        for decision in running:
            votes.append(decision.votes)
            if decision.t_us + 10_000 > int(part["t"][-1]):
                running.controls.end()
        assert balanced(running.summary())
    whole = [d.votes for d in model.stream(FedSource([events]), **options)]
    assert votes == whole[: len(votes)] and len(votes) > 25


def test_a_recording_that_was_not_read_to_its_end_leaves_the_file_as_it_was(
    model: Model, events: np.ndarray, tmp_path: Path
) -> None:
    path, state = str(csv(tmp_path / "a.csv", events)), tmp_path / "s.npz"
    for end in ("controls", "close"):
        running = model.stream(path, framing="duration:7ms", sensor=(34, 34), state=str(state))
        for decision in running:
            if decision.step == 5:
                running.controls.end() if end == "controls" else running.close()
                break
        list(running) if end == "none" else running.close()
        assert not state.exists()


@pytest.fixture(scope="module")
def kept(model: Model, events: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("state")
    recording, state = csv(folder / "a.csv", events[:1000]), folder / "s.npz"
    list(model.stream(str(recording), framing="duration:7ms", sensor=(34, 34), state=str(state)))
    return recording, state


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"framing": "duration:8ms"}, "of a stream with another --framing"),
        ({"decide": "leak:3ms"}, "of a stream with another --decide"),
        ({"reset": "never"}, "of a stream with another --reset"),
        ({"filters": "swap"}, "of a stream with another --filter"),
        ({"sensor": (40, 34)}, "of other sources: the sensors differ"),
        ({"framing": "count:T=8"}, "divides a whole recording"),
        ({"framing": "duration:7ms,T=9"}, "divides a whole recording"),
        ({"reset": "every:9/3"}, "of a stream with another --reset"),
    ],
)
def test_a_state_of_another_stream_is_refused(
    model: Model, kept: tuple[Path, Path], options: dict[str, Any], says: str
) -> None:
    given = {"framing": "duration:7ms", "sensor": (34, 34), "state": str(kept[1]), **options}
    with pytest.raises(PlifError, match=says):
        model.stream(str(kept[0]), **given)


def changed(state: Path, to: Path, name: str, value: Any) -> Path:
    with zipfile.ZipFile(state) as old, zipfile.ZipFile(to, "w") as new:
        for info in old.infolist():
            data = old.read(info)
            if info.filename == name:
                array = np.frombuffer(data[128:], np.uint8 if data[10:128].find(b"u1") > 0 else np.int64).copy()
                array[: len(value)] = value
                data = data[:128] + array.tobytes()
            new.writestr(zipfile.ZipInfo(info.filename), data)
    return to


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("0.steps.npy", [-1]),
        ("0.steps.npy", [np.iinfo(np.int64).max]),
        ("0.frames.npy", [0] * 8),  # what these are is C's to judge: tests/runtime/core/test_libplif_limits.py
        ("session.steps.npy", [np.iinfo(np.int64).max]),
        ("session.steps.npy", [-1]),
        ("0.rules.npy", [0] * 8),
    ],
)
def test_an_edited_state_is_one_line(
    model: Model, kept: tuple[Path, Path], name: str, value: list[Any], tmp_path: Path
) -> None:
    state = changed(kept[1], tmp_path / "s.npz", name, value)
    with pytest.raises(PlifError) as error:
        model.stream(str(kept[0]), framing="duration:7ms", sensor=(34, 34), state=str(state))
    assert str(error.value).isprintable()


def test_what_filters_remember_is_one_line_where_it_was_edited(
    model: Model, events: np.ndarray, tmp_path: Path
) -> None:
    recording = csv(tmp_path / "a.csv", events[:1000])
    options: dict[str, Any] = {"framing": "duration:7ms", "sensor": (34, 34), "filters": "refractory:1ms,hot"}
    list(model.stream(str(recording), state=str(tmp_path / "a.npz"), **options))
    state = changed(tmp_path / "a.npz", tmp_path / "b.npz", "0.filters.npy", [255] * 8)
    with pytest.raises(
        PlifError, match="holds a state that no stream has"
    ) as error:  # which: tests/runtime/observers/event_filters/test_filters.py
        model.stream(str(recording), state=str(state), **options)
    assert str(error.value).isprintable()


def test_what_a_filter_of_ones_own_remembers_is_in_no_state(
    model: Model, events: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Own:
        sensor, notes = (34, 34), list[str]()

        def __call__(self, events: np.ndarray) -> tuple[np.ndarray, None]:
            return events, None

    monkeypatch.setitem(FILTERS, "own", lambda argument, sensor: Own())
    recording = csv(tmp_path / "a.csv", events[:1000])
    options: dict[str, Any] = {"framing": "duration:7ms", "sensor": (34, 34), "filters": "own,hot:5ms"}
    assert len(list(model.stream(str(recording), **options))) > 3
    with pytest.raises(PlifError, match=r"s.npz: what a filter of your own remembers is not in such a file"):
        model.stream(str(recording), state=str(tmp_path / "s.npz"), **options)


def test_the_command_line_goes_on_and_refuses_in_one_line(
    model: Model, events: np.ndarray, tmp_path: Path, capsys: Any
) -> None:
    ends = []
    for i, part in enumerate((events[:3000], events[3000:])):
        path = csv(tmp_path / f"{i}.csv", part)
        command = ["stream", str(model.path), str(path), "--sensor", "34x34", "--framing", "duration:7ms", "--json"]
        assert run([*command, "--engine", "onnxruntime", "--state", str(tmp_path / "s.npz")]) == 0
        ends.append([json.loads(line) for line in capsys.readouterr().out.splitlines()])
    assert ends[1][0]["step"] == ends[0][-2]["step"] + 1 and ends[1][-1]["summary"]["frames"] == len(ends[1]) - 1
    assert run([*command, "--state", str(tmp_path / "s.npz"), "--record", str(tmp_path / "r")]) == 2
    assert "use one of them" in capsys.readouterr().err
    (tmp_path / "s.npz").write_bytes(b"PK")
    assert run([*command, "--state", str(tmp_path / "s.npz")]) == 0  # from the state before it, and says so
    assert "goes on from" in capsys.readouterr().err
    (tmp_path / "s.npz").write_bytes(b"PK")
    (tmp_path / "s.npz.last").unlink()
    assert run([*command, "--state", str(tmp_path / "s.npz")]) == 2
    err = capsys.readouterr().err
    assert "s.npz: is no state of a stream of plif" in err and err.count("\n") == 1
