"""`own` and `idle=auto`: an answer stands on its own evidence, and a camera's noise is learnt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import plif_export
import runtime
from plif_train.core.loop import checkpoint
from plif_train.core.network.presets import build
from runtime.core.base.errors import PlifError
from runtime.core.stream.decide import Rules
from runtime.native.rules import find_other_class
from tests.rules import Asked

A, B, OTHER = 0, 1, 2
DT = 20_000


def held(text: str = "own:80ms") -> Asked:
    return Asked(text, 3, 10, other=True)


def said(rule: Asked, votes: list[tuple[int, int, int]]) -> list[int | None]:
    return [rule.add(c, DT) for c in votes]


def test_a_moment_of_other_does_not_break_an_answer_as_it_does_with_leak() -> None:
    votes = [(8, 0, 0)] * 10 + [(2, 0, 8)] * 8 + [(8, 0, 0)] * 5
    assert set(said(held(), votes)[1:]) == {A}
    leak = held("leak:80ms,margin=0.25")
    assert len(set(said(leak, votes)[1:])) > 1


def test_another_gesture_replaces_it_at_once_and_other_after_its_time() -> None:
    answers = said(held(), [(8, 0, 0)] * 10 + [(0, 9, 0)] * 10 + [(0, 0, 9)] * 40)
    assert answers[12] == A and answers[19] == B
    first = answers.index(OTHER)
    assert 20 + 400_000 / DT <= first <= 20 + 400_000 / DT + 8


def test_a_pause_is_no_lead_of_other() -> None:
    rule = held()
    assert said(rule, [(8, 0, 0)] * 10)[-1] == A
    assert rule.add((0, 0, 9), 10_000_000) is not OTHER
    after = said(rule, [(0, 0, 9)] * 12)
    assert after.index(OTHER) == 200_000 / DT - 1  # the rest of the 400 ms, of which the pause is half


def test_it_ends_when_its_own_evidence_is_gone() -> None:
    answers = said(held(), [(8, 0, 0)] * 10 + [(0, 0, 0)] * 20)
    assert answers[9] == A and answers[-1] is None and A in answers[10:16]


def test_without_a_class_for_other_every_class_is_a_gesture() -> None:
    assert find_other_class(["a", "other_gestures"]) == 1 and find_other_class(["0", "1"]) is None
    assert Asked("own", 3, 10).add((0, 0, 9), DT) == OTHER


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("leak,other=1s", "other= belongs to own"),
        ("own:5", "the time constant, '5', is not a time"),
        ("own,other=3", "other, '3', is not a time"),
        ("own,margin=2", "margin= from 0 to 1"),
        ("own,idle=automatic", "idle=automatic: expected a number"),
    ],
)
def test_a_wrong_rule_is_named(text: str, reason: str) -> None:
    with pytest.raises(PlifError, match=reason):
        Rules(["a"], 1, 1, text)


def test_defaults_of_own_may_be_left_out() -> None:
    votes = [tuple(int(v) for v in c) for c in np.random.default_rng(1).integers(0, 9, (300, 3))]
    short, long = (said(held(text), votes) for text in ("own", "own:80ms,margin=0.25,release=0.05,other=400ms"))
    assert short == long and len(set(short)) > 2


# --- the camera's noise ---------------------------------------------------------------------------------------------------


class Scene:
    """A camera that gives so many events a second, in frames of DT, as a stream sees it."""

    def __init__(self) -> None:
        self.asked = Asked("own,idle=auto")  # without a vote, whatever is quiet is idle

    def goes_on(self, per_s: float, seconds: float) -> list[bool]:
        """For each frame whether it is quiet."""
        seen, events = [], per_s * DT / 1e6
        for i in range(round(seconds * 1e6 / DT)):
            n = int(events * (i + 1)) - int(events * i)
            self.asked.add((0, 0, 0), DT, n)
            seen.append(self.asked.idle)
        return seen


def test_the_floor_is_learnt_in_the_first_second_and_follows_slowly() -> None:
    scene = Scene()
    first = scene.goes_on(4_000, 2)
    assert not any(first[:40]) and all(first[50:])  # not known yet; known
    assert not any(scene.goes_on(40_000, 1)[5:])
    assert all(scene.goes_on(5_000, 2)[40:])
    later = scene.goes_on(12_000, 60)  # another light: after a minute it is the floor
    assert not later[20] and later[-1]
    assert all(scene.goes_on(1_000, 30)) and not any(scene.goes_on(8_000, 2)[20:])  # and darkness, after half a minute


@pytest.mark.one_in(2)
@pytest.mark.parametrize("seconds", [0.1, 1, 3, 30, 3_600])
@pytest.mark.parametrize("noise", [500, 3_000, 100_000])
def test_a_pause_of_the_feed_is_quiet_and_changes_nothing(noise: int, seconds: float) -> None:
    scene = Scene()
    scene.goes_on(noise, 10)
    assert all(scene.goes_on(0, seconds)) and all(scene.goes_on(noise, 60))
    assert not any(scene.goes_on(5 * noise, 1)[20:])


def test_a_feed_that_begins_with_a_pause_is_learnt_in_the_first_second_with_events() -> None:
    scene = Scene()
    scene.goes_on(1_000, DT / 1e6)
    scene.goes_on(0, 3)
    assert all(scene.goes_on(3_000, 60)[51:])


@pytest.mark.parametrize("noise", [3_000, 12_000])
def test_a_floor_that_is_far_too_low_is_back_within_three_minutes(noise: int) -> None:
    scene = Scene()
    scene.goes_on(60, 60)
    assert all(scene.goes_on(noise, 185)[-50:])


def test_a_camera_without_noise_is_quiet_at_once_and_what_moves_is_not_for_long_its_floor() -> None:
    scene = Scene()
    assert all(scene.goes_on(0, 1))
    for _ in range(10):
        scene.goes_on(20_000, 2)
        assert all(scene.goes_on(0, 3)[50:])
    assert not any(scene.goes_on(3_000, 2)[20:])


def test_a_quiet_scene_is_idle_and_a_gesture_is_not(tmp_path: Path) -> None:
    """Noise of 500 events a second, a burst of 30,000 for 0.6 s, noise: nothing is emptied, but the noise gets no answer."""
    net = build("c1k4s4-PLIF-FC30-PLIF-APk10s10", shape=(2, 32, 32), T=4, framing="duration:20ms")
    with torch.no_grad():
        net.get_parameter("conv1.weight").fill_(0.3)
        net.get_parameter("fc1.weight").fill_(0.0)[:10] = 0.2  # the first class, for events anywhere
    checkpoint.save(net, tmp_path / "m.pt")
    plif_export.export(tmp_path / "m.pt", tmp_path / "m.onnx")
    rng = np.random.default_rng(0)
    t = np.sort(np.concatenate([rng.integers(0, 6_000_000, 3_000), rng.integers(3_000_000, 3_600_000, 18_000)]))
    x, y, p = rng.integers(0, 32, len(t)), rng.integers(0, 32, len(t)), rng.random(len(t)) < 0.5
    np.savez(tmp_path / "burst.npz", t=t, x=x, y=y, p=p)
    model = runtime.load(tmp_path / "m.onnx")
    decisions = list(model.stream(str(tmp_path / "burst.npz"), sensor=(32, 32), decide="own,idle=auto"))
    quiet = [d for d in decisions if 1_500_000 < d.t_us < 2_900_000 or d.t_us > 4_500_000]
    assert len(quiet) > 100 and all(d.label is None and d.why == "idle" for d in quiet)
    assert all(d.label == "0" for d in decisions if 3_200_000 < d.t_us < 3_500_000)
    plain = list(model.stream(str(tmp_path / "burst.npz"), sensor=(32, 32), decide="own"))
    assert {d.why for d in plain if 1_500_000 < d.t_us < 2_900_000} == {"not sure"}
