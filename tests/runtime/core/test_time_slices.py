"""time:T=16 divides a recording as SpikingJelly's split_by="time" does."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import runtime
from runtime.core.base.errors import PlifError
from runtime.core.events import Framer, make_events, make_frames, open_source, read_events
from runtime.core.stream.source_framer import SourceFramer
from tests.recordings import csv_bytes, some_events


@pytest.fixture(scope="module")
def spikingjelly() -> ModuleType:
    """SpikingJelly's own code, without the audio libraries that its package of data sets imports."""
    found = importlib.util.find_spec("spikingjelly")
    if found is None or not found.submodule_search_locations:
        pytest.skip("needs SpikingJelly")
    package = ModuleType("spikingjelly.datasets")
    package.__path__ = [str(Path(found.submodule_search_locations[0]) / "datasets")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "spikingjelly.datasets", package)
        module = importlib.import_module("spikingjelly.datasets.utils")
    del sys.modules["spikingjelly.datasets.utils"]
    return module


def theirs(module: ModuleType, events: np.ndarray, T: int, width: int, height: int) -> np.ndarray:
    columns = {name: events[name].astype(np.int64) for name in "txyp"}
    return module.integrate_events_by_fixed_frames_number(columns, "time", T, height, width)


@pytest.mark.parametrize("T", [4, 16])
def test_a_real_recording_gives_the_frames_of_spikingjelly(spikingjelly: ModuleType, nmnist: Path, T: int) -> None:
    for path in sorted((nmnist / "Test/7").glob("*.bin"))[:3]:
        events = read_events(path)
        ours = make_frames(events, f"time:T={T}", (2, 34, 34), (34, 34))
        assert np.array_equal(ours, theirs(spikingjelly, events, T, 34, 34)) and ours.sum() == len(events)


@pytest.mark.parametrize("last_us", [300_000, 12_345, 60_000_000])
def test_events_of_any_length_give_the_frames_of_spikingjelly(spikingjelly: ModuleType, last_us: int) -> None:
    events = some_events(5000, last_us=last_us)
    ours = make_frames(events, "time:T=7", (2, 34, 34), (34, 34))
    assert np.array_equal(ours, theirs(spikingjelly, events, 7, 34, 34))


def test_a_stream_gives_the_same_frames_in_any_packets_and_accounts_for_all(tmp_path: Path) -> None:
    events = some_events(3000)
    events["t"][100] -= 9_000  # a step back stays where it is
    path = tmp_path / "a.csv"
    path.write_bytes(csv_bytes(events))
    whole = make_frames(events, "time:T=9", (2, 34, 34), (34, 34))
    for filters in (None, "refractory:1us"):
        source = open_source(str(path), sensor=(34, 34))
        frames = SourceFramer(source, "time:T=9", (2, 34, 34), filters=filters)
        made = list(frames)
        frames.account.add(used=sum(frame.events for frame in made))
        assert np.array_equal(np.stack([frame.x for frame in made]), whole) and frames.account.waiting == 0
        assert frames.account.late == 0 and frames.account.used == 3000


def test_a_slice_without_events_is_an_empty_frame() -> None:
    events = make_events([0, 1, 5, 90, 100], [1] * 5, [1] * 5, [True] * 5)
    assert make_frames(events, "time:T=4", (2, 4, 4), (4, 4)).sum((1, 2, 3)).tolist() == [3, 0, 0, 2]
    same_time = make_events([7, 7], [1, 1], [1, 1], [True, True])
    assert make_frames(same_time, "time:T=3", (2, 4, 4), (4, 4)).sum((1, 2, 3)).tolist() == [0, 0, 2]


def test_what_has_no_whole_is_refused_with_what_to_use(digits_onnx: Path) -> None:
    with pytest.raises(PlifError, match=r"divides a whole recording.*duration:10ms"):
        Framer("time:T=4", (2, 4, 4), (4, 4))
    pytest.importorskip("runtime.sources.udp")
    model = runtime.load(digits_onnx)
    with pytest.raises(PlifError, match="cannot serve a live source"):
        next(iter(model.stream("udp://127.0.0.1:17177?format=t64&sensor=34x34", framing="time:T=4")))
