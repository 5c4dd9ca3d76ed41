"""Session: streams are rows of a batch, and none touches another."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

import runtime
from plif_export import export
from runtime import native
from runtime.core.api import Model
from runtime.core.base.errors import PlifError
from tests.networks import firing, frames

pytestmark = pytest.mark.quick


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifacts")
    export(firing(), folder / "step.onnx", verify=False)
    export(firing(), folder / "unrolled.onnx", form="unrolled", verify=False)
    export(firing(), folder / "three.onnx", batch=3, verify=False)
    return folder


@pytest.fixture(scope="module", params=["onnxruntime", "event"])
def model(files: Path, request: pytest.FixtureRequest) -> Model:
    if request.param == "event" and not native.is_built():
        pytest.skip("the native library is not built here: it needs a C compiler")
    return runtime.load(files / "step.onnx", request.param)


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return frames(firing(), np.random.default_rng(8), T=20, streams=8)


def test_eight_streams_answer_as_eight_single_sessions_bit_for_bit(model: Model, x: np.ndarray) -> None:
    together = model.session(streams=8)
    y = together.run(x)
    assert y.sum() > 5
    for i in range(8):
        alone = model.session()
        np.testing.assert_array_equal(y[:, i : i + 1], alone.run(x[:, i : i + 1]))
        for name, v in alone.state.items():
            np.testing.assert_array_equal(v[0], together.state[name][i])


def test_rows_advance_only_the_streams_that_are_named(model: Model, x: np.ndarray) -> None:
    session = model.session(streams=3)
    rng = np.random.default_rng(9)
    expected = [model.session() for _ in range(3)]
    at = [0, 0, 0]
    for _ in range(30):
        rows = [int(r) for r in rng.permutation(3)[: rng.integers(1, 4)] if at[r] < 20]
        if not rows:
            continue
        y = session.step(np.stack([x[at[r], r] for r in rows]), rows)
        for k, r in enumerate(rows):
            np.testing.assert_array_equal(y[k], expected[r].step(x[at[r], r][None])[0])
            at[r] += 1
    assert list(session.steps) == at


def test_reset_is_a_fresh_start_and_of_some_rows_leaves_the_others(model: Model, x: np.ndarray) -> None:
    session = model.session(streams=2)
    first = session.run(x[:6, :2])
    session.reset()
    np.testing.assert_array_equal(session.run(x[:6, :2]), first)
    session.reset(rows=[1])
    y = session.step(x[6, :2])
    fresh, continued = model.session(), model.session()
    continued.run(x[:6, :1])
    np.testing.assert_array_equal(y[1:], fresh.step(x[6, 1:2]))
    np.testing.assert_array_equal(y[:1], continued.step(x[6, :1]))


def test_a_snapshot_brings_back_the_moment_it_was_taken(model: Model, x: np.ndarray) -> None:
    session = model.session(streams=2)
    session.run(x[:5, :2])
    everything, one = session.snapshot(), session.snapshot(row=1)
    after = session.run(x[5:9, :2])
    session.restore(everything)
    np.testing.assert_array_equal(session.run(x[5:9, :2]), after)
    other = model.session()
    other.restore(one)
    np.testing.assert_array_equal(other.run(x[5:9, 1:2]), after[:, 1:])
    with pytest.raises(PlifError, match="other shapes"):
        other.restore(everything)


def test_any_split_into_calls_gives_the_same_outputs_and_state(model: Model, x: np.ndarray) -> None:
    whole = model.session(streams=8)
    y = whole.run(x)
    rng = np.random.default_rng(10)
    for _ in range(5):
        cuts = np.sort(rng.integers(0, 21, 4))
        session = model.session(streams=8)
        parts = [session.run(part) for part in np.split(x, cuts) if len(part)]
        np.testing.assert_array_equal(np.concatenate(parts), y)


@pytest.mark.parametrize("engine", [e for e in ("onnxruntime", "event") if e != "event" or native.is_built()])
@pytest.mark.parametrize("rows", [None, [1], [4, 0, 2]])
def test_many_steps_in_a_call_are_the_steps_one_by_one(
    engine: str, rows: list[int] | None, files: Path, x: np.ndarray
) -> None:
    """Outputs, membranes, the count of steps, and the firing rates of every step and of the last one."""
    many, single = (runtime.load(files / "step.onnx", engine, rates=True).session(streams=8) for _ in range(2))
    which = slice(None) if rows is None else rows
    for part in (x[:7], x[7:8], x[8:20]):
        y = many.run(part[:, which], rows)
        call, last = many.call_rates, many.last_rates
        for t, x_t in enumerate(part):
            np.testing.assert_array_equal(single.step(x_t[which], rows), y[t])
            for layer, values in single.last_rates.items():
                np.testing.assert_array_equal(call[layer].reshape(len(part), -1)[t], values)
        assert {layer: values.tolist() for layer, values in single.last_rates.items()} == {
            layer: values.tolist() for layer, values in last.items()
        }
        for a, b in zip(many.snapshot(), single.snapshot(), strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(many.steps, single.steps)


def test_the_number_of_threads_does_not_change_a_bit(files: Path, x: np.ndarray) -> None:
    one, two = (runtime.load(files / "step.onnx", threads=n).session(streams=8).run(x) for n in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_firing_rates_are_counted_when_asked_for(files: Path, x: np.ndarray) -> None:
    for name in ("step", "unrolled"):
        session = runtime.load(files / f"{name}.onnx", rates=True).session(streams=8)
        session.run(x)
        assert set(session.rates) == {"conv1", "conv2", "fc1", "fc2"}
        assert all(0 < rate < 0.6 for rate in session.rates.values())
        assert session.last_rates["fc2"].shape == (8 if name == "step" else 8 * 5,)
    plain = runtime.load(files / "step.onnx").session(streams=8)
    rated = runtime.load(files / "step.onnx", rates=True).session(streams=8)
    np.testing.assert_array_equal(plain.run(x), rated.run(x))


def test_wrong_shapes_rows_and_forms_are_refused_in_one_line(files: Path, model: Model, x: np.ndarray) -> None:
    session = model.session(streams=2)
    with pytest.raises(PlifError, match=r"x is \[1, 2, 16, 16\]; expected \[2, 2, 16, 16\]"):
        session.step(x[0, :1])
    for rows in ([2], [-1], [0, 0]):
        with pytest.raises(PlifError, match="rows"):
            session.step(x[0, : len(rows)], rows)
    unrolled = runtime.load(files / "unrolled.onnx").session()
    with pytest.raises(PlifError, match="takes 5 steps at once"):
        unrolled.step(x[0, :1])
    with pytest.raises(PlifError, match="a multiple of 5 steps, not 7"):
        unrolled.run(x[:7, :1])
    with pytest.raises(PlifError, match="exactly 3 streams"):
        runtime.load(files / "three.onnx").session(streams=2)


def test_loading_with_the_wrong_hash_is_refused(files: Path) -> None:
    with pytest.raises(PlifError, match="the file is another one, or was changed"):
        runtime.load(files / "step.onnx", sha256="0" * 64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import hashlib

        runtime.load(files / "step.onnx", sha256=hashlib.sha256((files / "step.onnx").read_bytes()).hexdigest())
