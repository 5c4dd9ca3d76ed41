"""The promise of the whole pipeline: the same recording, streamed or evaluated, gives the same spikes and the same answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import plif_train
import runtime
from plif_export import export
from runtime.core.api import Model
from runtime.core.data import open_dataset
from runtime.core.events import write_nmnist
from runtime.core.measure.evaluate.evaluation import evaluate
from runtime.core.measure.evaluate.predictions import NONE
from runtime.datasets.digits.drawing import draw_digit
from runtime.datasets.digits.saccades import record_digit
from tests.networks import digits_network


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty recordings in the layout of N-MNIST, and a random network that fires on them, exported."""
    folder = tmp_path_factory.mktemp("pipeline")
    for i in range(20):
        rng = np.random.default_rng(i)
        path = folder / "nmnist" / "Test" / str(i % 10) / f"{i}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_nmnist(path, record_digit(draw_digit(i % 10, rng), rng))
    (folder / "nmnist" / "Train").mkdir()
    for framing in ("count:T=8", "duration:30ms", "events:n=400,max=40ms"):
        net = digits_network(framing)
        export(net, folder / f"{framing.partition(':')[0]}.onnx", verify=False)
        if framing.startswith("count"):
            plif_train.save(net, folder / "count.pt")
            export(net, folder / "unrolled.onnx", form="unrolled", verify=False)
    return folder


def recordings(folder: Path) -> list[Path]:
    """In the order of the data set: by number, across the classes."""
    return [folder / "nmnist" / "Test" / str(i % 10) / f"{i}.bin" for i in range(20)]


@pytest.mark.parametrize("framing", ("count", "duration", "events"))
def test_stream_and_eval_agree_on_every_recording(folder: Path, framing: str) -> None:
    model = runtime.load(folder / f"{framing}.onnx")
    evaluated = evaluate(model, f"nmnist:{folder / 'nmnist'}", batch=7)
    shape = model.input_shape
    dataset = open_dataset(f"nmnist:{folder / 'nmnist'}", "test", framing=model.card["framing"], shape=shape)
    spoke = 0
    for i, (path, predicted) in enumerate(zip(recordings(folder), evaluated.predictions, strict=True)):
        assert Path(dataset.path(i)) == path
        running = model.stream(str(path), decide="sum", reset="recording")
        decisions = list(running)
        session = model.session()
        y = session.run(dataset.sample(i)[:, None])
        np.testing.assert_array_equal(decisions[-1].votes, np.rint(10 * y.astype(float)).sum(axis=(0, 1)))
        for name, v in session.state.items():
            np.testing.assert_array_equal(v, running.session.state[name], err_msg=name)
        if decisions[-1].index is None:
            assert sum(decisions[-1].votes) == 0 and predicted == NONE
        else:
            spoke += 1
            assert decisions[-1].index == predicted
        summary = running.summary()
        assert summary["events_in"] == sum(
            summary[f"events_{k}"] for k in ("used", "filtered", "late", "invalid", "dropped")
        )
    assert spoke > 10


def test_a_batch_changes_no_answer(folder: Path) -> None:
    model = runtime.load(folder / "count.onnx")
    runs = [evaluate(model, f"nmnist:{folder / 'nmnist'}", batch=batch, workers=2) for batch in (1, 3, 16)]
    assert runs[0].predictions == runs[1].predictions == runs[2].predictions
    assert sum(map(sum, runs[0].confusion)) == runs[0].samples == 20


@pytest.mark.quick
def test_step_unrolled_and_pytorch_give_the_same_predictions(folder: Path) -> None:
    names = ("count.onnx", "unrolled.onnx", "count.pt")
    step, unrolled, torch = (
        evaluate(runtime.load(folder / n, rates=True), f"nmnist:{folder / 'nmnist'}") for n in names
    )
    assert step.predictions == unrolled.predictions == torch.predictions
    assert len(set(step.predictions)) > 1
    assert step.firing_rates == pytest.approx(unrolled.firing_rates) and step.firing_rates == pytest.approx(
        torch.firing_rates
    )


def test_a_fixed_batch_evaluates_whatever_number_of_samples(folder: Path, tmp_path: Path) -> None:
    net = plif_train.load(folder / "count.pt")
    for form in ("step", "unrolled"):
        export(net, tmp_path / "fixed.onnx", form=form, batch=3)
        fixed = evaluate(runtime.load(tmp_path / "fixed.onnx"), f"nmnist:{folder / 'nmnist'}")
        free = evaluate(runtime.load(folder / "count.onnx"), f"nmnist:{folder / 'nmnist'}")
        assert fixed.predictions == free.predictions


def model_of(folder: Path) -> Model:
    return runtime.load(folder / "duration.onnx")


def test_a_reset_every_T_steps_equals_recordings_of_T_steps(folder: Path) -> None:
    model = model_of(folder)
    path = str(recordings(folder)[3])
    fresh = list(model.stream(path, reset="every:4"))
    plain = list(model.stream(path, reset="never"))
    assert [d.votes for d in fresh[:4]] == [d.votes for d in plain[:4]]
    frames = open_dataset(
        f"nmnist:{folder / 'nmnist'}", "test", framing=model.card["framing"], shape=model.input_shape
    ).sample(3)
    session = model.session()
    y = session.run(frames[4:8, None])  # what a network that starts afresh says of the next four frames
    np.testing.assert_array_equal(fresh[7].votes, np.rint(10 * y.astype(float)).sum(axis=(0, 1)))
    assert fresh[7].votes != plain[7].votes


@pytest.mark.quick
@pytest.mark.parametrize("decide", ("sum", "leak", "leak:100ms", "kofn", "kofn:2/4"))
def test_every_rule_streams(folder: Path, decide: str) -> None:
    decisions = list(model_of(folder).stream(str(recordings(folder)[0]), decide=decide))
    assert len(decisions) >= 10
    assert all(d.index is None or model_of(folder).classes[d.index] == d.label for d in decisions)


def test_real_speed_takes_as_long_as_the_recording(folder: Path) -> None:
    import time

    model = model_of(folder)
    running = model.stream(str(recordings(folder)[0]), speed="real")
    began = time.perf_counter()
    decisions = list(running)
    lasted = decisions[-1].t_us / 1e6
    assert 0.8 * lasted < time.perf_counter() - began
    assert running.summary()["lag_ms"]["p50"] is not None
