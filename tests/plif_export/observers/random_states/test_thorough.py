"""A thorough proof: a long run beside the gate, and a search for an input on which artifact and model part."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnx
import pytest

from plif_export import export, verify
from plif_export.core.prove import prove
from plif_export.observers.random_states import search
from runtime import load
from runtime.core.parts import find_parts
from tests.conftest import REPOSITORY
from tests.networks import firing
from tests.plif_export.core.test_camera_stimulus import Wrong
from tests.plif_export.core.test_parity_can_fail import written

THOROUGH = [(find_parts("observers")["random_states"], {"thorough": True})]


@pytest.fixture
def shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "STEPS", 300)
    monkeypatch.setattr(search, "RESTARTS", 30)


@pytest.mark.usefixtures("shorter")
@pytest.mark.parametrize("form", ("step", "unrolled"))
def test_a_thorough_proof_says_how_far_it_went(form: str) -> None:
    net = firing()
    report = prove(*written(net, form, "folded"), net, heard_by=THOROUGH)
    assert report.passed and report.thorough is not None
    assert (report.thorough["steps"], report.thorough["restarts"]) == (300, 30)
    assert 0 < report.thorough["nearest"] < 1
    assert "free runs stay equal for" in report.sentence() and "30 restarts" in report.sentence()


@pytest.mark.usefixtures("shorter")
def test_a_long_run_finds_what_an_engine_does_rarely(tmp_path: Path) -> None:
    """It takes nothing in from its 500th call on; the shorter proof makes fewer."""
    net, calls = firing(), itertools.count()
    path = export(net, tmp_path / "m.onnx", verify=False).path
    subject = Wrong(load(path, "onnxruntime"), lambda x: x * np.float32(next(calls) < 500), None)
    proto, card = onnx.load(path), load(path).card
    assert prove(proto, card, net, opened=subject).passed and next(calls) < 450
    report = prove(proto, card, net, opened=subject, heard_by=THOROUGH)
    assert not report.passed and report.failed_at is not None and "in step " in report.failed_at["what"]


@pytest.mark.large
@pytest.mark.parametrize("model", ("nmnist-digits.pt", "gesture.pt"))
def test_shipped_networks_pass_a_thorough_proof(model: str, tmp_path: Path) -> None:
    source = REPOSITORY / "models" / model
    path = export(source, tmp_path / "m.onnx").path
    report = verify(path, source, engine="event", thorough=True)
    assert report.passed and report.thorough is not None
    assert report.thorough["steps"] >= 10_000 and report.thorough["parted"] < 50
