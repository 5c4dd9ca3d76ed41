"""The batch and the workers of an evaluation are those that take the least time here, and what is given is kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runtime
from plif_export import export
from runtime.core.api import Model
from runtime.engines import tuner
from runtime.observers.evaluation_workers import choose as choosing
from runtime.observers.evaluation_workers.choose import DEFAULT_BATCH, choose_batch
from tests.networks import firing, frames

NET = firing()


@dataclass
class Recordings:
    """A data set of recordings with so many frames each."""

    lengths: list[int]
    classes: tuple[str, ...] = NET.meta.classes
    kind: str = "stream"

    def __len__(self) -> int:
        return len(self.lengths)

    def label(self, i: int) -> int:
        return 0

    def path(self, i: int) -> str:
        return str(i)

    def sample(self, i: int) -> np.ndarray:
        return frames(NET, np.random.default_rng(i), T=self.lengths[i], streams=1)[:, 0]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(NET, tmp_path_factory.mktemp("choice") / "m.onnx", verify=False).path


@pytest.fixture(autouse=True)
def may_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(tuner.NO_CALIBRATION, raising=False)


def slowed(model: Model, seconds: Callable[[int], float]) -> Model:
    """The model on an engine whose calls take so much longer; seconds(rows)."""
    engine = copy(model.engine)

    def bind(x: np.ndarray, *arrays: Any) -> Callable[[], None]:
        run = model.engine.bind(x, *arrays)

        def call() -> None:
            time.sleep(seconds(len(x)))
            run()

        return call

    engine.bind = bind  # type: ignore[method-assign]
    return replace(model, engine=engine)


MANY = 1_000_000  # samples, as the evaluation says: measuring is worth it
FLAT, STEEP = (lambda rows: 0.02), (lambda rows: 0.003 * rows**3)  # seconds of a call


def test_the_batch_is_larger_where_that_is_faster_and_one_where_it_is_not(artifact: Path) -> None:
    model = runtime.load(artifact, "onnxruntime")
    assert choose_batch(slowed(model, FLAT), Recordings([1] * 20), MANY, workers=1).batch == 16, "there are not 64"
    found = choose_batch(slowed(model, STEEP), Recordings([1] * 8), MANY, workers=1)
    assert found.batch == 1 and found.seconds is not None and found.seconds > 0.003


def test_recordings_that_are_not_equally_long_are_compared_by_their_frames(artifact: Path) -> None:
    """The first one alone takes 20 ms, four take 100; but these have 16 frames."""
    dataset = Recordings([1] + [5] * 7)
    assert choose_batch(slowed(runtime.load(artifact, "onnxruntime"), FLAT), dataset, MANY, workers=1).batch == 4


def test_what_is_given_is_kept_and_without_measuring_it_is_the_usual(
    artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, dataset = slowed(runtime.load(artifact, "onnxruntime"), FLAT), Recordings([3] * 20)
    found = choose_batch(model, dataset, MANY, batch=3, workers=2)
    assert (found.batch, found.workers, found.seconds) == (3, 2, None)
    found = choose_batch(model, dataset, MANY, batch=3)
    assert found.batch == 3 and found.seconds is not None
    assert choose_batch(model, dataset, 5) == choosing.BatchChoice(5, 1), "it is done before measuring would pay"
    monkeypatch.setenv(tuner.NO_CALIBRATION, "1")
    assert choose_batch(model, dataset, MANY) == choosing.BatchChoice(DEFAULT_BATCH, 1)


def test_the_event_engine_takes_batches_that_are_done_in_a_moment(artifact: Path) -> None:
    found = choose_batch(runtime.load(artifact, "event", threads=1), Recordings([3] * 20), MANY, workers=1)
    assert 1 <= found.batch <= DEFAULT_BATCH and found.seconds is not None


def test_workers_are_started_where_that_clearly_pays(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone 10 s against a second and 10 / 4 s; alone 1.5 s against 1.4 s, which nobody measured."""
    model = runtime.load(artifact, "onnxruntime")
    for cores, count, seconds, workers in ((4, 10, 1.0, 4), (4, 3, 0.5, 1), (1, 10, 1.0, 1)):
        monkeypatch.setattr(choosing, "count_cores", lambda n=cores: n)
        assert choosing._choose_workers(model, count, 1, seconds, seconds) == workers
