"""Does a recording fit a network? Training writes what it saw into the card, every export keeps it, and one rule compares."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import plif_train
from plif_export import export, verify
from plif_export.core.targets import find_target
from plif_train.core.loop import checkpoint
from runtime.core.api import load
from runtime.core.cli.main import run
from runtime.core.data import open_dataset
from runtime.core.events import write_nmnist
from runtime.core.events.fit import UNLIKE_TRAINING, EventOutcome, describe_training
from runtime.core.model.card import read_card
from runtime.observers.likeness import DomainCheck
from runtime.sources.push import PushSource
from tests.conftest import REPOSITORY
from tests.networks import firing
from tests.recorded import SHIPPED
from tests.recordings import aedat2_bytes, some_events

SHAPE = (2, 34, 34)
SAID = {"samples": 9, "size": [34, 34], "rate": [6e3, 2e4], "polarity": [0.45, 0.55], "events_a_pixel": [0.2, 0.5]}
CARD = {"input": {"kind": "events", "shape": list(SHAPE)}, "T": 10, "framing": "count:T=10", "trained_on": SAID}
LIKE = EventOutcome(
    4000, 4000, 0, (34, 34), "recording", 10, 0.5, 300_000
)  # 0.35 events a pixel and frame, 13,333 a second


def why(card: dict[str, Any] = CARD, goes_on: bool = False, **changed: Any) -> list[str]:
    return [*DomainCheck(card).compare(replace(LIKE, **changed), goes_on)]


@pytest.mark.parametrize(
    ("near", "far", "said"),
    (
        ({"sensor": (42, 28)}, {"sensor": (43, 34)}, "a sensor of 43x34, not 34x34"),
        ({"frames": 30}, {"frames": 40}, "0.087 events a pixel and frame, not 0.2 to 0.5"),
        ({"frames": 4}, {"frames": 3}, "1.2 events a pixel and frame, not 0.2 to 0.5"),
        ({"duration_us": 21_000}, {"duration_us": 19_000}, "211 k events a second, not 6000 to 20.0 k"),
        ({"duration_us": 6_000_000}, {"duration_us": 7_000_000}, "571 events a second, not 6000 to 20.0 k"),
        ({"polarity": 0.74}, {"polarity": 0.76}, "76 % ON, not 45 to 55"),
        ({"polarity": 0.26}, {"polarity": 0.0}, "0 % ON, not 45 to 55"),
    ),
)
def test_what_is_far_is_said_with_what_was_expected_and_what_is_near_is_not(
    near: dict[str, Any], far: dict[str, Any], said: str
) -> None:
    assert why(**near) == []
    assert why(**far) == [said]


def test_nothing_is_said_that_is_not_known() -> None:
    assert why(duration_us=0, frames=0, polarity=None) == []
    bare = {key: value for key, value in CARD.items() if key != "trained_on"}
    assert why(bare, sensor=(1280, 720), polarity=1.0) == [] and DomainCheck(bare).to_dict()["fits"] is None
    assert why({**bare, "sensor": [34, 34]}, sensor=(1280, 720)) == ["a sensor of 1280x720, not 34x34"]
    assert "smaller than the network's input" in why(bare, sensor=(20, 20), sensor_from="guess")[0]
    assert why({**CARD, "input": {"kind": "events", "shape": [1, 34, 34]}}, polarity=1.0) == []


def test_a_larger_sensor_is_far_only_where_something_can_be_done_about_it() -> None:
    """Sums of many pixels were not learned, nor a picture pressed together; single pixels of a larger sensor were."""
    camera, many = {"sensor": (640, 480)}, {"events": 400_000, "events_used": 400_000}
    remedy = "; resize=nearest in the framing shows one pixel of each cell"

    def said(framing: str, **changed: Any) -> list[str]:
        return why({**CARD, "framing": framing}, **camera, **changed)

    assert said("count:T=10,value=binary,resize=nearest,shape=square") == []
    assert said("count:T=10,value=binary,resize=nearest") == [
        "640x480 pixels pressed into 34x34; shape=square in the framing shows the middle"
    ]
    assert said("count:T=10,value=binary,resize=sum") == [f"a sensor of 640x480, not 34x34{remedy}"]
    assert said("count:T=10", **many, duration_us=30_000_000) == [
        "a sensor of 640x480, not 34x34", f"35 events a pixel and frame, not 0.2 to 0.5{remedy}"
    ]  # fmt: skip
    assert said("count:T=10,resize=nearest,shape=square", **many, duration_us=30_000_000) == [
        "35 events a pixel and frame, not 0.2 to 0.5"
    ]
    assert said("count:T=10,resize=nearest,shape=square", events=400_000, events_not_shown=396_000) == []
    assert why({**CARD, "framing": "count:T=10,resize=nearest"}, sensor=(20, 20)) == ["a sensor of 20x20, not 34x34"]


def test_few_events_of_what_goes_on_may_be_followed_by_more_and_tell_no_polarity() -> None:
    quiet: dict[str, Any] = {"events": 500, "events_used": 500, "duration_us": 3_000_000, "polarity": 0.9}
    assert why(goes_on=True, **quiet) == [] and len(why(**quiet)) == 2
    assert "events a second" in why(goes_on=True, duration_us=10_000)[0]


def test_a_set_is_unlike_only_where_more_than_one_in_twenty_of_its_recordings_are() -> None:
    fit = DomainCheck(CARD)
    for i in range(20):
        fit.add(f"{i}.bin", LIKE if i else replace(LIKE, polarity=1.0))
    assert fit.line() is None and fit.to_dict()["fits"] is True and fit.far == 1
    fit.add("20.bin", replace(LIKE, polarity=1.0))
    assert fit.line() == f"2 of 21 recordings are {UNLIKE_TRAINING}: 0.bin: 100 % ON, not 45 to 55"


def test_the_ranges_leave_out_the_rare_and_recordings_of_several_sensors_have_no_size() -> None:
    each = [replace(LIKE, polarity=i / 100) for i in range(101)]
    found = describe_training(each, SHAPE)
    assert found["polarity"] == [0.05, 0.95] and found["size"] == [34, 34] and found["samples"] == 101
    assert found["rate"] == [13300.0, 13300.0]
    assert describe_training([LIKE, replace(LIKE, sensor=(128, 128))], SHAPE)["size"] is None


# --- the card ---------------------------------------------------------------------------------------------------------


def recordings(folder: Path, each: int, last_us: int = 300_000) -> str:
    """A folder of `each` recordings of each of three classes, in both splits, the later ones with more events."""
    for split in ("train", "test"):
        for label in ("a", "b", "other"):
            (folder / split / label).mkdir(parents=True)
            for i in range(each):
                write_nmnist(folder / split / label / f"{i}.bin", some_events(3000 + 100 * i, seed=i, last_us=last_us))
    (folder / "sensor.txt").write_text("34x34\n")
    return f"folder:{folder}"


def test_training_writes_what_it_saw_and_the_same_recordings_fit(tmp_path: Path) -> None:
    data = recordings(tmp_path / "set", each=11)
    recipe = plif_train.Recipe(epochs=1, batch_size=10)
    plif_train.train("FC30-PLIF-APk10s10", data, tmp_path / "m.pt", recipe, T=2, size="34x34", limit_train=30)
    card = read_card(tmp_path / "m.pt")
    said = card["trained_on"]
    assert (said["samples"], said["size"]) == (30, [34, 34]) and card["framing"] == "count:T=2,resize=sum"
    dataset, fit = open_dataset(data, "train", framing="count:T=2", shape=SHAPE), DomainCheck(card)
    each = [dataset.frames(i)[1] for i in range(len(dataset))]  # type: ignore[attr-defined]
    for one in each:
        fit.add("one", one)
    assert fit.to_dict()["fits"] is True and fit.far == 0
    rates = np.quantile([1e6 * one.events / one.duration_us for one in each], (0.05, 0.95))
    np.testing.assert_allclose(said["rate"], rates, rtol=0.02)
    np.testing.assert_allclose(said["events_a_pixel"], np.array([3000, 4000]) / 2 / 34**2, rtol=0.04)


def test_a_training_on_windows_writes_what_the_windows_are(tmp_path: Path) -> None:
    data = recordings(tmp_path / "set", each=1, last_us=1_000_000)
    recipe = plif_train.Recipe(
        epochs=1,
        batch_size=3,
        loss="step-mse",
        vary=("mirror:0.5",),
        framing="duration:20ms,value=binary",
        protocol="C",
    )
    plif_train.train("FC30-PLIF-APk10s10", data, tmp_path / "m.pt", recipe, T=5, size="34x34")
    card = read_card(tmp_path / "m.pt")
    said = card["trained_on"]
    assert card["framing"] == "duration:20ms,value=binary,resize=nearest", "with the word that it used"
    assert said["samples"] == 512 and said["size"] == [34, 34]
    low, high = said["rate"]
    assert 2500 < low < 3000 < high < 3500 and said["events_a_pixel"][1] == pytest.approx(high * 0.02 / 34**2, rel=0.02)
    again = checkpoint.load(tmp_path / "m.pt")
    assert again.meta.trained_on == said


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    net = firing("c4k4s4-BN-PLIF-FC30-PLIF-APk10s10", SHAPE, T=8, framing="count:T=8", sensor=(34, 34))
    net.meta = replace(net.meta, trained_on=SAID)
    path = tmp_path_factory.mktemp("fit") / "m.pt"
    checkpoint.save(net, path)
    return path


@pytest.mark.parametrize("to", ("onnx", "plif", "c", "web", "openvino", "nir", "triton"))
def test_every_target_keeps_it(model: Path, tmp_path: Path, to: str) -> None:
    if to == "openvino":
        pytest.importorskip("openvino")
    options = {"votes": "fold"} if to == "nir" else {}
    path = export(model, tmp_path / f"m{find_target(to).suffix}", to=to, verify=False, options=options).path
    assert read_card(path)["trained_on"] == SAID


def test_a_card_that_says_another_training_than_the_model_does_not_pass(model: Path, tmp_path: Path) -> None:
    path = export(model, tmp_path / "m.onnx", verify=False).path
    assert verify(path, model, steps=4).passed
    other = checkpoint.load(model)
    other.meta = replace(other.meta, trained_on={**SAID, "rate": [1, 2]})
    checkpoint.save(other, tmp_path / "other.pt")
    report = verify(path, tmp_path / "other.pt", steps=4)
    assert not report.passed and any("trained_on rate" in one["where"] for one in report.structure)


# --- the line -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits network that ships, exported."""
    path = tmp_path_factory.mktemp("digits") / "digits.onnx"
    return export(REPOSITORY / "models" / "nmnist-digits.pt", path, verify=False).path


def written(folder: Path, count: int = 4000, **size: int) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "a.aedat"
    path.write_bytes(aedat2_bytes(some_events(count, width=128, height=128, **size)))
    return path


def test_a_stream_says_it_once_as_a_warning_and_in_its_summary(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = str(written(tmp_path / "s"))
    for more in ((), ("--json",)):
        assert run(["stream", str(digits), place, *more]) == 0
        said = capsys.readouterr()
        assert [
            line.startswith(f"plif: warning: {place}: ") for line in said.err.splitlines() if UNLIKE_TRAINING in line
        ] == [True]
        assert UNLIKE_TRAINING not in said.out
    fit = json.loads(said.out.splitlines()[-1])["summary"]["fit"]
    assert fit == {"fits": False, "recordings": 1, "far": 1, "first": place, "why": ["a sensor of 128x128, not 34x34"]}
    assert run(["stream", str(digits), str(SHIPPED / "nmnist.bin")]) == 0
    assert UNLIKE_TRAINING not in capsys.readouterr().err


def test_predict_and_eval_say_it_once_for_all_recordings(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for label in "0123456789":
        written(tmp_path / label)
    for command in (("predict", str(tmp_path)), ("eval", "--data", f"folder:{tmp_path}")):
        assert run([command[0], str(digits), *command[1:], "--json", "--workers", "1"]) == 0
        said = capsys.readouterr()
        assert said.err.count(UNLIKE_TRAINING) == 1 and "10 of 10 recordings are unlike" in said.err
        fit = json.loads(said.out)["fit"]
        assert (fit["fits"], fit["recordings"], fit["far"]) == (False, 10, 10) and "a sensor of 128x128" in fit["why"][
            0
        ]
    assert run(["eval", str(digits), "--data", "digits:20", "--json", "--workers", "1"]) == 0
    said = capsys.readouterr()
    assert UNLIKE_TRAINING not in said.err and json.loads(said.out)["fit"]["fits"] is True


def test_a_feed_is_judged_after_as_many_steps_as_a_sample_has_and_never_for_being_quiet(
    model: Path, tmp_path: Path
) -> None:
    network = load(export(model, tmp_path / "m.onnx", verify=False).path)

    def streamed(count: int, last_us: int) -> tuple[dict[str, Any], int]:
        source = PushSource(34, 34)
        source.push(some_events(count, last_us=last_us))
        source.end()
        running = network.stream(source, framing="duration:10ms", overload="drop:1000")
        told = [running.summary()["fit"]["recordings"] for _ in running]
        return running.summary()["fit"], told.index(1) + 1 if 1 in told else 0

    loud, after = streamed(40_000, 200_000)
    assert after == read_card(model)["T"] == 8 and "events a pixel and frame" in loud["why"][0]
    quiet, after = streamed(100, 1_000_000)
    assert (quiet["fits"], after) == (True, 0)


def test_the_polarity_that_a_stream_sees_is_that_of_the_events_however_they_are_framed(
    model: Path, tmp_path: Path
) -> None:
    network = load(export(model, tmp_path / "m.onnx", verify=False).path)
    events = some_events(4000)
    events["p"] = np.arange(4000) % 10 == 0
    write_nmnist(tmp_path / "off.bin", events)
    for framing in ("count:T=8", "count:T=8,polarity=swapped"):
        running = network.stream(str(tmp_path / "off.bin"), framing=framing)
        list(running)
        assert running.summary()["fit"]["why"] == ["10 % ON, not 45 to 55"], framing


# --- plif info RECORDING ------------------------------------------------------------------------------------------------
