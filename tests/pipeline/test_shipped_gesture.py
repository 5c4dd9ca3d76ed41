"""The gesture networks that ship keep what models/README.md and docs/gesture-results.md say of them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

import runtime
from plif_export import export
from plif_train.commands.paper_figures.subject import TrainingRun
from plif_train.core.loop.checkpoint import load
from runtime.core.events import make_events, make_frames, open_source, read_events
from runtime.core.events.framing import resolve_framing
from runtime.core.model.card import read_card
from runtime.datasets.dvs128_gesture.set import CLASSES
from runtime.datasets.gesture_sim.simulate_gesture import record_performer
from runtime.sources.push import PushSource
from tests.conftest import REPOSITORY

MODELS = REPOSITORY / "models"
SIZE = (2, 128, 128)


@pytest.fixture(scope="module", params=("gesture-sim", "gesture", "gesture-people"))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> runtime.Model:
    result = export(MODELS / f"{request.param}.pt", tmp_path_factory.mktemp("gesture") / f"{request.param}.onnx")
    assert result.passed and result.verify is not None and result.verify.untested == []
    return runtime.load(result.path)


def answer(model: runtime.Model, events: np.ndarray, upright: str = "identity") -> np.ndarray:
    """Spikes of each class, [T, classes], from a fresh start."""
    framing = resolve_framing(model.card)
    assert framing is not None and framing.orientation == "upright"
    x = make_frames(events, framing, SIZE, SIZE[1:], upright)
    votes: np.ndarray = np.rint(10 * model.session(1).run(x[:, None])[:, 0].astype(np.float64))
    return votes


@cache
def held_out(number: int) -> tuple[np.ndarray, list[tuple[int, int, int]]]:
    """Simulated once for all networks."""
    return record_performer(987, "test", number)


def test_the_card_says_whether_it_learned_from_simulated_events_only(model: runtime.Model) -> None:
    assert tuple(model.classes) == CLASSES and model.input_shape == SIZE
    path = MODELS / f"{model.path.stem}.pt"
    training = load(path).meta.training
    assert training is not None and path.stat().st_size < 4_000_000
    if path.stem == "gesture-sim":
        assert "not real recordings" in training["simulated"]
    else:
        mixture = training.get("mixture")  # as cards had it before a recipe named its sets
        sets = [part["data"] for part in mixture] if mixture else training["recipe"]["data"]
        assert "simulated" not in training and sets.count("folder") == 1


def test_the_log_of_the_network_for_a_camera_lies_beside_it() -> None:
    run = TrainingRun(MODELS / "gesture.pt", read_card(MODELS / "gesture.pt"))
    training = load(run.path).meta.training or {}
    assert [int(row["epoch"]) for row in run.epochs] == list(range(1, training["epoch"] + 1)) and run.weights
    assert float(run.epochs[-1]["test_accuracy"]) == training["test_accuracy"]


def test_no_channel_of_the_network_for_a_camera_fires_in_silence(tmp_path: Path) -> None:
    network = runtime.load(export(MODELS / "gesture.pt", tmp_path / "g.onnx", verify=False).path, rates=True)
    session = network.session(1)
    for _ in range(20):
        session.step(np.zeros((1, *SIZE), np.float32))
    assert all(rate == 0 for layer, rate in session.rates.items() if layer.startswith("conv"))


def test_the_real_clips_are_right(model: runtime.Model, clips: Path) -> None:
    right = {}
    for clip in sorted(clips.glob("*.bs2")):
        votes = answer(model, read_events(clip, sensor=(128, 128))).sum(axis=0)
        right[clip.name] = int(votes.argmax()) == int(clip.name.partition("_")[0])
    trained_on_them = model.path.stem != "gesture-sim"
    assert len(right) == 6 and sum(right.values()) >= 5 + trained_on_them, right


@cache
def larger(clip: Path, sensor: tuple[int, int]) -> np.ndarray:
    """1.2 s of a clip of 128x128 as a larger sensor of the same view sees it: all pixels that take the place of one have its
    events, within 2 ms. And noise, .3 events a second and pixel."""
    events, rng = read_events(clip, sensor=(128, 128)), np.random.default_rng(1)
    t0 = int(events["t"][0])
    events = events[events["t"] < t0 + 1_200_000]
    (width, height), side = sensor, min(sensor)
    places = np.ceil(np.arange(129) * side / 128 - 0.5).astype(
        np.int64
    )  # of the first pixel, and of the one after the last
    first = [places[events[axis]] for axis in "xy"]
    ends = [places[events[axis].astype(int) + 1] for axis in "xy"]
    parts = []
    for i, j in np.ndindex(-(-side // 128), -(-side // 128)):
        x, y = first[0] + i, first[1] + j
        here = (x < ends[0]) & (y < ends[1])
        t = events["t"][here] + rng.integers(0, 2000, int(here.sum()))
        parts.append((t, x[here] + (width - side) // 2, y[here] + (height - side) // 2, events["p"][here]))
    count = round(0.3 * width * height * 1.2)
    noise = (t0 + rng.integers(0, 1_200_000, count), rng.integers(0, width, count), rng.integers(0, height, count))
    parts.append((*noise, rng.random(count) < 0.5))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    order = np.argsort(columns[0], kind="stable")
    return make_events(*(column[order] for column in columns))


@pytest.mark.parametrize("sensor", [(346, 260), (640, 480)])
def test_a_camera_of_any_size_shows_a_network_the_pixels_that_it_learned(
    model: runtime.Model, clips: Path, sensor: tuple[int, int]
) -> None:
    """With sums of all pixels, noise fills the frame and none of them is right."""
    right, told = {}, []
    for clip in sorted(clips.glob("*.bs2"))[:3]:
        for follow in ("auto", "off"):  # a view that follows shows more of the pixels: they are counted without it
            source = PushSource(*sensor)
            source.push(larger(clip, sensor))
            source.end()
            running = model.stream(source, decide="sum", reset="never", overload="drop:1000", follow=follow)
            list(running)
            summary = running.summary()
            right[clip.name, follow] = summary["label"] == model.classes[int(clip.name.partition("_")[0])]
        told.append(summary)
    assert all(right.values()), right
    for summary in told:
        assert summary["events_not_shown"] == summary["events_filtered"] > 0.7 * summary["events_in"]
        assert summary["fit"]["fits"], summary["fit"]


@pytest.mark.large
def test_held_out_performers_are_understood(model: runtime.Model) -> None:
    """Two performers of another seed than any that was used in making it: 24 windows of 0.8 s."""
    right = total = 0
    for number in range(2):
        events, rows = held_out(number)
        for gesture, start_us, end_us in rows:
            part = events[(events["t"] >= start_us) & (events["t"] < end_us)]
            right += int(answer(model, part).sum(axis=0).argmax()) == gesture
            total += 1
    assert total == 24 and right >= 0.7 * total, right


def test_people_who_do_no_gesture_are_mostly_none_or_other(model: runtime.Model, shared_data: Path) -> None:
    """Upright: AEDAT 2.0 is stored turned by 180 degrees."""
    quiet = []
    for recording in sorted((shared_data / "recordings").glob("*.aedat")):
        source = open_source(str(recording))
        votes = answer(model, np.concatenate(list(source.packets())), source.upright)
        winner = np.where(votes.sum(axis=1) < 3, len(CLASSES) - 1, votes.argmax(axis=1))
        quiet.append(float((winner == len(CLASSES) - 1).mean()))
    assert len(quiet) == 6 and np.mean(quiet) > 0.55, quiet
