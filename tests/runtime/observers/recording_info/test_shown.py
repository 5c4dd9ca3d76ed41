"""What plif info says of a sensor that is larger than the network's input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import runtime
from plif_export import export
from runtime import native
from runtime.core.cli.main import run
from runtime.observers.recording_info.describe import describe_recording
from tests.larger import BINARY, LARGE, SMALL, events_of_camera, saved, streamed, written
from tests.recordings import csv_bytes

pytestmark = [
    pytest.mark.skipif(not native.is_built(), reason="the native library is not built here: it needs a C compiler"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("larger"))


@pytest.fixture(scope="module")
def events() -> np.ndarray:
    return events_of_camera()


def test_info_compares_what_is_shown_with_the_training(
    events: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.csv").write_bytes(csv_bytes(events))
    path = saved(tmp_path, "worded", [*SMALL], f"{BINARY},resize=nearest,shape=square")
    fit = describe_recording(str(tmp_path / "a.csv"), path, sensor=LARGE).fit
    hidden = streamed(runtime.load(export(path, tmp_path / "w.onnx", verify=False).path), events)[1]["events_not_shown"]
    seconds = (int(events["t"][-1]) - int(events["t"][0])) / 1e6
    assert fit is not None and fit["fits"] and fit["shown"] == "one pixel of 4"
    assert fit["seen"]["rate"] == pytest.approx((len(events) - hidden) / seconds)
    assert run(["info", str(tmp_path / "a.csv"), "--sensor", "90x70", "--for", str(path)]) == 0
    assert "shown: one pixel of 4" in capsys.readouterr().out
