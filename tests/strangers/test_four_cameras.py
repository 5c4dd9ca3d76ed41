"""An engineer has files of four cameras, and a network: which of them fits? Real command lines alone.

What has hurt engineers: a file of another camera got an answer without a word, and nothing said what a file is.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from plif_export import export
from tests.conftest import REPOSITORY
from tests.recorded import SHIPPED, unpack_clips
from tests.recordings import aedat2_bytes, evt3_bytes, some_events

pytestmark = pytest.mark.machines  # nine processes
UNLIKE = "unlike what the network was trained on"


def plif(*arguments: object) -> tuple[str, list[str]]:
    """(stdout, the warnings of stderr) of a command that succeeds."""
    command = [sys.executable, "-m", "runtime.core.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout, [line for line in done.stderr.splitlines() if line.startswith("plif: warning: ")]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network, as a colleague exported it."""
    path = tmp_path_factory.mktemp("network") / "digits.onnx"
    return export(REPOSITORY / "models" / "nmnist-digits.pt", path, verify=False).path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The four cameras: as in the training, a DVS128 whose file is stored turned, a clip of one, and a large one."""
    folder = tmp_path_factory.mktemp("cameras")
    found = {"small.bin": (SHIPPED / "nmnist.bin").read_bytes()}
    walking = some_events(20_000, width=128, height=60)  # all in the upper half of what is stored
    found["dvs128.aedat"] = aedat2_bytes(walking)
    found["clip.bs2"] = (unpack_clips(tmp_path_factory.mktemp("clips")) / "0_hand_clapping.bs2").read_bytes()
    found["large.raw"] = evt3_bytes(some_events(200_000, width=1280, height=720, last_us=9_000))
    for name, content in found.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in found}


def test_info_says_what_each_file_is_and_whether_it_fits(digits: Path, files: dict[str, Path]) -> None:
    expected = {
        "small.bin": ((34, 34), "identity", True),
        "dvs128.aedat": ((128, 128), "rotate180", False),
        "clip.bs2": ((128, 128), "identity", False),
        "large.raw": ((1280, 720), "identity", False),
    }
    for name, (sensor, upright, fits) in expected.items():
        out, warned = plif("info", files[name], "--for", digits, "--json")
        found = json.loads(out)
        assert (tuple(found["sensor"]), found["upright"], found["fit"]["fits"]) == (sensor, upright, fits), name
        assert found["events"] > 0 and found["duration_s"] > 0 and found["rate"] > 0 and 0.3 < found["polarity"] < 0.7
        assert warned == [] and bool(found["fit"]["why"]) != fits
    assert any("events a second, not" in why for why in found["fit"]["why"]), (
        "a clock of another unit, or another scene"
    )


def test_the_picture_shows_which_way_is_up(files: dict[str, Path]) -> None:
    shown, _ = plif("info", files["dvs128.aedat"])
    lines = shown.splitlines()
    (at,) = [i for i, line in enumerate(lines) if line.startswith("upright")]
    assert "turned by 180 degrees" in lines[at] and "--up" in lines[at]
    inked = np.array([len(line.strip()) > 0 for line in lines[at + 1 : at + 25]])
    assert inked[14:].all() and not inked[:10].any(), "what was stored above is below"


def test_a_stream_of_another_camera_says_so_once_and_one_of_the_right_camera_says_nothing(
    digits: Path, files: dict[str, Path]
) -> None:
    _, warned = plif("stream", digits, files["large.raw"])
    (line,) = warned
    assert UNLIKE in line and "a sensor of 1280x720, not 34x34" in line and "events a pixel and frame, not" in line
    assert plif("stream", digits, files["small.bin"])[1] == []


def test_a_folder_of_all_four_gets_one_line_with_how_many(digits: Path, files: dict[str, Path]) -> None:
    out, warned = plif("predict", digits, files["small.bin"].parent, "--json")
    (line,) = [line for line in warned if UNLIKE in line]
    assert "3 of 4 recordings are" in line
    fit = json.loads(out)["fit"]
    assert (fit["fits"], fit["recordings"], fit["far"]) == (False, 4, 3)
