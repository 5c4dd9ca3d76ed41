"""Stress does what it says, the same every time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runtime
from plif_export import export
from runtime.core.base.errors import PlifError
from runtime.core.data.dataset import EventSet
from runtime.core.events import make_events
from runtime.core.measure.evaluate.evaluation import evaluate
from runtime.core.measure.evaluate.samples import DatasetSplit
from runtime.observers.robustness.stress import STRESSES, StressedDataset, measure_stress
from tests.conftest import REPOSITORY

DIGITS = "digits:20"


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "digits.onnx"
    return export(REPOSITORY / "models" / "nmnist-digits.pt", path, verify=False).path


def events_of(n: int = 200) -> np.ndarray:
    rng = np.random.default_rng(0)
    return make_events(
        np.sort(rng.integers(0, 50_000, n)), rng.integers(0, 34, n), rng.integers(0, 34, n), rng.random(n) < 0.5
    )


def test_stress_does_what_it_says_and_the_same_every_time() -> None:
    events, size = events_of(), (34, 34)
    for name, stress in STRESSES.items():

        def changed(level: float, stress: Any = stress) -> np.ndarray:
            return stress.change(events, size, level, np.random.default_rng(1))

        np.testing.assert_array_equal(changed(stress.plain), events, err_msg=name)
        np.testing.assert_array_equal(changed(stress.levels[-1]), changed(stress.levels[-1]))
        assert not np.array_equal(changed(stress.levels[-1]), events), name
        assert (np.diff(changed(stress.levels[-1])["t"]) >= 0).all()
    rng = np.random.default_rng(1)
    assert 80 <= len(STRESSES["dropped"].change(events, size, 0.5, rng)) <= 120
    assert len(STRESSES["noise"].change(events, size, 0.5, rng)) == 300
    span = int(events["t"].max() - events["t"].min())
    hot = STRESSES["hot"].change(events, size, 2, rng)
    assert len(hot) == 200 + 2 * (span // 1000 + 1)
    assert (STRESSES["mirrored"].change(events, size, 1, rng)["x"] == 33 - events["x"]).all()
    assert (STRESSES["swapped"].change(events, size, 1, rng)["p"] != events["p"]).all()
    assert int(np.ptp(STRESSES["stretched"].change(events, size, 2, rng)["t"])) == 2 * span
    assert STRESSES["shifted"].change(events, size, 0.25, rng)["x"].min() >= 8


@pytest.mark.large
def test_stress_of_a_network_is_a_curve_for_each_kind(shipped: Path) -> None:
    model = runtime.load(shipped, "onnxruntime")
    rows = measure_stress(model, DIGITS, limit=6)
    assert {row["stress"] for row in rows} == set(STRESSES)
    plain = [row for row in rows if row["level"] == STRESSES[row["stress"]].plain]
    direct = evaluate(model, DIGITS, limit=6)
    assert all(row["correct"] == direct.correct and row["samples"] == 6 for row in plain)
    worst = next(row for row in rows if row["stress"] == "shifted" and row["level"] == 0.25)
    assert worst["correct"] < direct.correct
    dataset = DatasetSplit(DIGITS).open(model)
    assert isinstance(dataset, EventSet)
    twice = [StressedDataset(dataset, "noise", 1, seed=3).frames(2)[0] for _ in range(2)]
    np.testing.assert_array_equal(*twice)


def test_still_images_have_no_stress(tmp_path: Path) -> None:
    with pytest.raises(PlifError, match="not known"):
        measure_stress(runtime.load(REPOSITORY / "models" / "nmnist-digits.pt"), "pictures:DIR")
