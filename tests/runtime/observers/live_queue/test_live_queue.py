"""What has a clock of its own needs the part that reads ahead."""

from __future__ import annotations

from pathlib import Path

import pytest

import runtime
from plif_export import export
from runtime.core.base.errors import PlifError
from runtime.core.parts import find_parts
from tests.networks import firing


def test_without_the_part_a_live_feed_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export(firing(), tmp_path / "m.onnx", verify=False)
    model = runtime.load(tmp_path / "m.onnx", "onnxruntime")
    monkeypatch.delitem(find_parts("observers"), "live_queue")
    for options in ({"speed": "real"}, {"overload": "drop:4"}):
        with pytest.raises(PlifError, match="no part here is one"):
            model.stream("sim:digits?seed=1&seconds=1", framing="duration:20ms", **options)
    assert list(model.stream("sim:digits?seed=1&seconds=1", framing="duration:20ms"))
