"""What plif info says of a sensor that is larger than the network's input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runtime
from plif_export import export
from plif_train.core.loop import checkpoint
from runtime import native
from runtime.core.cli.main import run
from runtime.observers.recording_info.describe import describe
from runtime.sources.push import PushSource
from tests.networks import firing
from tests.recordings import csv_bytes, some_events

pytestmark = [
    pytest.mark.skipif(not native.is_built(), reason="the native library is not built here: it needs a C compiler"),
]


SMALL, LARGE = (34, 34), (90, 70)  # of the training, and of a camera


BINARY = "duration:9ms,value=binary"


def saved(folder: Path, name: str, size: list[int] | None, text: str = BINARY) -> Path:
    """A network whose card says that it was trained on a sensor of this size."""
    net = firing("c4k4s4-BN-PLIF-FC30-PLIF-APk10s10", (2, 34, 34), T=8, framing=text)
    net.meta = replace(net.meta, trained_on={"samples": 9, "size": size})
    checkpoint.save(net, folder / f"{name}.pt")
    return folder / f"{name}.pt"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """own.plif, of a network that learned single pixels, other.plif, of one that did not; own.pt, own.onnx."""
    place = tmp_path_factory.mktemp("larger")
    for name, size in (("own", [*SMALL]), ("other", [346, 260])):
        export(saved(place, name, size), place / f"{name}.plif", to="plif", verify=False)
    export(place / "own.pt", place / "own.onnx", verify=False)
    return place


@pytest.fixture(scope="module")
def events() -> np.ndarray:
    return some_events(6000, seed=4, width=LARGE[0], height=LARGE[1])


def streamed(model: runtime.Model, events: np.ndarray, **options: Any) -> tuple[list[Any], dict[str, Any]]:
    source = PushSource(*LARGE)
    source.push(events)
    source.end()
    running = model.stream(source, decide="sum", reset="never", overload="drop:1000", **options)
    return [(d.t_us, d.step, d.label, d.score, [*map(float, d.votes)]) for d in running], {**running.summary()}


def test_info_compares_what_is_shown_with_the_training(
    events: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.csv").write_bytes(csv_bytes(events))
    path = saved(tmp_path, "worded", [*SMALL], f"{BINARY},resize=nearest,shape=square")
    fit = describe(str(tmp_path / "a.csv"), path, sensor=LARGE).fit
    hidden = streamed(runtime.load(export(path, tmp_path / "w.onnx", verify=False).path), events)[1]["events_not_shown"]
    seconds = (int(events["t"][-1]) - int(events["t"][0])) / 1e6
    assert fit is not None and fit["fits"] and fit["shown"] == "one pixel of 4"
    assert fit["seen"]["rate"] == pytest.approx((len(events) - hidden) / seconds)
    assert run(["info", str(tmp_path / "a.csv"), "--sensor", "90x70", "--for", str(path)]) == 0
    assert "shown: one pixel of 4" in capsys.readouterr().out
