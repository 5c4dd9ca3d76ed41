"""plif eval --calibrate-decide: a rule for feeds that keeps a rate of false labels, in the card, and everywhere obeyed."""

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
from runtime.core.events.framing import Framing
from runtime.core.measure.evaluate.samples import DatasetSplit
from runtime.core.model.card import check_model_card, read_card
from runtime.core.stream.options import LIVE_RULES
from runtime.core.stream.source_framer import SourceFramer
from runtime.observers.calibrate.exits import check_writable
from runtime.observers.calibrate.labels import FeedOutputs, decide_labels, run_feed, score_gesture
from runtime.observers.calibrate.rules import calibrate_decide, iterate_frames
from runtime.observers.calibrate.search import CONTEXT_US, IDLE, Gesture, RuleScore, RuleSearch, choose_class_margins
from tests.conftest import REPOSITORY
from tests.libplif import CSession, Handle
from tests.live import free_port

FEED = "sim:digits?seed=5&seconds=2"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """m.pt, the shipped digits network for feeds, m.onnx, and noise/, 12 s in which there is no digit."""
    folder = tmp_path_factory.mktemp("calibrate")
    net = plif_train.load(REPOSITORY / "models" / "nmnist-digits.pt")
    net.meta = replace(net.meta, framing="duration:30ms")
    plif_train.save(net, folder / "m.pt")
    export(folder / "m.pt", folder / "m.onnx", verify=False)
    (folder / "noise").mkdir()
    rng = np.random.default_rng(7)
    for name in "abc":
        t_us, n = np.sort(rng.integers(0, 4_000_000, 8000)), 8000
        x, y = rng.integers(0, 34, (2, n))
        write_nmnist(folder / "noise" / f"{name}.bin", make_events(t_us, x, y, rng.integers(0, 2, n)))
    return folder


def calibrated(folder: Path, source: str, new: Path, per_hour: int = 2000) -> int:
    words = ["--data", "digits:30", "--calibrate-decide", str(per_hour), "--negatives", str(folder / "noise")]
    return run(["eval", str(folder / source), *words, "-o", str(new), "--json"])


@pytest.fixture(scope="module")
def onnx(folder: Path) -> Path:
    assert calibrated(folder, "m.onnx", folder / "new.onnx") == 0
    return folder / "new.onnx"


def test_the_rule_keeps_the_rate_and_stands_in_a_card_that_is_proved(folder: Path, onnx: Path) -> None:
    card, before = read_card(onnx), read_card(folder / "m.onnx")
    found = card.pop("decide")
    assert 0 < found["at_most_per_hour"] <= 2000 and found["missed"] < found["gestures"] == 30
    assert found["soft_onset_p50_ms"] <= found["onset_p50_ms"] and found["soft_false_labels"] >= found["false_labels"]
    assert found["hours"] == pytest.approx(12 / 3600, rel=0.01) and found["framing"] == "duration:30ms,resize=sum"
    assert {**card, "digest": 0} == {**before, "digest": 0} and card["digest"] != before["digest"]
    assert run(["verify", str(onnx), "--against", str(folder / "m.pt")]) == 0


def test_a_feed_takes_the_rule_of_the_card_and_a_recording_does_not(folder: Path, onnx: Path) -> None:
    rule = read_card(onnx)["decide"]["rule"]
    model, plain = runtime.load(onnx), runtime.load(folder / "m.onnx")
    assert model.stream(FEED).options.decide == rule != LIVE_RULES[0]
    assert plain.stream(FEED).options.decide == LIVE_RULES[0]
    assert model.stream(FEED, decide="leak").options.decide == "leak"
    assert model.stream(str(folder / "noise" / "a.bin")).options.decide == "sum"
    model.card["decide"]["rule"] = "leak:7q"
    with pytest.raises(PlifError, match=r"new.onnx: its card's rule, --decide leak:7q: .*; say another: --decide"):
        model.stream(FEED)
    with pytest.raises(PlifError, match=r"^--decide leak:8q: "):
        model.stream(FEED, decide="leak:8q")


def test_libplif_takes_the_rule_of_the_file(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With decide NULL a feed is decided by the file's rule, a recording by sum; and the file is proved as it is."""
    export(folder / "m.pt", tmp_path / "m.plif", to="plif", verify=False)
    export(folder / "m.pt", folder / "p.plif", to="plif", verify=False)
    assert calibrated(folder, "p.plif", tmp_path / "new.plif") == 0
    rule = json.loads(capsys.readouterr().out)["rule"]
    handles = new, old = Handle(tmp_path / "new.plif"), Handle(tmp_path / "m.plif")
    assert new.classes == old.classes
    events = np.concatenate([p.copy() for p in open_source(FEED).packets() if len(p)])

    def said(handle: Handle, **options: object) -> list[object]:
        session = CSession(handle, sensor_width=34, sensor_height=34, **options)
        return [*session.feed(events), *session.finish()]

    usual = [said(handle, decide=None) for handle in handles]
    assert usual == [said(old, decide=rule), said(old, decide="sum")] and usual[0] != usual[1]
    whole = {"total_events": len(events), "first_us": int(events["t"][0]), "last_us": int(events["t"][-1])}
    assert said(new, **whole) == usual[1]
    assert run(["verify", str(tmp_path / "new.plif"), "--against", str(folder / "m.pt")]) == 0
    runtime.load(tmp_path / "new.plif", "event")  # what stands beside the card is what the card says


def test_a_model_keeps_the_rule_and_its_exports_have_it(folder: Path, tmp_path: Path) -> None:
    assert calibrated(folder, "m.pt", tmp_path / "new.pt") == 0
    record = read_card(tmp_path / "new.pt")["decide"]
    whole = export(tmp_path / "new.pt", tmp_path / "m.onnx")
    assert read_card(whole.path)["decide"] == record
    assert run(["verify", str(whole.path), "--against", str(tmp_path / "new.pt")]) == 0
    net = plif_train.load(tmp_path / "new.pt")  # the weights are as they were
    assert all((a == b).all() for a, b in zip(net.state_dict().values(), loaded(folder), strict=True))
    plif_train.save(net, tmp_path / "same.pt")
    plif_train.save(net, tmp_path / "trained.pt", {"epoch": 1})
    assert read_card(tmp_path / "same.pt")["decide"] == record and "decide" not in read_card(tmp_path / "trained.pt")


def loaded(folder: Path) -> list[object]:
    return [*plif_train.load(folder / "m.pt").state_dict().values()]


def test_what_cannot_be_shown_or_done_is_said_and_nothing_is_written(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrated(folder, "m.onnx", tmp_path / "new.onnx", 60) == 1
    assert "0.201 minutes without a gesture cannot show 60 false labels an hour" in capsys.readouterr().err
    words = ["eval", str(folder / "m.onnx"), "--data", "digits:9", "-o", str(tmp_path / "new.onnx")]
    feed = f"udp://127.0.0.1:{free_port()}?format=t64&sensor=34x34"
    assert run([*words, "--calibrate-decide", "60", "--negatives", feed]) == 2
    assert "has no end" in capsys.readouterr().err
    assert run([*words, "--calibrate-decide", "0"]) == run([*words, "--negatives", FEED]) == 2
    assert run([*words, "--calibrate-decide", "9", "--calibrate-exit", "1%"]) == 2
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_read_or_written_is_said_before_minutes_are_spent(folder: Path, tmp_path: Path) -> None:
    model, done = runtime.load(folder / "m.onnx"), list[int]()
    (tmp_path / "junk").write_bytes(b"junk")
    for wrong in ("/nowhere.bin", str(tmp_path / "junk"), f"udp://127.0.0.1:{free_port()}?format=t64&sensor=34x34"):
        with pytest.raises(PlifError, match=wrong.replace("?", r"\?")):
            calibrate_decide(model, "digits:9", 60, [FEED, wrong], progress=lambda n, _: done.append(n))
    for place in (tmp_path, tmp_path / "no" / "new.onnx"):
        with pytest.raises(PlifError, match=r"expected a place for a file|no folder .*no to write it into"):
            check_writable(folder / "m.onnx", place, "decide")
    assert not done


@pytest.mark.parametrize("decide", ["leak", {}, {"rule": ""}, {"rule": "a\nb"}, {"rule": 3}, {"rule": "x" * 3000}])
def test_a_card_whose_rule_is_none_is_refused(folder: Path, decide: object) -> None:
    with pytest.raises(PlifError, match="expected its rule as --decide takes it"):
        check_model_card({**read_card(folder / "m.pt"), "decide": decide})


def test_a_gesture_comes_out_of_what_was_before_it(folder: Path) -> None:
    """Of two seconds without a gesture the last comes before it, on end: a rule that remembers that second is late."""
    model, votes = runtime.load(folder / "m.onnx"), np.eye(10, dtype=np.float32)

    def steps(first_us: int, count: int, one: int) -> FeedOutputs:
        frames = [Frame(np.zeros(0), first_us + i * 20_000, first_us + (i + 1) * 20_000, 9) for i in range(count)]
        return FeedOutputs(frames, np.repeat(votes[one][None, None], count, 0))

    before, fresh = steps(7_000_000, 100, 3), Gesture(steps(40_000, 40, 5), 5, 40_000)
    late = fresh.prepend(before)
    ends = [frame.t_end_us for frame in late.steps.frames]
    assert len(ends) == CONTEXT_US // 20_000 + 40 == len(late.steps.y) and set(np.diff(ends)) == {20_000}
    assert before.frames[-1].t_end_us == 9_000_000 and late.since_us == 40_000 == ends[49]
    heard = [
        score_gesture(
            decide_labels(model, rule, "never", one.steps).firm, one.steps.frames, (40_000, 840_000), 40_000, 5
        ).onset_ms
        for rule in ("leak:50ms,margin=0.2", "leak:400ms,margin=0.2")
        for one in (fresh, late)
    ]
    assert heard[0] == heard[2] == 20 < heard[1] < heard[3]


def test_a_network_goes_on_from_where_a_negative_ended(folder: Path) -> None:
    model = runtime.load(folder / "m.onnx")
    events = np.concatenate([p.copy() for p in open_source(FEED).packets() if len(p)])

    def frames() -> list[Frame]:
        return list(
            iterate_frames(
                Framer(Framing.parse("duration:30ms"), model.input_shape, (34, 34), None, "identity"), events
            )
        )

    whole, first = run_feed(model, frames()), run_feed(model, frames()[:20])
    rest, anew = (run_feed(model, frames()[20:], before=before) for before in (first, None))
    assert np.array_equal(np.concatenate([first.y, rest.y]), whole.y) and not np.array_equal(rest.y, anew.y)

    found = calibrate_decide(model, "digits:8", 2000, [str(folder / "noise")])
    dataset, framing = DatasetSplit("digits:8", "test").open(model), Framing.parse("duration:30ms,resize=sum")
    feeds = [
        run_feed(model, SourceFramer(open_source(str(path)), framing, model.input_shape), LIVE_RULES[1])
        for path in sorted((folder / "noise").iterdir())
    ]

    def show(i: int, before: FeedOutputs | None) -> FeedOutputs:
        recording = dataset.load_recording(i)
        framer = Framer(framing, model.input_shape, recording.sensor, None, recording.upright)
        return run_feed(model, iterate_frames(framer, recording.events), LIVE_RULES[1], before=before)

    def gestures(goes_on: bool) -> list[Gesture]:
        """Each after a negative, and again after the gesture before."""
        made, last = list[Gesture](), None
        for i in range(8):
            feed, label = feeds[i % 3], dataset.label(i)
            shown = show(i, feed if goes_on else None)
            made.append(Gesture(shown, label, shown.frames[0].t_start_us).prepend(feed))
            if last is not None and last[0] != label:
                following = show(i, last[1] if goes_on else None)
                made.append(Gesture(following, label, following.frames[0].t_start_us, True).prepend(last[1]))
            last = label, shown
        return made

    after, alone = (
        RuleSearch(model, gestures(goes_on), feeds, 2000).score_rule(found.rule.removesuffix(IDLE))
        for goes_on in (True, False)
    )
    assert (found.missed_next, found.missed) == (after.missed_next, after.missed.sum() - after.missed_next)
    assert found.gestures == 8 and 4 <= found.gestures_next == sum(one.follows for one in gestures(True))
    assert (found.onset_p50_ms, found.onset_p90_ms) == after.onset_ms and after.onsets_ms != alone.onsets_ms


def test_a_rule_whose_label_comes_and_goes_comes_last_however_few_it_misses() -> None:
    none, few = np.zeros(3, np.int64), np.array([0, 4, 1])
    steady = RuleScore("", none, few, [300.0, 400.0, 80.0], [0, 0, 3])
    assert steady.cost < RuleScore("", none, few, [300.0, 400.0, 90.0], [0, 0, 0]).cost
    assert (
        steady.cost
        < RuleScore("", none, none, [20.0, 20.0, 20.0], [2, 0, 2]).cost
        < RuleScore("", none, few, [], []).cost
    )


def test_each_class_gets_the_margin_that_misses_least_in_all() -> None:
    """Two false labels are allowed: they go to the classes where a smaller margin finds most."""
    missed = np.array([[0, 0, 0], [2, 9, 5], [3, 10, 9]])
    false = np.array([[2, 1, 4], [1, 1, 1], [0, 0, 0]])
    assert choose_class_margins(missed, false, 2) == [2, 0, 1]
    assert choose_class_margins(missed, false, 0) == [2, 2, 2]
    assert choose_class_margins(missed, false, 9) == [0, 0, 0]
    assert choose_class_margins(missed, false + 1, 2) == []


def test_no_margins_are_tried_where_none_keep_the_rate(folder: Path) -> None:
    frames = [Frame(np.zeros(0), i * 20_000, (i + 1) * 20_000, 9) for i in range(9000)]
    without = FeedOutputs(frames, np.zeros((9000, 1, 10), np.float32))
    trial = RuleSearch(runtime.load(folder / "m.onnx"), [], [without], 300)
    many = RuleScore("leak:50ms,margin=0", np.full(10, 7), np.zeros(10, np.int64), [], [])
    assert 0 < trial.max_false < 70 and trial._try_class_margins("leak:50ms", [many], many) is None


def test_a_gesture_is_scored_by_half_of_its_time_and_by_when_its_label_is_gone() -> None:
    """Steps of 20 ms; the gesture lasts from 100 to 300 ms."""
    frames = [Frame(np.zeros(0), i * 20_000, (i + 1) * 20_000, 9) for i in range(25)]

    def score(*runs: tuple[int, int]) -> tuple[float | None, int, bool, float | None]:
        labels = np.concatenate([np.full(steps, label) for label, steps in runs])
        return tuple(score_gesture(labels, frames, (100_000, 300_000), 100_000, 3))  # type: ignore[return-value]

    assert score((-1, 6), (3, 9), (-1, 10)) == (40.0, 0, True, 20.0)
    assert score((-1, 6), (3, 15), (-1, 4)) == (40.0, 0, True, 140.0)
    assert score((-1, 6), (3, 19)) == (40.0, 0, True, 200.0)  # until the feed ends
    assert score((-1, 6), (3, 4), (-1, 15)) == (40.0, 1, False, None)  # shown for less than half
    assert score((-1, 6), (3, 2), (2, 3), (3, 4), (-1, 10)) == (40.0, 2, True, 20.0)
    assert score((-1, 6), (2, 9), (-1, 10)) == (None, 0, False, None)


def test_the_ceiling_is_the_lowest_with_which_a_label_stays(folder: Path) -> None:
    """Two steps without votes take 2 * 20 / 100 * 0.25 = 0.1 from a sum: a ceiling of 0.08 would end the label there."""
    model, votes = runtime.load(folder / "m.onnx"), np.eye(10, dtype=np.float32)
    frames = [Frame(np.zeros(0), i * 20_000, (i + 1) * 20_000, 9) for i in range(20)]
    y = np.repeat(votes[5][None, None], 20, 0)
    y[10:12] = 0
    search = RuleSearch(model, [Gesture(FeedOutputs(frames, y), 5, 0)], [], 60)
    search.max_false = 0
    whole = search.score_rule("cusum:100ms,drift=0.25,margin=0.02")
    lower = search._lower_ceiling(whole)
    assert lower.rule == f"{whole.rule},most=0.12" and whole.changes == lower.changes == [0]
    leak = search.score_rule("leak:100ms,margin=0.02")
    assert search._lower_ceiling(leak) is leak


def test_kinds_of_negatives_are_reported_and_the_share_of_time_with_a_label_is_kept(folder: Path) -> None:
    model, seen = runtime.load(folder / "m.onnx"), [folder / "noise" / f"{name}.bin" for name in "ab"]
    found = calibrate_decide(model, "digits:12", 4000, [str(seen[0]), str(seen[1])])
    assert [kind["source"] for kind in found.kinds] == list(map(str, seen))
    assert sum(int(str(kind["false_labels"])) for kind in found.kinds) == found.false_labels
    if found.labelled:
        stricter = calibrate_decide(model, "digits:12", 4000, [str(one) for one in seen], labelled=found.labelled / 2)
        assert stricter.labelled <= found.labelled / 2 and stricter.missed + stricter.missed_next >= found.missed
    assert run(["eval", str(folder / "m.onnx"), "--data", "digits:12", "--labelled", "0.5%"]) == 2
