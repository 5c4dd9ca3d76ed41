"""A run from reset on whole counts: it meets the threshold exactly, and finds what random membranes do not show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from plif_export import export
from plif_export.core.proof.subjects.subject import Answer, States
from plif_export.core.prove import prove
from plif_export.observers.random_states import from_reset, probe
from runtime import load
from tests.export.attacks.kinds.numbers import Ninths
from tests.networks import firing
from tests.plif_export.core.test_camera_stimulus import Wrong, _moved

STEP = torch.zeros(1, 2, 4, 4)


def test_sums_that_meet_the_threshold_and_round_otherwise_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = export(Ninths().eval(), tmp_path / "m.onnx", STEP).verify
    assert report is not None and report.passed
    monkeypatch.setattr(probe, "check_from_reset", lambda *given: None)
    without = export(Ninths().eval(), tmp_path / "m.onnx", STEP).verify
    assert without is not None and report.excused > without.excused


def test_an_engine_that_is_wrong_in_runs_from_reset_only_fails(tmp_path: Path) -> None:
    """It spoils the states of eight streams, of which no other check has as many."""
    net = firing()
    path = export(net, tmp_path / "m.onnx", verify=False).path

    def spoil(x: np.ndarray, states: States, answer: Answer) -> Answer:
        return _moved(answer, lambda name, v: v + 0.01) if x.shape[1] == from_reset.STREAMS else answer

    report = prove(onnx.load(path), load(path).card, net, opened=Wrong(load(path, "onnxruntime"), None, spoil))
    assert not report.passed and report.failed_at is not None and "in a run from reset" in report.failed_at["what"]
