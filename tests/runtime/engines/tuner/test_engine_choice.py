"""`--engine auto`: the fastest engine that opens the artifact as it is, the same one every time, and said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

import runtime
from plif_export import export
from plif_export.core.cards import set_card
from runtime import native
from runtime.core.base.declared import EngineOptions
from runtime.core.base.errors import PlifError
from runtime.core.cli.main import run
from runtime.core.model.card import read_card
from runtime.core.parts import find_parts
from runtime.engines import tuner
from runtime.engines.tuner import waited_s
from runtime.engines.tuner.calibrate import measure
from tests.networks import firing, frames

pytestmark = [
    pytest.mark.skipif(not native.is_built(), reason="the native library is not built here: it needs a C compiler"),
]
NAMES = ("event", "onnxruntime")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("choice")
    export(firing(), folder / "step.onnx", verify=False)
    export(firing(), folder / "unrolled.onnx", form="unrolled", batch=2, verify=False)
    export(firing(shape=(1, 12, 12), kind="static", framing=None), folder / "static.onnx", verify=False)
    return folder


@pytest.fixture
def calibrating(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Calibration as users have it, in a cache folder of its own; gives that folder."""
    monkeypatch.delenv(tuner.NO_CALIBRATION, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tuner.choices.clear()
    yield tmp_path / "cache" / "plif" / "engines"
    tuner.choices.clear()


class Measuring:
    """A program in the place of the process that measures: it says these times in ms, and how long it had to wait."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, event: float = 1.0) -> None:
        self.times = {"event": (event, event / 2), "onnxruntime": (2.0, 1.5)}
        self.program, self._asked = folder / "measure", folder / "asked"
        self.waited(0.0)
        monkeypatch.setattr(sys, "executable", str(self.program))

    def waited(self, share: float) -> None:
        """So much of a second it has waited for a processor, per second."""
        said = json.dumps((self.times, share))
        self.program.write_text(f"#!/bin/sh\ncat >> '{self._asked}'\necho >> '{self._asked}'\necho '{said}'\n")
        self.program.chmod(0o700)

    @property
    def asked(self) -> list[Path]:
        """The files that it was asked about."""
        return [Path(json.loads(line)[1]) for line in self._asked.read_text().splitlines()]


@pytest.fixture
def measuring(calibrating: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Measuring:
    return Measuring(tmp_path, monkeypatch)


def times(event: float, onnxruntime: float) -> dict[str, dict[str, float]]:
    return {
        "event": {"active": event, "silent": event / 2},
        "onnxruntime": {"active": onnxruntime, "silent": onnxruntime / 2},
    }


def cached(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.json"))


def test_auto_measures_once_and_then_reads_what_it_measured(
    files: Path, calibrating: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuner, "BUSY", np.inf)  # it is kept although other programs may keep this machine busy
    first = runtime.load(files / "step.onnx").engine_choice
    assert first.engine in NAMES and first.requested == "auto" and "measured now" in first.reason
    assert all(ms > 0 for pair in first.measured_ms.values() for ms in pair.values())
    (file,) = cached(calibrating)
    tuner.choices.clear()  # as a new process
    again = runtime.load(files / "step.onnx").engine_choice
    assert again.measured_ms == first.measured_ms and "measured earlier" in again.reason
    assert cached(calibrating) == [file] and not list(calibrating.glob(".*"))


def test_the_cache_decides_not_the_noise_of_another_measurement(
    files: Path, calibrating: Path, measuring: Measuring
) -> None:
    runtime.load(files / "step.onnx")
    (file,) = cached(calibrating)
    content = json.loads(file.read_text())
    for kept, expected in ((times(1, 3), "event"), (times(3, 1), "onnxruntime")):
        file.write_text(json.dumps({**content, "measured_ms": kept}))
        tuner.choices.clear()
        model = runtime.load(files / "step.onnx")
        assert model.engine.name == model.engine_choice.engine == expected


WHOLE = '{"measured_ms": {"event": {"active": %s, "silent": 1}, "onnxruntime": {"active": 1, "silent": 1}}}'


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        '{"measured_ms": {"event": 1}}',
        *(WHOLE % time for time in ("NaN", "0", "-1", "1e999", '"x"')),
    ],
)
def test_a_cache_file_that_is_not_ours_is_measured_again(
    files: Path, calibrating: Path, measuring: Measuring, content: str
) -> None:
    runtime.load(files / "static.onnx")
    (file,) = cached(calibrating)
    file.write_text(content)
    tuner.choices.clear()
    assert "measured now" in runtime.load(files / "static.onnx").engine_choice.reason
    assert json.loads(file.read_text())["measured_ms"]["event"]["active"] > 0
    assert measuring.asked == 2 * [files / "static.onnx"]


def test_without_a_cache_folder_it_measures_for_the_process_and_says_so(
    files: Path, measuring: Measuring, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")  # nobody, root included, can make a folder below a file
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    first = runtime.load(files / "step.onnx").engine_choice
    assert "for this process only" in first.reason
    assert runtime.load(files / "step.onnx").engine_choice == first


def test_other_threads_and_other_files_are_measured_on_their_own(
    files: Path, calibrating: Path, measuring: Measuring
) -> None:
    runtime.load(files / "step.onnx", threads=1)
    runtime.load(files / "step.onnx", threads=2)
    runtime.load(files / "static.onnx", threads=1)
    assert len(cached(calibrating)) == len(measuring.asked) == 3


def test_counting_spikes_does_not_change_the_engine(files: Path, calibrating: Path, measuring: Measuring) -> None:
    """stream does not count them and eval does; both give the same answer."""
    runtime.load(files / "step.onnx", rates=False)
    runtime.load(files / "step.onnx", rates=True)
    assert len(cached(calibrating)) == len(measuring.asked) == 1


@pytest.mark.parametrize("name", ["step", "unrolled", "static"])
def test_every_form_can_be_measured(files: Path, name: str) -> None:
    times, waited = measure(files / f"{name}.onnx", NAMES, EngineOptions(threads=1))
    assert set(times) == set(NAMES) and all(0 < ms < 1e5 for pair in times.values() for ms in pair)
    assert waited >= 0


def test_measuring_leaves_the_process_as_it_was(files: Path, tmp_path: Path) -> None:
    """The engine that lost is not in the process, and NumPy keeps its subnormal numbers."""
    program = (
        "import sys, numpy as np, runtime\n"
        "model = runtime.load(sys.argv[1])\n"
        "assert model.engine_choice.measured_ms\n"
        "print(model.engine.name, 'onnxruntime' in sys.modules, (np.full(1, 1e-38, np.float32) / 4)[0] != 0)"
    )
    environment = {k: v for k, v in os.environ.items() if k != tuner.NO_CALIBRATION}
    environment["XDG_CACHE_HOME"] = str(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", program, str(files / "step.onnx")],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    name, *rest = done.stdout.split()
    assert name == "onnxruntime" or rest == ["False", "True"], done.stdout


def test_a_measurement_that_fails_is_said_and_not_kept(files: Path, calibrating: Path, measuring: Measuring) -> None:
    measuring.program.unlink()
    found = runtime.load(files / "step.onnx").engine_choice
    assert found.engine == "event" and found.reason == "first in order, not measured (the measuring process failed)"
    assert not cached(calibrating)


def test_what_was_measured_on_a_busy_machine_is_not_kept_and_this_is_said(
    files: Path, calibrating: Path, measuring: Measuring
) -> None:
    measuring.waited(tuner.BUSY + 0.01)
    first = runtime.load(files / "step.onnx").engine_choice
    assert first.engine == "event" and "other programs kept the processors busy" in first.reason
    assert not cached(calibrating)
    assert runtime.load(files / "step.onnx").engine_choice == first  # in one process a file has one engine
    tuner.choices.clear()  # as a new process, when the others are gone
    measuring.waited(tuner.BUSY - 0.01)
    assert "measured now)" in runtime.load(files / "step.onnx").engine_choice.reason
    assert len(cached(calibrating)) == 1 and len(measuring.asked) == 2


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="only Linux says how long a thread has waited")
def test_waiting_for_a_processor_that_others_keep_busy_is_seen() -> None:
    """Two processes and this thread want one processor, until this thread has waited 50 ms for it."""
    here = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(here)})
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        began_s, before_s = time.monotonic(), waited_s()
        while waited_s() - before_s < 0.05:
            assert time.monotonic() - began_s < 60
    finally:
        os.sched_setaffinity(0, here)
        for other in others:
            other.kill()
            other.wait()


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system ties no process to processors")
def test_onnx_runtime_takes_a_thread_for_each_processor_that_the_process_may_use(files: Path) -> None:
    here = os.sched_getaffinity(0)
    for allowed in ({min(here)}, here):
        os.sched_setaffinity(0, allowed)
        try:
            engine = runtime.load(files / "step.onnx", "onnxruntime").engine
        finally:
            os.sched_setaffinity(0, here)
        assert engine._session.get_session_options().intra_op_num_threads == len(allowed)  # type: ignore[attr-defined]


def test_measuring_can_be_switched_off(files: Path, calibrating: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tuner.NO_CALIBRATION, "1")
    found = runtime.load(files / "step.onnx").engine_choice
    assert found.engine == "event" and found.measured_ms == {} and "PLIF_NO_CALIBRATION is set" in found.reason
    assert not calibrating.exists()


def test_without_the_part_that_measures_the_first_engine_is_taken(
    files: Path, calibrating: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(find_parts("engines"), "tuner")
    found = runtime.load(files / "step.onnx").engine_choice
    assert (found.engine, found.reason, found.measured_ms) == ("event", "first in order", {})
    assert not calibrating.exists()


def test_an_engine_that_was_asked_for_is_never_replaced(files: Path, calibrating: Path) -> None:
    for name in NAMES:
        model = runtime.load(files / "step.onnx", name)
        assert model.engine.name == name and model.engine_choice.reason == "as asked"
    assert not calibrating.exists()


def test_what_the_event_engine_refuses_runs_on_onnx_runtime_with_the_reason(
    files: Path, calibrating: Path, tmp_path: Path
) -> None:
    proto, card = onnx.load(files / "step.onnx"), read_card(files / "step.onnx")
    next(node for node in card["graph"]["nodes"] if node["op"] == "MaxPool")["op"] = "Sort"
    set_card(proto, card)
    onnx.save(proto, tmp_path / "b.onnx")
    found = runtime.load(tmp_path / "b.onnx").engine_choice
    assert found.engine == "onnxruntime"
    assert "operation Sort is not in this engine" in found.reason and "; use" not in found.reason
    assert not calibrating.exists()


def test_where_the_event_engine_is_not_built_one_line_says_so(
    files: Path, calibrating: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(native, "is_built", lambda: False)
    assert run(["bench", str(files / "step.onnx"), "--seconds", "0.1", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)[0]["engine"] == "onnxruntime"
    assert err == (
        "plif: step.onnx: engine onnxruntime: the event engine is not built here: install a C compiler, then plif again\n"
    )


def test_a_file_that_no_engine_opens_is_refused_as_ever(files: Path, calibrating: Path, tmp_path: Path) -> None:
    with pytest.raises(PlifError):
        runtime.load(tmp_path / "absent.onnx")
    assert not calibrating.exists()


def test_both_engines_pass_the_gate_and_give_the_same_votes(files: Path) -> None:
    x = frames(firing(), np.random.default_rng(3), T=20, streams=1)
    event, dense = (runtime.load(files / "step.onnx", name).session().run(x) for name in NAMES)
    assert np.rint(10 * event).sum() > 5
    np.testing.assert_array_equal(np.rint(10 * event), np.rint(10 * dense))
