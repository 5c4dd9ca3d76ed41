"""`--follow`: where a view follows, what it decides, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import plif_train
import runtime
from plif_export import export
from runtime.core.base.errors import PlifError
from runtime.core.cli.main import run
from runtime.core.events import make_events, open_source, write_nmnist
from runtime.core.events.frame import Frame
from runtime.core.events.framer import Framer
from runtime.core.model.card import read_card
from runtime.core.stream.decide import Decision
from tests.conftest import REPOSITORY

FEED = "sim:digits?seed=5&seconds=2"
LARGER = "sim:dvs128-gesture?seed=5&seconds=2"  # 128x128, and the network's input is 34x34
RULE = "leak:100ms,margin=0.1"
LINE = "duration:40ms,every=20ms"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """m.pt, the shipped digits network with a rule for two rows, m.onnx, one.onnx for one row, and a recording."""
    folder = tmp_path_factory.mktemp("follow")
    net = plif_train.load(REPOSITORY / "models" / "nmnist-digits.pt")
    net.meta = replace(net.meta, framing=LINE, rules={"follow": {"rule": RULE}})
    plif_train.save(net, folder / "m.pt")
    export(folder / "m.pt", folder / "m.onnx")
    export(folder / "m.pt", folder / "one.onnx", batch=1, verify=False)
    events = np.concatenate([packet.copy() for packet in open_source(FEED).packets() if len(packet)])
    write_nmnist(folder / "feed.bin", small(events))
    return folder


def small(events: np.ndarray) -> np.ndarray:
    """Events half as large in a corner, where the view finds them."""
    return make_events(events["t"], 14 + events["x"] // 2, 4 + events["y"] // 2, events["p"])


def decisions(path: Path, source: str, **options: object) -> list[Decision]:
    return list(runtime.load(path).stream(source, **options))


def test_auto_follows_feeds_of_larger_sensors_where_the_card_has_a_rule_for_it(folder: Path) -> None:
    model, recording = runtime.load(folder / "m.onnx"), str(folder / "feed.bin")
    assert model.card["follow"] == {"rule": RULE}
    for follow, source, follows in [
        *((None, LARGER, True), ("auto", LARGER, True), ("on", LARGER, True), ("off", LARGER, False)),
        *((None, FEED, False), ("on", FEED, True), (None, recording, False), ("on", recording, True)),
    ]:
        options = model.stream(source, follow=follow).options
        assert ("follow=on" in str(options.framing)) == follows, (follow, source)
        assert (options.decide == RULE) == (follows and source != recording)
    assert "follow" not in str(
        model.stream(LARGER, framing="events:n=500,max=20ms").options.framing
    )  # auto cannot here
    del model.card["follow"]
    assert "follow" not in str(model.stream(LARGER).options.framing)


def test_decisions_add_up_the_greater_of_both_rows_while_the_view_counts(folder: Path) -> None:
    said = decisions(folder / "m.onnx", str(folder / "feed.bin"), follow="on")
    votes, counted, differs = np.zeros(10), 0, 0
    for decision in said:
        assert decision.view is not None
        whole, view = np.rint(10 * np.array(decision.view["y"]))
        votes += np.maximum(whole, view) if decision.view["counts"] else whole
        assert decision.votes == votes.tolist()
        counted += decision.view["counts"]
        differs += decision.view["counts"] and bool((view > whole).any())
        left, top, width, height = decision.view["window"]
        assert width == height == 0.625 and -0.5 < left < 1 and -0.5 < top < 1
    assert counted > 50 and differs > 10
    alone = decisions(folder / "m.onnx", str(folder / "feed.bin"))
    assert alone[0].view is None and "view" not in alone[0].to_dict() and alone[-1].votes != said[-1].votes


@pytest.mark.parametrize("engine", ["onnxruntime", "event"])
def test_a_recording_of_a_stream_replays_to_the_bit(folder: Path, tmp_path: Path, engine: str, capsys: object) -> None:
    words = ["stream", str(folder / "m.onnx"), "--engine", engine, "--json"]
    assert run([*words, str(folder / "feed.bin"), "--follow", "on", "--record", str(tmp_path / "kept")]) == 0
    first = capsys.readouterr().out  # type: ignore[attr-defined]
    assert run([*words, str(tmp_path / "kept")]) == 0
    again = capsys.readouterr().out  # type: ignore[attr-defined]

    def told(text: str) -> list[dict[str, object]]:
        return [{**line, "latency_ms": 0} for line in map(json.loads, text.splitlines()) if "step" in line]

    assert told(first) == told(again) and all(line["view"] for line in told(again))


def test_two_frames_of_an_overload_become_one_in_both_pictures(folder: Path) -> None:
    line = "duration:20ms,follow=on"
    events = np.concatenate([small(packet) for packet in open_source(FEED).packets() if len(packet)])
    frames = Framer(line, (2, 34, 34), (34, 34)).push(events)
    older, newer = frames[40:42]
    sums = older.pictures + newer.pictures  # type: ignore[operator]
    Framer(line, (2, 34, 34), (34, 34)).join(newer, older)
    assert newer.pictures is not None and np.array_equal(newer.pictures, sums) and np.array_equal(newer.x, sums[0])
    assert newer.window is not None and newer.merged == 2 and sums[1].any()


def test_an_empty_frame_has_both_pictures() -> None:
    framer = Framer("duration:20ms,follow=on", (2, 34, 34), (34, 34))
    framer.push(make_events([0], [1], [1], [True]))
    empty: list[Frame] = list(framer.tick(60_000))[1:]
    assert empty and all(frame.pictures is not None and not frame.pictures.any() for frame in empty)


def test_what_cannot_follow_is_refused_in_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in [
        (("m.onnx", "--follow", "yes"), "--follow yes: expected on, off, auto"),
        (("one.onnx", "--follow", "on"), "needs 2 rows a step, and the file has a fixed batch of 1"),
        (("m.onnx", "--follow", "on", "--reset", "every:8/2"), "every:T/K does not go with follow=on"),
        (("m.onnx", "--follow", "on", "--framing", "duration:10ms"), "follow=on takes a step of 20 ms"),
        (("m.onnx", "--follow", "on", "--framing", "count:T=8"), "'follow=on' is no option of count"),
    ]:
        assert run(["stream", str(folder / words[0]), str(folder / "feed.bin"), *words[1:]]) == 2
        assert said in capsys.readouterr().err
    assert run(["stream", str(folder / "one.onnx"), LARGER]) == 0  # auto: one row


def test_calibration_finds_a_rule_for_two_rows_beside_that_of_one(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "noise").mkdir()
    rng = np.random.default_rng(7)
    t_us, (x, y) = np.sort(rng.integers(0, 12_000_000, 24_000)), rng.integers(0, 34, (2, 24_000))
    write_nmnist(tmp_path / "noise" / "a.bin", make_events(t_us, x, y, rng.integers(0, 2, 24_000)))
    words = ["eval", str(folder / "m.pt"), "--data", "digits:12", "--follow", "on"]
    calibrated = [*words, "--calibrate-decide", "2000", "--negatives", str(tmp_path / "noise"), "-o"]
    assert run([*calibrated, str(tmp_path / "new.pt")]) == 0
    card = read_card(tmp_path / "new.pt")
    assert "follow=on" in card["follow"]["framing"] and card["follow"]["gestures"] == 12 and "decide" not in card
    exported = export(tmp_path / "new.pt", tmp_path / "new.onnx")
    assert runtime.load(exported.path).stream(LARGER).options.decide == card["follow"]["rule"]
    assert run(["verify", str(exported.path), "--against", str(tmp_path / "new.pt")]) == 0
    assert run(words) == 2  # an evaluation has one row
    with pytest.raises(PlifError, match=r"follow .*; expected its rule"):
        broken = plif_train.load(tmp_path / "new.pt")
        broken.meta = replace(broken.meta, rules={"follow": {"rule": 3}})
        plif_train.save(broken, tmp_path / "broken.pt")
