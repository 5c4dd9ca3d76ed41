"""Windows of events: what may happen to a gesture, which label each step gets, and negatives made of positives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from plif_train.core.network.losses import BY_STEP, IGNORE_LABEL, LOSSES, count_correct
from plif_train.hooks.mixed_windows.samples import EventSamples, Mixture, load_events, measure_background
from plif_train.hooks.mixed_windows.variation import (
    HARD_NEGATIVES,
    ROTATIONS,
    SIDES,
    SWAPS,
    Clip,
    is_negative_allowed,
    merge_clips,
    swap_classes,
    vary_clip,
)
from plif_train.hooks.mixed_windows.windows import IDLE, LabelledSegment, WindowSampler, parse_variation
from plif_train.hooks.other_losses.losses import step_cross_entropy, step_mse
from runtime.core.base.errors import PlifError
from runtime.core.data import Dataset, open_dataset
from runtime.core.data.dataset import EventSet
from runtime.core.events import make_events, make_frames
from runtime.core.events.formats.nmnist import write_nmnist
from runtime.core.events.framing import Framing
from runtime.datasets.dvs128_gesture.set import CLASSES
from runtime.datasets.performers.gestures import MIRRORED
from tests.recordings import AEDAT31_HEADER, aedat2_bytes, aedat31_packet, evt2_bytes

SIZE, STEP_US, STEPS = (32, 32), 20_000.0, 10
OTHER = CLASSES.index("other_gestures")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def moving(n: int = 4000, length_us: float = 1e6) -> Clip:
    """A dot that goes from left to right in one second, ON before OFF."""
    t = np.sort(rng(1).uniform(0, length_us, n))
    return Clip(t, 32 * t / length_us, 10 + rng(2).uniform(0, 3, n), np.arange(n) % 2 == 0)


def row(label: int = 1, start_us: float = 0.0, floor: float = 0.0) -> LabelledSegment:
    clip = moving()
    return LabelledSegment(clip, label, start_us, float(clip.t[-1]), floor)


def windows(text: str = "") -> WindowSampler:
    return WindowSampler(parse_variation(text), STEPS, STEP_US, SIZE, CLASSES)


def varied(text: str, clip: Clip, label: int = 1, seed: int = 0) -> tuple[Clip, int]:
    swaps = {name: swap_classes(CLASSES, pairs) for name, pairs in SWAPS.items()}
    return vary_clip(clip, label, parse_variation(text), SIZE, swaps, rng(seed))


# --- what may happen to a gesture -----------------------------------------------------------------------------------------


def test_a_mirror_exchanges_the_classes_as_the_simulator_says() -> None:
    assert tuple(swap_classes(CLASSES, SWAPS["mirror"])) == MIRRORED
    mirrored, label = varied("mirror:1", moving())
    assert label == CLASSES.index("left_hand_wave")
    assert np.array_equal(mirrored.x, 31 - moving().x) and np.array_equal(mirrored.y, moving().y)


def test_time_that_runs_backwards_turns_circles_round_and_exchanges_polarity() -> None:
    clip, label = varied("reverse:1", moving(), CLASSES.index("right_arm_clockwise"))
    assert CLASSES[label] == "right_arm_counter_clockwise"
    assert (np.diff(clip.t) >= 0).all() and (np.diff(clip.x) <= 0).all()
    assert np.array_equal(clip.p, ~moving().p[::-1])


def test_classes_without_a_counterpart_are_refused() -> None:
    with pytest.raises(PlifError, match="'left' would become 'right', which is not among the classes"):
        swap_classes(("left", "other"), SIDES)


def test_sides_and_turns_are_words_however_they_are_written() -> None:
    assert swap_classes(("Left wave", "bright", "Right wave"), SIDES) == [2, 1, 0]
    assert swap_classes(("wave_L", "lamp", "wave-R"), SIDES) == [2, 1, 0]
    assert swap_classes(("leftHandWave", "rightHandWave", "rightclap", "leftclap"), SIDES) == [1, 0, 3, 2]
    assert swap_classes(("cw", "ccw", "arm CW", "arm_anti-clockwise"), ROTATIONS) == [1, 0, 3, 2]
    for counter in ("counterclockwise", "Counter-Clockwise", "anti_clockwise"):
        assert swap_classes((f"arm {counter}", "arm_clockwise", "rest"), ROTATIONS) == [1, 0, 2]


def test_scale_shift_and_turn_keep_the_number_of_events() -> None:
    larger, _ = varied("scale:2-2", moving())
    assert np.allclose(larger.x - 15.5, 2 * (moving().x - 15.5))
    shifted, _ = varied("shift:5", moving())
    assert np.ptp(shifted.x - moving().x) < 1e-4 and 0 < abs(shifted.x[0] - moving().x[0]) <= 5
    turned, _ = varied("quarter:1", moving())
    assert any(np.allclose(a, b, atol=1e-3) for a in (turned.x, turned.y) for b in (moving().x, 31 - moving().x))


def test_a_body_is_cut_away_below_the_hands() -> None:
    clip = moving()
    clip = Clip(clip.t, clip.x, np.linspace(0, 31, len(clip)), clip.p)
    cut, label = varied("cut:1", clip)
    assert label == 1 and cut.y.max() == pytest.approx(31 / 2 + 20 * 32 / 128, abs=0.02) and cut.y.min() == 0
    assert len(varied("cut:0", clip)[0]) == len(clip)
    assert len(varied("cut:1", clip.pick(np.zeros(len(clip), bool)))[0]) == 0


def test_thin_both_and_halo_change_the_number_of_events_within_their_bounds() -> None:
    counts = [len(varied("thin:1", moving(), seed=seed)[0]) for seed in range(30)]
    assert 350 < min(counts) < 1000 and 3000 < max(counts) < 4000
    both = [varied("both:0.4", moving(), seed=seed)[0] for seed in range(10)]
    assert all(4000 <= len(clip) < 5700 and (np.diff(clip.t) >= 0).all() for clip in both)
    assert max(len(clip) for clip in both) > 4400
    assert np.ptp(varied("halo:0.5", moving(), seed=3)[0].y) > 15  # the dot itself is 3 pixels high


# --- labels ---------------------------------------------------------------------------------------------------------------


def test_idle_windows_hold_noise_and_ask_for_no_vote() -> None:
    clip, labels = windows("idle:1").draw(row(), rng())
    assert (labels == IDLE).all() and 0 < len(clip) < 2500


def test_a_splice_begins_or_ends_with_noise() -> None:
    seen = set()
    for seed in range(40):
        clip, labels = windows("splice:1").draw(row(), rng(seed))
        gesture = np.flatnonzero(labels == 1)
        inside = (clip.y >= 9) & (clip.y <= 13)
        began = labels[0] == 1
        seen.add(began)
        if began:
            assert labels[-1] == IDLE and (labels == IGNORE_LABEL).sum() <= 4
        elif len(gesture):
            assert (labels[: gesture[0] - 2] == IDLE).all() and (
                labels[gesture[0] - 2 : gesture[0]] == IGNORE_LABEL
            ).all()
            assert (inside & (clip.t < (gesture[0] - 2) * STEP_US)).sum() < 0.5 * inside.sum()
    assert seen == {True, False}


def test_an_onset_is_idle_then_unasked_then_the_class() -> None:
    source = row(start_us=500_000.0)
    for seed in range(20):
        _, labels = windows("onset:1").draw(source, rng(seed))
        order = [int(label) for i, label in enumerate(labels) if i == 0 or labels[i - 1] != label]
        assert order in ([IDLE, IGNORE_LABEL, 1], [IGNORE_LABEL, 1])


@pytest.mark.parametrize("label", [1, OTHER])
def test_somebody_who_stands_there_before_a_gesture_is_idle(label: int) -> None:
    for seed in range(20):
        clip, labels = windows("rest:1").draw(row(label, start_us=900_000.0), rng(seed))
        idle = (labels == IDLE).sum()
        assert idle >= STEPS // 2 and (labels[:idle] == IDLE).all() and (labels[idle:] == IGNORE_LABEL).all()
        assert len(clip) > 500, "the recording's own events"
        first = clip.x[0] / 32 * 1e6  # where the dot was
        assert first >= 300_000 and first + idle * STEP_US <= 500_000 + STEP_US, (
            "not the arms that fall, nor those that rise"
        )
        _, labels = windows("rest:1").draw(row(label), rng(seed))
        assert (labels == label).all(), "nothing came before: the row itself"


def test_steps_at_rest_are_not_other() -> None:
    busy = moving()
    quiet = busy.pick((busy.t < 100_000) | (busy.t > 900_000))
    _, labels = WindowSampler(parse_variation("active:1"), 50, STEP_US, SIZE, CLASSES).draw(
        LabelledSegment(quiet, OTHER, 0, 1e6, 1e-3), rng()
    )
    assert (labels[10:40] == IDLE).all() and (labels[46:] == OTHER).all()


def test_the_floor_of_a_scene_that_never_rests_is_what_its_still_parts_have() -> None:
    n, length_us = 20_000, 2e6
    noise = Clip(
        np.sort(rng(3).uniform(0, length_us, n)),
        rng(4).uniform(0, 128, n),
        rng(5).uniform(0, 128, n),
        rng(6).random(n) < 0.5,
    )
    t = np.sort(rng(7).uniform(0, length_us, 4 * n))
    both = merge_clips([noise, Clip(t, 40 + rng(8).uniform(0, 16, 4 * n), np.full(4 * n, 70.0), t > 0)])
    floor = measure_background(both.t.astype(np.int64), both.x.astype(int), both.y.astype(int), (128, 128))
    assert floor == pytest.approx(n / length_us, rel=0.1)
    found = WindowSampler(parse_variation("active:1"), 20, STEP_US, (128, 128), CLASSES)
    _, labels = found.draw(LabelledSegment(both, OTHER, 0, length_us, floor), rng())
    assert (labels[6:] == OTHER).all()
    _, labels = found.draw(LabelledSegment(noise, OTHER, 0, length_us, floor), rng())
    assert (labels[6:] == IDLE).all()
    _, labels = windows("active:0").draw(LabelledSegment(noise, OTHER, 0, length_us, floor), rng())
    assert (labels == OTHER).all()


def test_noise_that_is_varied_is_still_at_rest_and_motion_still_motion() -> None:
    n = 20_000
    t = np.sort(rng(1).uniform(0, 1e6, n))
    clip = Clip(t, rng(2).uniform(0, 32, n), rng(3).uniform(0, 32, n), t > 0)
    for more in ("stretch:0.5-0.5", "stretch:2-2", "both:0.5,halo:0.5", "thin:1"):
        window = windows(f"active:1,{more}")
        assert (window.draw(LabelledSegment(clip, OTHER, 0, 1e6, n / 1e6), rng())[1][6:-1] == IDLE).all()
        assert (window.draw(LabelledSegment(clip, OTHER, 0, 1e6, 0.3 * n / 1e6), rng())[1][6:-1] == OTHER).all()


@pytest.mark.parametrize("kind", list(HARD_NEGATIVES))
def test_hard_negatives_are_other_and_their_first_steps_are_unasked(kind: str) -> None:
    _, labels = windows(f"{kind}:1").draw(row(), rng())
    assert (labels[:6] == IGNORE_LABEL).all() and (labels[6:] == OTHER).all()


def test_a_shuffled_gesture_has_the_same_places_and_no_motion() -> None:
    clip = HARD_NEGATIVES["shuffle"](moving(), rng())
    assert sorted(clip.x) == sorted(moving().x) and abs(np.corrcoef(clip.t, clip.x)[0, 1]) < 0.1
    frozen = HARD_NEGATIVES["freeze"](moving(), rng())
    assert np.ptp(frozen.x) < 3 and np.ptp(frozen.t) > 900_000


def test_a_frozen_moment_is_never_a_pause() -> None:
    two = Clip(np.array([0.0, 900_000.0]), np.zeros(2), np.zeros(2), np.ones(2, bool))
    assert all(len(HARD_NEGATIVES["freeze"](two, np.random.default_rng(seed))) > 10 for seed in range(10))


def test_axes_are_exchanged_only_where_that_is_another_motion() -> None:
    assert is_negative_allowed("axes", "right_hand_wave") and not is_negative_allowed("axes", "right_arm_clockwise")
    assert is_negative_allowed("axes", "Right_Wave")
    clip, labels = windows("axes:1").draw(row(CLASSES.index("arm_roll")), rng())
    assert (labels == CLASSES.index("arm_roll")).all() and np.ptp(clip.y) < 5


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("mirrors:1", "'mirrors:1', expected mirror, reverse"),
        ("mirror:1,mirror:1", "stands there twice"),
        ("stretch:2", "expected stretch:LOW-HIGH"),
        ("stretch:2-1", "rising numbers above 0"),
        ("thin:1.5", "expected thin:NUMBER from 0 to 1"),
        ("idle:0.6,splice:0.6", "add up to 1.2, expected 1 at most"),
    ],
)
def test_a_wrong_variation_is_named(text: str, reason: str) -> None:
    with pytest.raises(PlifError, match=reason):
        parse_variation(text)


def test_hard_negatives_need_a_class_for_other() -> None:
    with pytest.raises(PlifError, match="hard negatives need a class that means none of the others"):
        WindowSampler(parse_variation("shuffle:0.1"), STEPS, STEP_US, SIZE, ("a", "b"))


# --- samples and loss -------------------------------------------------------------------------------------------------------


def samples(text: str = "", label: int = 1, n: int = 3) -> EventSamples:
    return EventSamples([row(label)] * n, windows(text), Framing.parse("duration:40ms,every=20ms"), (2, 32, 32))


def test_a_window_is_framed_as_for_serving() -> None:
    """Without any variation it is a stretch of the recording, in the frames that a stream makes."""
    torch.manual_seed(3)
    x = samples().pick(torch.tensor([0])).x[0].numpy()
    clip = moving()
    found = []
    for begin in range(0, 800_000, 500):
        part = clip.pick((clip.t >= begin) & (clip.t < begin + STEPS * STEP_US))
        events = make_events((part.t - begin).astype(np.int64), np.rint(part.x).clip(0, 31), np.rint(part.y), part.p)
        frames = make_frames(events, f"duration:40ms,every=20ms,T={STEPS},pad=zero", (2, 32, 32), SIZE)
        found.append(np.abs(frames - x).sum() / x.sum())
    assert min(found) < 0.1 < np.median(found)


def test_a_mixture_has_its_shares_and_draws_the_same_again_from_the_same_seed() -> None:
    mix = Mixture([samples(label=1, n=10), samples(label=2, n=30)], [0.75, 0.25])
    torch.manual_seed(1)
    order = mix.draw_order()
    assert len(order) == 40 and int((mix.y[order] == 1).sum()) == 30
    torch.manual_seed(2)
    one = mix.pick(order[:6])
    torch.manual_seed(2)
    two = mix.pick(order[:6])
    assert torch.equal(one.x, two.x) and torch.equal(one.y, two.y)
    assert one.y[:, 0].tolist() == mix.y[order[:6]].tolist()


def test_the_losses_of_steps_want_no_vote_in_idle_ones_and_leave_the_unasked_out() -> None:
    y = torch.rand(3, 1, 2)
    labels = torch.tensor([[1], [IDLE], [IGNORE_LABEL]])
    expected = (y[0, 0, 0] ** 2 + (y[0, 0, 1] - 1) ** 2 + y[1, 0, 0] ** 2 + y[1, 0, 1] ** 2) / 6
    assert torch.isclose(step_mse(y, labels), expected)
    votes = torch.cat([10 * y[:2, 0], torch.full((2, 1), 3.0)], 1)
    assert torch.isclose(step_cross_entropy(y, labels), -(votes.log_softmax(1)[0, 1] + votes.log_softmax(1)[1, 2]) / 3)
    none, all_ = torch.zeros(1, 1, 2), torch.ones(1, 1, 2)
    idle = torch.tensor([[IDLE]])
    assert all(float(LOSSES[name](none, idle)) < float(LOSSES[name](all_, idle)) for name in BY_STEP)


@pytest.mark.parametrize("name", BY_STEP)
def test_a_loss_of_steps_adds_up_over_the_parts_of_a_batch(name: str) -> None:
    loss = LOSSES[name]
    y, labels = (
        torch.rand(4, 6, 2),
        torch.tensor([[1, 0, 1, IDLE, 1, 0]] + 3 * [[IGNORE_LABEL, 0, 1, 1, 1, IGNORE_LABEL]]),
    )
    parts = [loss(y[:, k : k + 2], labels[:, k : k + 2]) / 3 for k in (0, 2, 4)]
    assert torch.isclose(sum(parts, torch.zeros(())), loss(y, labels))
    y, whole = torch.rand(3, 1, 2), torch.tensor([1])
    assert torch.isclose(loss(y, whole), loss(y, whole.expand(3, 1)))


def test_right_answers_are_counted_over_the_steps_with_a_class() -> None:
    assert count_correct(torch.tensor([[[0.9, 0.0]], [[0.0, 0.5]]]), torch.tensor([[IDLE], [1]])) == (1, 1)
    assert count_correct(torch.zeros(2, 1, 2), torch.full((2, 1), IDLE)) == (0, 0)


def test_steps_after_the_end_of_a_window_are_unasked() -> None:
    """The frames begin at the first event, so a window that begins with nothing has empty ones at its end."""
    late = moving().pick(moving().t > 100_000)
    one = EventSamples(
        [LabelledSegment(late, 1, 0.0, 1e6, 0.0)], windows(), Framing.parse("duration:20ms"), (2, 32, 32)
    )
    seen = False
    for seed in range(20):
        torch.manual_seed(seed)
        drawn = one.pick(torch.tensor([0]))
        empty = drawn.x[0].sum((1, 2, 3)) == 0
        assert (drawn.y[0][empty] == IGNORE_LABEL).all() and (drawn.y[0][~empty][:-1] == 1).all()
        seen |= bool(empty.any())
    assert seen


def test_recordings_of_a_folder_are_turned_each_as_its_own_format_is_stored(tmp_path: Path) -> None:
    """AEDAT 2.0 is stored turned by 180 degrees, .bs2 is not: the same scene in both is the same frame."""
    t, corner = np.arange(500) * 100, np.full(500, 10)
    events = make_events(t, corner, corner + 20, t % 200 == 0)
    turned = make_events(t, 127 - corner, 107 - corner, t % 200 == 0)
    for split in ("train", "test"):
        folder = tmp_path / split / "wave"
        folder.mkdir(parents=True)
        write_nmnist(folder / "0.bs2", events)
        (folder / "1.aedat").write_bytes(aedat2_bytes(turned))
    (tmp_path / "sensor.txt").write_text("128x128")
    framing = "duration:10ms,orientation=upright"
    dataset = open_dataset(f"folder:{tmp_path}", "train", framing=framing, shape=(2, 128, 128))
    found = load_events(dataset, {}, 3, None, "reading", quiet=True)
    drawn = found.pick(torch.tensor([0, 1])).x.sum((1, 2))
    assert drawn[0, 30, 10] > 0 and drawn[1, 30, 10] > 0


def test_sets_without_events_a_clock_or_one_sensor_are_refused(tmp_path: Path) -> None:
    def reading(name: str, framing: str) -> Dataset:
        return open_dataset(name, "train", framing=framing, shape=(2, 34, 34))

    with pytest.raises(PlifError, match=r"needs a framing with steps of one length, e.g. duration:40ms"):
        load_events(reading("digits:10", "count:T=3"), {}, 3, None, "reading", quiet=True)
    t = np.arange(500) * 100
    for split in ("train", "test"):
        for number, geometry in enumerate((b"640x480", b"320x240")):
            place = tmp_path / split / "wave" / f"{number}.raw"
            place.parent.mkdir(parents=True, exist_ok=True)
            events = make_events(t, t % 300, t % 7, t % 2 == 0)
            place.write_bytes(evt2_bytes(events, b"% evt 2.0\n% geometry " + geometry + b"\n% end\n"))
    mixed = reading(f"folder:{tmp_path}", "duration:10ms")
    with (
        pytest.warns(UserWarning, match="the sensors of its recordings differ"),
        pytest.raises(PlifError, match=r"1.raw: a sensor of 320x240, others of 640x480; expected one"),
    ):
        load_events(mixed, {}, 3, None, "reading", quiet=True)


def test_the_time_before_a_row_reaches_back_to_the_row_before_it_and_no_further(tmp_path: Path) -> None:
    t = np.arange(0, 4_000_000, 1000)
    (tmp_path / "a.aedat").write_bytes(
        AEDAT31_HEADER + aedat31_packet(make_events(t, t // 1000 % 128, t // 1000 % 7, t % 2000 == 0))
    )
    (tmp_path / "trials_to_train.txt").write_text("a.aedat\n")
    (tmp_path / "a_labels.csv").write_text("class,startTime_usec,endTime_usec\n1,1500000,2000000\n2,2200000,3000000\n")
    data = open_dataset(f"dvs128-gesture:{tmp_path}", "train", framing="duration:40ms", shape=(2, 128, 128))
    assert isinstance(data, EventSet)
    for i, lead_us in ((0, 600_000), (1, 200_000)):
        events, _, _, start_us = data.recording_with_lead(i, 600_000)
        assert start_us - int(events["t"][0]) == lead_us
    rows = load_events(data, {}, 3, None, "reading", quiet=True).rows
    assert [(row.start_us, row.end_us) for row in rows] == [(1_200_000, 1_699_000), (200_000, 999_000)]
