"""bench/people.py: what it shows a network, what is right there, and one whole run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.cells import light_cells
from bench.decide import Seen
from bench.own_gestures import AskedPerson
from bench.people import Judged, answer_of
from bench.people_shown import (
    NO_MOTION,
    OF_BOTH,
    OF_CLIPS,
    Case,
    changed,
    drawn,
    hands,
    in_conditions,
    people,
    sessions,
)
from bench.second_opinion import HANDS, PEOPLE, Feed
from plif_export import export
from plif_train.core.loop import checkpoint
from plif_train.core.network.presets import build
from plif_train.hooks.mixed_windows.variation import Clip
from runtime.commands.record.guide import record
from runtime.core.events import make_events, read_events
from runtime.core.events.frame import Frame
from runtime.datasets.dvs128_gesture.set import CLASSES
from runtime.observers.calibrate.labels import FeedOutputs
from runtime.observers.calibrate.search import Gesture
from tests.conftest import REPOSITORY
from tests.runtime.datasets.gesture_sim.conftest import shorten

SIZE, NEXT = (128, 128), "right after another gesture"
CLIP = Clip(
    np.arange(0, 800_000, 200.0), np.arange(4000) % 128 * 1.0, np.arange(4000) % 100 * 1.0, np.arange(4000) % 2 == 0
)


def exported(folder: Path, v_threshold: float) -> Path:
    """A network of the eleven gestures."""
    torch.manual_seed(0)
    net = build(
        "c2k8s8-PLIF-FC110-PLIF-APk10s10", shape=(2, 128, 128), T=4, classes=CLASSES, v_threshold=v_threshold,
        framing="duration:40ms,every=20ms,value=binary",
    )  # fmt: skip
    checkpoint.save(net, folder / "m.pt")
    return export(folder / "m.pt", folder / "m.onnx", verify=False).path


@pytest.fixture(scope="module")
def silent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that never says a gesture."""
    return exported(tmp_path_factory.mktemp("people"), 1e6)


def test_what_is_shown_longest_is_the_answer_whatever_it_began_with() -> None:
    ends_us = (20_000, 40_000, 60_000, 80_000)
    frames = [Frame(np.zeros(0, np.float32), end - 20_000, end, 1) for end in ends_us]
    steps = FeedOutputs(frames, np.zeros((4, 1, 11)))
    assert answer_of(np.array([3, 5, 5, -1]), steps) == 5
    assert answer_of(np.array([-1, -1, 2, -1]), steps) == 2
    assert answer_of(np.array([-1, -1, -1, -1]), steps) is None
    assert answer_of(np.zeros(0, np.int64), FeedOutputs([], np.zeros(0))) is None


def test_each_change_says_which_class_is_right_or_that_none_is() -> None:
    found = {case.group: case for case in changed("clips", CLIP, "left_arm_clockwise", SIZE, OF_CLIPS)}
    assert len(found) == len(OF_CLIPS) + 1 + len(NO_MOTION)
    assert found["clips, backwards"].right == "left_arm_counter_clockwise"
    assert [found[f"clips, {name}"].right for name in NO_MOTION] == [None, None]
    assert {found[f"clips, {name}"].right for name in OF_CLIPS} == {"left_arm_clockwise"}
    events = {name: found[f"clips, {name}"].events for name in OF_CLIPS}
    assert len(events["whole"]) == len(CLIP) and events["cut away"]["y"].max() <= 50 + 20
    assert 0.05 < len(events["a tenth of the events"]) / len(CLIP) < 0.2
    assert events["half pace"]["t"][-1] == 2 * events["whole"]["t"][-1]


@pytest.mark.parametrize("factor", [1.5, 2.0])
def test_what_comes_nearer_has_no_holes_and_the_events_of_its_own_pixels(factor: float) -> None:
    y, x = (places.ravel() + 30.0 for places in np.mgrid[:20, :12])
    clip = Clip(np.arange(240) * 1000.0, x, y, x % 2 == 0)
    name = f"{factor:g} times as near"
    (case,) = (
        case for case in changed("clips", clip, "air_drums", SIZE, {name: OF_BOTH[name]}) if case.group.endswith(name)
    )
    seen, high, wide = case.events, round(20 * factor), round(12 * factor)
    assert len(seen) == high * wide == len({(e["x"], e["y"]) for e in seen}) and (np.diff(seen["t"]) >= 0).all()
    assert (seen["y"].min(), seen["x"].min()) == (64 - high / 2, 64 - wide / 2)
    of = np.floor((np.stack([seen["x"], seen["y"]]) - [[64 - wide / 2], [64 - high / 2]] + 0.5) / factor).astype(int)
    assert (seen["t"] // 1000 == of[1] * 12 + of[0]).all() and (seen["p"] == (of[0] % 2 == 0)).all()


def test_who_says_nothing_is_right_where_nothing_moves_and_never_false(silent: Path) -> None:
    one = Judged(str(silent), None)
    for case in changed("drawn", CLIP, "right_hand_wave", SIZE, OF_BOTH):
        one.show(case)
    rights = one.rights(one.rule)
    assert [rights[f"drawn, {name}"] for name in NO_MOTION] == [[True], [True]]
    assert [rights[f"drawn, {name}"] for name in OF_BOTH] == [[False]] * len(OF_BOTH)


def steps(one: int, count: int) -> FeedOutputs:
    """So many steps in which all vote for one class."""
    frames = [Frame(np.zeros(0, np.float32), i * 20_000, (i + 1) * 20_000, 9) for i in range(count)]
    return FeedOutputs(frames, np.repeat(np.eye(11, dtype=np.float32)[one][None, None], count, 0))


def test_of_a_near_forearm_the_same_movement_counts_whose_ever_it_is(silent: Path) -> None:
    judged, at = Judged(str(silent), None), CLASSES.index
    answers = ("left_arm_clockwise", "right_arm_clockwise", "right_arm_counter_clockwise", "air_drums")
    judged.cases = [("drawn, near", steps(at(one), 15), at("right_arm_clockwise")) for one in answers]
    judged.cases += [("drawn, far", steps(at(answers[0]), 15), at("right_arm_clockwise"))]
    assert judged.rights(judged.rule) == {
        "drawn, near": [False, True, False, False],
        "drawn, near, by either arm": [True, True, False, False],
        "drawn, far": [False],
    }


def test_people_before_a_gesture_hold_back_who_remembers_them(silent: Path) -> None:
    judged, people = Judged(str(silent), None), steps(10, 200)
    judged.cases = [("drawn, cut", steps(4, 15), 4), ("drawn, left", steps(4, 15), 4)]
    judged.after = [("drawn, near, after people", Gesture(steps(4, 15), 4, 0).prepend(people))]
    for rule, right in (("leak:20ms,margin=0.2", True), ("leak:1s,margin=0.2", False)):
        assert judged.rights(rule) == {"drawn, cut": [True], "drawn, left": [True]}
        assert judged.after_others(rule) == {"drawn, near, after people": [right]}


def test_gestures_of_the_curve_go_on_from_the_membranes_that_people_leave(tmp_path: Path) -> None:
    judged, whole = Judged(str(exported(tmp_path, 0.02)), None), {"near": OF_CLIPS["whole"]}
    events = next(changed("drawn", CLIP, "right_hand_wave", SIZE, whole)).events
    anew = judged.step(events, SIZE)
    after = judged.step(events, SIZE, anew)
    assert not np.array_equal(anew.y, after.y)
    judged.people = {"moves": [Seen(anew, [], [])]}
    for group in ("drawn, near", "drawn, left"):
        judged.show(Case(group, events, SIZE, "right_hand_wave"))
    ((group, fed),) = judged.after
    assert (group, fed.label) == ("drawn, near, after people", 1) and len(fed.steps.y) > len(after.y)
    assert np.array_equal(fed.steps.y[-len(after.y) :], after.y)
    assert [np.array_equal(steps.y, anew.y) for _, steps, _ in judged.cases] == [True, True]
    judged.show(Case("drawn, near", events, SIZE, "left_hand_wave"))
    assert [name for name, _ in judged.after] == [f"drawn, near, {what}" for what in (*["after people"] * 2, NEXT)]
    following = judged.after[-1][1]
    assert np.array_equal(following.steps.y[-len(after.y) :], after.y)  # from the membranes of the wave before it


def test_bad_cameras_and_bare_hands_have_rows_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)
    events = next(drawn(1, SIZE)).events
    found = {case.group: case.events for case in in_conditions(events, "air_drums", SIZE, 0)}
    seconds = (events["t"][-1] - events["t"][0]) / 1e6
    for hz in (1.0, 5.0):
        added = len(found[f"drawn, noise of {hz:g} Hz"]) - len(events)
        assert added == pytest.approx(hz * 128 * 128 * seconds, rel=0.1)
    assert len(found["drawn, two people"]) > len(events) < len(found["drawn, 0.1 % hot pixels"])
    kinds = {case.group: case.right for case in hands(1, SIZE)}
    assert kinds["bare hand, no gesture"] is None and kinds["bare hand, gestures"] in CLASSES[1:7]
    assert {group for group, _ in people(0.6, None, SIZE)} >= {"raised, scratches", "swings, lamp"}


def test_a_larger_camera_has_rows_of_its_own_drawn_at_its_size(silent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)
    size = (346, 260)
    case, (part, events) = next(drawn(1, size)), next(people(0.01, None, size))
    assert (case.group, case.size, part) == ("drawn, laws 1 at 346x260", size, "moves at 346x260")
    for seen in (case.events, events):
        assert all(0 < side - seen[axis].max() < 40 for axis, side in zip("xy", size, strict=True))
    assert {group for group, _ in people(0.01, None, SIZE)} >= {"moves", "everyday", "things"}
    assert [one.partition("&")[2] for one in sessions(1, size)] == [
        f"seconds=40&laws={laws}&sensor=346x260" for laws in (1, 2)
    ]
    judged = Judged(str(silent), None)
    judged.people = {part: [Seen(judged.step(events, size), [], [])]}
    for group, of in (("near", size), ("near", SIZE), ("left", size)):
        judged.show(case._replace(group=f"drawn, {group}{' at 346x260' * (of == size)}", size=of))
    assert [group for group, _ in judged.after] == [
        "drawn, near at 346x260, after people"
    ]  # nobody was before the usual camera
    assert "drawn, near at 346x260, by either arm" in judged.rights(judged.rule)


def test_a_cell_lights_by_distinct_pixels_of_its_own_in_the_last_40_ms() -> None:
    """640x480: a cell of the middle square is 3.75 pixels wide, and a pixel that fires twice counts once."""
    t = [0, 50_000, 50_001, 50_002, 60_000, 60_001]
    x, y = [80, 80, 80, 81, 200, 10], [0, 0, 0, 1, 100, 0]
    events = make_events(t, x, y, [True] * 5 + [False])
    found = {k: light_cells(events, (640, 480), k, 80_000) for k in (1, 2, 3)}
    assert [int(found[k].sum()) for k in (1, 2, 3)] == [2, 1, 0] and found[2][1, 0, 0] == 1
    assert light_cells(events, (640, 480), 1, 40_000).sum() == 1 and found[1][:, :, 0].sum() == 1


def test_a_person_who_is_asked_makes_the_gestures_that_are_recorded(tmp_path: Path) -> None:
    person = AskedPerson(0, 0.3)
    options = {"classes": ("right_hand_wave", "other_gestures"), "rounds": 2, "seconds": 0.3, "pause": 0.1}
    assert record(person, tell=person.hear, out=tmp_path, **options)["recorded"] == 4
    events = [read_events(path) for path in sorted(tmp_path.rglob("right_hand_wave/*.aedat"))]
    assert len(events) == 2 and min(map(len, events)) > 2000 and events[0]["x"].max() > 128


@pytest.mark.large
def test_a_whole_run_compares_cells(silent: Path) -> None:
    words = ["--performers", "1", "--minutes", "0.1", "--noise", "1", "--pixels", "2", "--sensor", "160x130", "--json"]
    command = [sys.executable, str(REPOSITORY / "bench" / "cells.py"), str(silent), *words]
    rows = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["rows"]
    assert [row["cell"] for row in rows] == ["nearest", "K=2"] and {row["false_per_min"] for row in rows} == {0.0}


@pytest.mark.large
def test_a_whole_run_puts_networks_side_by_side(silent: Path, tmp_path: Path) -> None:
    command = [
        sys.executable, str(REPOSITORY / "bench" / "people.py"), str(silent), "--performers", "1", "--minutes", "0.1",
        "--sessions", "1", "--sensors", "128x128", "160x130", "--larger", "1", "--plot", str(tmp_path / "people.png"), "--json",
    ]  # fmt: skip
    (found,) = json.loads(subprocess.run(command, capture_output=True, check=True).stdout).values()
    assert {one["right"] for name, one in found["gestures"].items() if name.rpartition(", ")[2] not in NO_MOTION} == {0}
    assert all(one["firm"]["count"] == 0 for one in found["false_labels"].values())
    assert set(found["sessions"]) == {"sessions", "sessions at 160x130"}
    assert found["curve"][0]["missed"] == 1 and (tmp_path / "people.png").stat().st_size > 10_000


def test_a_second_opinion_counts_where_it_is_asked_and_never_says_other() -> None:
    y, second = np.array([[[0.2, 0.1, 0.6]]], np.float32), np.array([[[0.1, 0.7, 0.9]]], np.float32)
    for kind, of_hands in ((PEOPLE, y), (HANDS, np.array([[[0.2, 0.7, 0.6]]], np.float32))):
        feed = Feed(kind, 1, FeedOutputs([], y), second)
        assert (feed.votes("first", 2) == y).all() and (feed.votes("second", 2) == second).all()
        assert (feed.votes("pair", 2) == np.array([[[0.2, 0.7, 0.6]]], np.float32)).all()
        assert (feed.votes("pair for bare hands", 2) == of_hands).all()
