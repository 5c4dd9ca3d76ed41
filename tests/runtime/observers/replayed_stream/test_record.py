"""--record and its replay: the same decisions, bit for bit, whatever the live moment was like; readable after kill -9."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runtime
from plif_export import export
from runtime.core.api import Model
from runtime.core.base.errors import PlifError, PlifWarning
from runtime.core.cli.main import run
from runtime.core.events import Framing, Source, events_sha256, make_events, open_source, read_events
from runtime.core.stream.decide import Decision
from runtime.core.stream.observe import Observer
from runtime.core.stream.source_framer import SourceFramer
from runtime.formats.aedat31 import make_header, write_packets
from runtime.observers.replayed_stream.recorder import Recorder
from runtime.observers.replayed_stream.recording import RecordedRun
from runtime.observers.replayed_stream.replay import RecordedSource
from tests.live import free_port, said
from tests.networks import digits_network

PLIF = [sys.executable, "-c", "from runtime.core.cli.main import main; main()"]
SIM = "sim:digits?seed=3&seconds=2"


def random_net(framing: str, seed: int = 0) -> Any:
    return digits_network(framing, T=20, seed=seed)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("record")
    for name, framing in (("m", "duration:20ms"), ("n", "events:n=300,max=20ms"), ("c", "count:T=20")):
        export(random_net(framing), folder / f"{name}.onnx", verify=False)
    export(random_net("duration:20ms", seed=5), folder / "other.onnx", verify=False)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return runtime.load(folder / "m.onnx", threads=1)


@pytest.fixture(scope="module")
def recording(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("short") / "r"
    recorded(model, place, "sim:digits?seconds=0.5")
    return place


def recorded(
    model: Model, place: Path, source: Any = SIM, observers: tuple[Observer, ...] = (), **options: Any
) -> list[Any]:
    with Recorder(place) as recorder:
        return said(model.stream(source, observers=[recorder, *observers], **options))


def replayed(model: Model, place: Path, **options: Any) -> list[Any]:
    return said(model.stream(str(place), **options))


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", ("m", "n", "c"))
@pytest.mark.parametrize(
    "options",
    (
        {},
        {"decide": "sum", "reset": "recording"},
        {"decide": "leak:80ms,margin=0.1,idle=2000", "reset": "silence:60"},
        {"decide": "kofn:2/4", "reset": "every:6/3", "filters": "hot,background:5ms,flip:x"},
        {"framing": "duration:7ms,value=binary", "decide": "sum", "reset": "decay:100ms"},
    ),
)
def test_a_recording_gives_the_same_decisions_with_no_option_said_again(
    folder: Path, tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    if name == "c" and any(word in str(options) for word in ("idle", "decay")):
        options = {"decide": "leak:80ms"}
    model = runtime.load(folder / f"{name}.onnx", threads=1)
    first = recorded(model, tmp_path / "r", **options)
    answers = {index for _, _, _, index, *_ in first}
    assert len(first) > 15 and (len(answers) > 1 or not options)  # by default a random network is never sure
    assert replayed(model, tmp_path / "r") == first
    assert replayed(model, tmp_path / "r") == first, "and again"


def test_the_events_are_in_it_exactly_and_readable_by_themselves(model: Model, tmp_path: Path) -> None:
    recorded(model, tmp_path / "r", decide="sum", reset="recording")
    original = np.concatenate(list(open_source(SIM).packets()))
    events = read_events(tmp_path / "r" / "events.aedat")
    assert events_sha256(events) == events_sha256(original)
    source = open_source(str(tmp_path / "r" / "events.aedat"))
    assert source.sensor == (34, 34) and source.format == "aedat31"
    assert said(model.stream(str(tmp_path / "r" / "events.aedat"))) == replayed(model, tmp_path / "r")


class Uneven(Observer):
    """A network that does not keep up, now and then."""

    def __init__(self) -> None:
        self.merged = self.skipped = 0

    def on_frame(self, source: str, frame: Any, y: np.ndarray, rates: dict[str, float], latency_ms: float) -> None:
        self.merged += frame.merged - 1
        self.skipped += frame.skipped
        if frame.t_end_us // 20_000 % 40 > 20:
            time.sleep(0.05)


@pytest.mark.parametrize("overload", ("merge:3", "drop:3"))
def test_what_an_overload_merged_or_dropped_is_replayed_as_the_network_saw_it(
    model: Model, tmp_path: Path, overload: str
) -> None:
    slow = Uneven()
    first = recorded(model, tmp_path / "r", speed="real", overload=overload, decide="leak:80ms", observers=(slow,))
    assert slow.merged > 3 if overload.startswith("merge") else slow.skipped > 3, "there was an overload"
    assert replayed(model, tmp_path / "r", speed="max") == first


class Hand(Observer):
    """Somebody at the dashboard: resets, stops and starts."""

    def on_start(self, run: Any) -> None:
        self.controls = run.controls

    def on_decision(self, decision: Decision) -> None:
        if decision.step in (9, 30, 31):
            self.controls.reset()
        if decision.step == 20:
            self.controls.stop()
            threading.Timer(0.15, self.controls.start).start()


@pytest.mark.parametrize("speed", ("real", "max"))
@pytest.mark.parametrize("reset", ("recording", "every:12", "every:8/2"))
def test_resets_and_stops_of_a_person_are_replayed(model: Model, tmp_path: Path, speed: str, reset: str) -> None:
    first = recorded(model, tmp_path / "r", speed=speed, reset=reset, observers=(Hand(),))
    assert replayed(model, tmp_path / "r") == first
    lines = [json.loads(line) for line in (tmp_path / "r" / "decisions.jsonl").read_text().splitlines()]
    steps = {line["step"] for line in lines}  # a busy machine merges frames, and then there are fewer
    assert [line["step"] for line in lines if line["reset"] == "control"] == sorted({10, 31, 32} & steps) != []


class Overworked(Observer):
    """Slow all the time, and stopped for a moment while frames wait."""

    def on_start(self, run: Any) -> None:
        self.controls = run.controls

    def on_decision(self, decision: Decision) -> None:
        time.sleep(0.05)
        if decision.step in (8, 16):
            self.controls.stop()
            threading.Timer(0.15, self.controls.start).start()


class Camera(Source):
    """A live source of one's own: the simulated camera in real time, which does not wait when the stream is stopped."""

    format, sensor, live = "own", (34, 34), True

    def __init__(self) -> None:
        super().__init__("camera")

    def packets(self, max_events: int = 65536) -> Iterator[np.ndarray]:
        events = np.concatenate(list(open_source(SIM).packets()))
        began_s = time.perf_counter()
        for t_us in range(0, 2_000_000, 10_000):
            time.sleep(max(0.0, began_s + t_us / 1e6 - time.perf_counter()))
            yield events[np.searchsorted(events["t"], t_us) : np.searchsorted(events["t"], t_us + 10_000)]


def test_a_stop_in_the_middle_of_an_overload_is_replayed(model: Model, tmp_path: Path) -> None:
    first = recorded(model, tmp_path / "r", Camera(), overload="merge:3", observers=(Overworked(),))
    lines = list(RecordedRun(tmp_path / "r").decisions())
    assert max(line["merged"] for line in lines) > 1 and max(line["skipped"] for line in lines) > 0
    assert replayed(model, tmp_path / "r") == first


class Hiccup(Observer):
    """Once, a step takes as long as fifteen frames."""

    def on_decision(self, decision: Decision) -> None:
        if decision.step == 3:
            time.sleep(0.3)


@pytest.mark.parametrize("overload", ("merge:2", "drop:2"))
def test_a_replay_at_real_speed_waits_for_a_slow_machine_and_adds_no_overload(
    model: Model, tmp_path: Path, overload: str
) -> None:
    first = recorded(model, tmp_path / "r", "sim:digits?seed=3&seconds=0.5", overload=overload)
    running = model.stream(str(tmp_path / "r"), speed="real", observers=[Hiccup()])
    assert said(running) == first
    summary = running.summary()
    assert summary["frames_merged"] == summary["frames_dropped"] == summary["events_dropped"] == 0


def steps_of(model: Model, place: Path, *steps: dict[str, Any]) -> RecordedSource:
    """A recording of two seconds, in which these steps replace those that were made."""
    recorded(model, place)
    (place / "decisions.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps))
    return RecordedSource(RecordedRun(place), 0, stepped=True)


def test_however_long_a_stream_was_stopped_its_replay_takes_the_same_memory(model: Model, tmp_path: Path) -> None:
    """1900 frames of 9 kB, 17 MB if they were kept: skipped, and in one step."""
    framing, shape = Framing.parse("duration:1ms"), (2, 34, 34)
    events = np.concatenate(list(open_source(SIM).packets()))
    t = events["t"] - events["t"][0]
    source = steps_of(model, tmp_path / "r", {"skipped": 900, "merged": 1}, {"skipped": 2, "merged": 997})
    frames = SourceFramer(source, framing, shape)
    tracemalloc.start()
    try:
        first, second = frames
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 6_000_000
    assert (first.skipped, first.merged, second.skipped, second.merged) == (900, 1, 2, 997)
    assert first.events == first.x.sum() == ((t >= 900_000) & (t < 901_000)).sum()
    assert second.events == second.x.sum() == ((t >= 903_000) & (t < 1_900_000)).sum() > 1000
    assert second.t_end_us - second.t_start_us == 997_000
    assert frames.account.dropped == (t < 900_000).sum() + ((t >= 901_000) & (t < 903_000)).sum()
    assert frames.account.waiting == first.events + second.events + frames.framer.time_state.waiting


@pytest.mark.parametrize("step", ({"skipped": 10**30, "merged": 1}, {"skipped": 5, "merged": 10**30}))
def test_a_step_of_more_frames_than_there_are_ends_the_replay_and_its_events_are_dropped(
    model: Model, tmp_path: Path, step: dict[str, int]
) -> None:
    frames = SourceFramer(steps_of(model, tmp_path / "r", step), Framing.parse("duration:20ms"), (2, 34, 34))
    assert list(frames) == [] and any("the events end before" in note for note in frames.notes)
    assert frames.account.waiting == 0 and frames.account.used == 0 < frames.account.dropped


@pytest.mark.parametrize("on_return", ("hold", "reset"))
def test_a_live_udp_feed_that_was_lost_and_came_back_is_replayed(model: Model, tmp_path: Path, on_return: str) -> None:
    port = free_port()
    sending = pytest.importorskip("runtime.commands.send.recording")
    feed = f"udp://127.0.0.1:{port}?format=t64&sensor=34x34&lost=0.2s&end=0.6s"
    events = np.concatenate(list(open_source("sim:digits?seed=4&seconds=1.2").packets()))
    half = len(events) // 2
    after = events[half:].copy()
    after["t"] -= 300_000  # a camera that starts again counts anew

    def camera() -> None:
        for part in (events[:half], after):
            np.savez(tmp_path / "part.npz", t=part["t"], x=part["x"], y=part["y"], p=part["p"])
            time.sleep(0.3)
            sending.send(str(tmp_path / "part.npz"), f"udp://127.0.0.1:{port}?format=t64", sensor=(34, 34))

    sender = threading.Thread(target=camera)
    sender.start()
    first = recorded(model, tmp_path / "r", feed, on_return=on_return, decide="leak:100ms")
    sender.join()
    run_ = RecordedRun(tmp_path / "r")
    assert len(first) > 30 and run_.returns(0)[-1] == half  # and perhaps before the first event
    assert replayed(model, tmp_path / "r") == first
    assert len(read_events(tmp_path / "r" / "events.aedat")) == len(events)
    # on_return changes the frames, so the recorded steps are not applied then
    with pytest.warns(PlifWarning, match="another on_return"):
        replayed(model, tmp_path / "r", on_return="hold" if on_return == "reset" else "reset")


def test_several_cameras_are_recorded_and_replayed_together(model: Model, tmp_path: Path) -> None:
    sources = ["sim:digits?seed=1&seconds=1", "sim:digits?seed=2&seconds=1.5", "sim:digits?seed=2&seconds=1"]
    first = recorded(model, tmp_path / "r", sources)
    assert replayed(model, tmp_path / "r") == first
    assert sorted(path.name for path in (tmp_path / "r").glob("*.aedat")) == [f"events-{n}.aedat" for n in range(3)]


def test_recording_changes_no_decision(model: Model, tmp_path: Path) -> None:
    assert recorded(model, tmp_path / "r") == said(model.stream(SIM))


def test_another_artifact_or_framing_streams_the_events_afresh_and_says_so(
    folder: Path, model: Model, tmp_path: Path
) -> None:
    recorded(model, tmp_path / "r")
    other = runtime.load(folder / "other.onnx", threads=1)
    with pytest.warns(PlifWarning, match="another artifact than recorded"):
        assert replayed(other, tmp_path / "r") == said(other.stream(SIM))
    with pytest.warns(PlifWarning, match="another framing than recorded"):
        again = replayed(model, tmp_path / "r", framing="duration:50ms")
    assert again == said(model.stream(SIM, framing="duration:50ms"))
    other_rule = replayed(model, tmp_path / "r", decide="kofn:1/1")  # the same frames, so the same steps
    assert other_rule == said(model.stream(SIM, decide="kofn:1/1"))


def test_the_folder_says_what_ran(folder: Path, model: Model, tmp_path: Path, capsys: Any) -> None:
    command = [
        "stream",
        str(folder / "m.onnx"),
        SIM,
        "--decide",
        "leak:80ms",
        "--record",
        str(tmp_path / "r"),
        "--json",
    ]
    assert run(command) == 0
    live = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    document = json.loads((tmp_path / "r" / "recording.json").read_text())
    assert document["artifact"]["card"]["classes"] == model.classes and len(document["artifact"]["sha256"]) == 64
    assert document["options"]["decide"] == "leak:80ms" and document["options"]["framing"] == "duration:20ms,resize=sum"
    assert document["engine"] == runtime.load(folder / "m.onnx").engine.name and document["sources"][0]["sensor"] == [
        34,
        34,
    ]
    metrics = json.loads((tmp_path / "r" / "metrics.json").read_text())
    assert metrics.pop("complete") is True and metrics == live[-1]["summary"]
    lines = [json.loads(line) for line in (tmp_path / "r" / "decisions.jsonl").read_text().splitlines()]
    assert [line["votes"] for line in lines] == [line["votes"] for line in live[:-1]]
    assert run(["stream", str(folder / "m.onnx"), str(tmp_path / "r"), "--json"]) == 0
    again = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for one in (*live[:-1], *again[:-1]):
        one.pop("latency_ms")
    assert again[:-1] == live[:-1]


# --- what may go wrong ----------------------------------------------------------------------------------------------


def test_a_recording_is_never_written_over(folder: Path, tmp_path: Path, capsys: Any) -> None:
    command = ["stream", str(folder / "m.onnx"), "sim:digits?seconds=1", "--record"]
    assert run([*command, str(tmp_path / "r")]) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "r").iterdir()}
    capsys.readouterr()
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("x")
    for place in ("r", "file", "full"):
        assert run([*command, str(tmp_path / place)]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and "never written over" in err
    assert {path.name: path.read_bytes() for path in (tmp_path / "r").iterdir()} == before
    (tmp_path / "empty").mkdir()
    assert run([*command, str(tmp_path / "empty")]) == 0


def test_what_never_ran_leaves_no_folder(folder: Path, tmp_path: Path) -> None:
    assert run(["stream", str(folder / "m.onnx"), "missing.bin", "--record", str(tmp_path / "r")]) == 2
    assert not (tmp_path / "r").exists()


def start(folder: Path, place: Path, *more: str) -> subprocess.Popen[str]:
    command = [
        *PLIF,
        "stream",
        "m.onnx",
        "sim:digits?seed=3&seconds=60",
        "--speed",
        "real",
        "--record",
        str(place),
        "--json",
    ]
    return subprocess.Popen([*command, *more], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("how", (signal.SIGKILL, signal.SIGTERM))
def test_after_kill_or_an_interrupt_what_is_there_replays(folder: Path, model: Model, tmp_path: Path, how: int) -> None:
    process = start(folder, tmp_path / "r")
    assert process.stdout is not None
    lines = [json.loads(process.stdout.readline()) for _ in range(100)]  # two seconds
    process.send_signal(how)
    rest = process.stdout.read()  # what readline() read ahead is in there, too: communicate() would lose it
    process.communicate(timeout=30)
    lines += [json.loads(line) for line in rest.splitlines() if line.endswith("}") and "summary" not in line]
    again = replayed(model, tmp_path / "r")
    assert len(again) >= 70, "all but the last half second"
    assert [one[5] for one in again] == [line["votes"] for line in lines[: len(again)]]
    if how == signal.SIGTERM:
        assert len(again) == len(lines) and json.loads((tmp_path / "r" / "metrics.json").read_text())["complete"]


@pytest.mark.parametrize("cut", (1, 7, 29, 1000))
def test_a_file_that_was_cut_anywhere_replays_as_far_as_it_goes(model: Model, tmp_path: Path, cut: int) -> None:
    first = recorded(model, tmp_path / "r")
    for name in ("decisions.jsonl", "events.aedat"):
        path = tmp_path / "r" / name
        whole = path.read_bytes()
        path.write_bytes(whole[:-cut])
        running = model.stream(str(tmp_path / "r"))
        again = said(running)
        # cutting events changes at most the frame that they were in, the last
        assert 0 < len(again) <= len(first) and again[:-1] == first[: len(again) - 1]
        path.write_bytes(whole)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("recording.json", "", "not valid JSON"),
        ("recording.json", "[]", "no recording of plif"),
        ("recording.json", '{"format": "plif-recording", "format_version": 9}', "recording version 9"),
        ("recording.json", '{"format": "plif-recording", "format_version": 1}', "lacks options"),
        ("recording.json", "[" * 100_000, "not valid JSON"),
        ("decisions.jsonl", "{}\nnonsense\n", "line 2: is damaged"),
        ("decisions.jsonl", '{"merged": 0}\n', "damaged"),
        ("decisions.jsonl", '{"merged": 1e9, "step": 3}\n', "step 3 is damaged"),
        ("decisions.jsonl", '{}\n{"returned_after": -5}\n', "line 2: is damaged"),
        ("decisions.jsonl", '{"returned_after": 90}\n{"returned_after": 80}\n{}\n', "line 2: is damaged"),
        ("events.aedat", "", "empty"),
    ],
)
def test_a_damaged_recording_is_one_line(
    folder: Path, model: Model, tmp_path: Path, capsys: Any, name: str, text: str, says: str
) -> None:
    recorded(model, tmp_path / "r", "sim:digits?seconds=0.5")
    (tmp_path / "r" / name).write_text(text)
    assert run(["stream", str(folder / "m.onnx"), str(tmp_path / "r"), "--json"]) == 2
    err = capsys.readouterr().err
    assert says in err and err.startswith("plif: error: ") and err.count("\n") == 1, err


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("decide", 5),
        ("decide", "sum\x1b[2J"),
        ("reset", [1]),
        ("filters", 7),
        ("framing", {}),
        ("overload", None),
        ("on_return", None),
        ("engine", ["numpy"]),
        ("engine", "numpy\nplif: all is well"),
        ("artifact", "none"),
        ("sensor", [10**9, 10**9]),
        ("sensor", [0, 34]),
        ("sensor", [34, 65537]),
        ("sensor", [34.0, 34]),
        ("sensor", [True, 34]),
        ("sensor", "34x34"),
        ("count", 10**30),
        ("options", "decide"),
        ("options", 7),
    ],
)
def test_what_a_recording_says_of_itself_is_checked_before_it_is_used(
    folder: Path, recording: Path, tmp_path: Path, capsys: Any, where: str, value: Any
) -> None:
    document = json.loads((recording / "recording.json").read_text())
    inside = {"sensor": document["sources"][0], "count": document["sources"][0]}.get(where, document["options"])
    (document if where in ("engine", "artifact", "options") else inside)[where] = value
    place = tmp_path / "r"
    shutil.copytree(recording, place)
    (place / "recording.json").write_text(json.dumps(document))
    assert run(["stream", str(folder / "m.onnx"), str(place), "--json"]) == 2
    err = capsys.readouterr().err
    assert "it was damaged or edited" in err and err.startswith("plif: error: ") and err.count("\n") == 1, err


def test_a_recording_names_no_file_outside_itself(folder: Path, model: Model, tmp_path: Path, capsys: Any) -> None:
    recorded(model, tmp_path / "r", "sim:digits?seconds=0.5")
    path = tmp_path / "r" / "recording.json"
    document = json.loads(path.read_text())
    for name in ("../secret.aedat", "/etc/passwd", "a/b"):
        document["sources"][0]["events"] = name
        path.write_text(json.dumps(document))
        assert run(["stream", str(folder / "m.onnx"), str(tmp_path / "r")]) == 2
        assert "damaged or edited" in capsys.readouterr().err


def test_a_full_disk_ends_the_stream_with_one_line(folder: Path) -> None:
    """/dev/full stands in for the disk: every write to it fails as on a full one."""
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    program = (
        "import runtime.observers.replayed_stream.recorder as r, builtins; real = open\n"
        "r.open = lambda path, mode, **k: real('/dev/full', 'wb') if 'jsonl' in str(path) else real(path, mode, **k)\n"
        "from runtime.core.cli.main import main; main()"
    )
    place = folder / "full-disk"
    command = [sys.executable, "-c", program, "stream", "m.onnx", "sim:digits?seconds=60", "--speed", "real", "--json"]
    done = subprocess.run([*command, "--record", str(place)], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stderr.count("error:") == 1 and "Traceback" not in done.stderr
    assert "No space left on device" in done.stderr and "readable" in done.stderr
    assert "summary" in json.loads(done.stdout.splitlines()[-1])


class SlowDisk(Recorder):
    """The disk takes so long that the stream ends while it works; `on_decision` holds the stream until it does."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.at_work, self.ended = threading.Event(), threading.Event()

    def fsync(self, _: int) -> None:
        if threading.current_thread() is self._thread:  # the disk of the header is quick
            self.at_work.set()
            assert self.ended.wait(20)

    def on_decision(self, decision: Decision) -> None:
        super().on_decision(decision)
        if decision.step == 50:
            assert self.at_work.wait(20)

    def close(self) -> None:
        self.ended.set()
        super().close()


def test_the_last_account_is_kept_when_the_stream_ends_while_the_disk_works(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = SlowDisk(tmp_path / "r")
    for name, value in {"FLUSH_S": 0.01, "SYNC_S": -1.0, "os.fsync": recorder.fsync}.items():
        monkeypatch.setattr(f"runtime.observers.replayed_stream.recorder.{name}", value)
    with recorder:
        running = model.stream(SIM, observers=[recorder])
        assert len(list(running)) > 60
    metrics = json.loads((tmp_path / "r" / "metrics.json").read_text())
    assert metrics.pop("complete") is True and metrics == running.summary()


@pytest.mark.parametrize("error", (MemoryError(), ValueError("out of\nrange"), RuntimeError("x")))
def test_whatever_stops_the_thread_that_writes_ends_the_stream_and_not_as_a_success(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr("runtime.observers.replayed_stream.recorder.write_packets", fail)
    with pytest.raises(PlifError, match=f"cannot be written .{type(error).__name__}.*is readable") as found:
        recorded(model, tmp_path / "r", "sim:digits?seconds=0.5")
    assert "\n" not in str(found.value)


# --- the file of events ---------------------------------------------------------------------------------------------


def written(tmp_path: Path, events: np.ndarray, pieces: int = 1, upright: str = "identity") -> Path:
    path = tmp_path / "e.aedat"
    with open(path, "wb") as file:
        file.write(make_header((32768, 32768), upright))
        for piece in np.array_split(events, pieces):
            write_packets(file, piece)
    return path


@pytest.mark.parametrize("pieces", (1, 3, 50))
def test_any_event_comes_back_exactly(tmp_path: Path, pieces: int) -> None:
    """Times over the 31-bit border and back, up to 2^61; every corner of the sensor; both polarities."""
    rng = np.random.default_rng(pieces)
    t = np.concatenate(
        [np.sort(rng.integers(0, 1 << 40, 3000)), [0, (1 << 31) - 1, 1 << 31, (1 << 31) - 1, (1 << 61) - 1, 5]]
    )
    n = len(t)
    x, y = rng.integers(0, 1 << 15, n), rng.integers(0, 1 << 15, n)
    x[-2:], y[-2:] = (0, 32767), (32767, 0)
    events = make_events(t, x, y, rng.random(n) < 0.5)
    path = written(tmp_path, events, pieces, "rotate180")
    assert events_sha256(read_events(path)) == events_sha256(events)
    source = open_source(str(path))
    assert source.sensor == (32768, 32768) and source.upright == "rotate180"


def test_what_the_format_cannot_hold_is_refused() -> None:
    with open(os.devnull, "wb") as file, pytest.raises(PlifError, match="-1 us cannot be recorded"):
        write_packets(file, make_events([5, -1], [0, 0], [0, 0], [0, 0]))
    with pytest.raises(PlifError, match="does not fit"):
        make_header((40000, 10))


@pytest.fixture(autouse=True)
def no_threads_left() -> Iterator[None]:
    yield
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("plif-record")]
