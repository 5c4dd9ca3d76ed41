"""bench/metamorphic.py: a clip gets the same answers however its format stores it, and whatever its sensor's size."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plif_export import export
from plif_train.core.loop import checkpoint
from plif_train.core.network.presets import build
from runtime.core.events import make_events, read_events
from runtime.core.events.formats.nmnist import write_nmnist
from runtime.formats.aedat31 import make_header
from tests.conftest import REPOSITORY
from tests.recordings import aedat2_bytes, aedat31_packet

COARSE = ("0.7 times", "1.3 times", "16 pixels")  # pixels of another sensor are of another size


@pytest.mark.large
def test_the_same_clip_gets_the_same_answers_in_every_format(clips: Path, tmp_path: Path) -> None:
    artifact = export(REPOSITORY / "models" / "gesture-sim.pt", tmp_path / "m.onnx", verify=False).path
    clip = clips / "1_right_hand_wave.bs2"
    events = read_events(clip, (128, 128))
    t, x, y, p = (events[name] for name in "txyp")

    def measured(format_: str) -> list[dict[str, Any]]:
        folder = tmp_path / format_ / "test" / "right_hand_wave"
        folder.mkdir(parents=True)
        if format_ == "bs2":
            shutil.copyfile(clip, folder / "clip.bs2")
        elif format_ == "aedat2":  # stored turned
            (folder / "clip.aedat").write_bytes(aedat2_bytes(make_events(t, 127 - x, 127 - y, p)))
        else:  # of a sensor with four times as many pixels, upside down
            large = make_events(t, 2 * x, 255 - 2 * y, p)
            (folder / "clip.aedat").write_bytes(make_header((256, 256), "flip_y") + aedat31_packet(large))
        command = [
            sys.executable, str(REPOSITORY / "bench" / "metamorphic.py"), str(artifact),
            "--data", f"folder:{tmp_path / format_}", "--json",
        ]  # fmt: skip
        rows: list[dict[str, Any]] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["rows"]
        return rows

    expected = measured("bs2")
    # as docs/decisions/gesture-shortcuts.md says
    assert {row["change"]: row["unchanged"] for row in expected}["body cut away"] == 1
    assert expected[0]["unchanged"] == 1 and {row["unchanged"] for row in expected} == {0, 1}
    assert measured("aedat2") == expected
    large = measured("aedat31")
    assert [one for one in large if not one["change"].startswith(COARSE)] == [
        one for one in expected if not one["change"].startswith(COARSE)
    ]


def test_changes_that_no_class_allows_are_left_out(tmp_path: Path) -> None:
    classes, framing = ("clap", "left_wave"), "duration:10ms"
    net = build("c1k4s4-PLIF-FC20-PLIF-APk10s10", shape=(2, 34, 34), T=4, classes=classes, framing=framing)
    checkpoint.save(net, tmp_path / "m.pt")
    export(tmp_path / "m.pt", tmp_path / "m.onnx", verify=False)
    (tmp_path / "test" / "clap").mkdir(parents=True)
    (tmp_path / "sensor.txt").write_text("34x34")
    at = np.arange(100)
    write_nmnist(tmp_path / "test" / "clap" / "0.bs2", make_events(400 * at, at % 34, at % 30, at % 2 == 0))
    command = [
        sys.executable, str(REPOSITORY / "bench" / "metamorphic.py"), str(tmp_path / "m.onnx"),
        "--data", f"folder:{tmp_path}", "--json",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    changes = {row["change"] for row in json.loads(done.stdout)["rows"]}
    assert "frozen" in changes and not changes & {"mirrored", "axes exchanged"}
    assert "not mirrored: class 'left_wave' would become 'right wave'" in done.stderr
