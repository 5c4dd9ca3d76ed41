"""USB up to the camera that is not there."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from runtime.core.base.errors import MissingExtra, PlifError
from runtime.core.cli.main import run
from runtime.core.events import open_source


def test_a_camera_that_is_not_there_is_one_line() -> None:
    drivers = pytest.importorskip("neuromorphic_drivers", reason="the extra [usb] is not installed")
    try:
        if drivers.list_devices():
            pytest.skip("a camera is connected")
    except RuntimeError:
        pass
    for spec in ("usb://", "usb://00050423", "usb:"):
        with pytest.raises(PlifError) as error:
            open_source(spec)
        assert str(error.value).startswith(spec) and "\n" not in str(error.value)
        assert "no camera is connected" in str(error.value) or "USB cannot be used here" in str(error.value)
    with pytest.raises(PlifError, match="without options"):
        open_source("usb://1?bias=3")


def test_a_missing_extra_names_what_to_install(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setitem(sys.modules, "neuromorphic_drivers", None)  # as if it were not installed
    with pytest.raises(MissingExtra, match=r"pip install 'plif\[usb\]'"):
        open_source("usb://")
    assert run(["stream", "missing.onnx", "usb://"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
