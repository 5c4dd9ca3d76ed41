"""Simulated cameras of other sizes: the same person over the same part of the height, pixels like those of 128 x 128."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtime.core.base.errors import PlifError
from runtime.core.events import events_sha256, open_source
from runtime.datasets.gesture_sim.simulate_gesture import Staging, record_performer
from runtime.datasets.motion.drawn import MoveMotion, draw_painter
from runtime.datasets.performers.figure import SENSOR, make_still_pose
from runtime.datasets.performers.performance import record_scene
from runtime.datasets.performers.performer import Performer, draw_performer
from runtime.datasets.performers.things import ObjectPainter, draw_objects
from tests.runtime.datasets.gesture_sim.conftest import shorten
from tests.runtime.datasets.motion.motions import bvh, waving

SPEC = "sim:dvs128-gesture?seed=7&seconds=0.4&gesture=8&view=cut"
SEED = (5, 2)


def events_of(spec: str) -> np.ndarray:
    return np.concatenate(list(open_source(spec).packets()))


def test_the_usual_size_gives_the_events_of_no_word() -> None:
    assert events_sha256(events_of(f"{SPEC}&sensor=128x128")) == events_sha256(events_of(SPEC))


@pytest.mark.parametrize("size", [(346, 260), (96, 160)])
@pytest.mark.parametrize("query", ["view=cut&gesture=8", "scene=moves", "scene=things"])
def test_events_of_a_simulated_camera_are_within_its_size_and_all_over_it(size: tuple[int, int], query: str) -> None:
    spec = f"sim:dvs128-gesture?seed=7&seconds=0.3&{query}"
    source = open_source(f"{spec}&sensor={size[0]}x{size[1]}")
    events = np.concatenate(list(source.packets()))
    assert source.sensor == size and source.truth == open_source(spec).truth
    for axis, side in zip("xy", size, strict=True):
        assert 0.85 * side < np.ptp(events[axis].astype(int)) < side and events[axis].max() < side


def pictures(name: str, performer: Performer) -> np.ndarray:
    """What one of the painters paints [H, W] of a performer."""
    t_us = np.array([300_000])
    if name == "figure":
        return performer.make_painter().paint(make_still_pose(1), 0)
    if name == "things":
        return next(ObjectPainter(performer, draw_objects(SEED)).paint(t_us))
    return next(draw_painter(performer, MoveMotion(SEED, False, 1.0), "whole", SEED).paint(t_us))


@pytest.mark.parametrize("name", ["figure", "moves", "things"])
def test_the_same_performer_covers_the_same_part_of_the_height(name: str) -> None:
    usual = pictures(name, draw_performer(SEED))
    large = pictures(name, draw_performer(SEED, size=(512, 384)))
    assert usual.shape == (128, 128) and large.shape == (384, 512)
    middle = large[:, 64:-64].reshape(128, 3, 128, 3).mean((1, 3))
    bare = draw_performer(SEED).look.background
    assert np.abs(usual - bare).mean() > 0.01 and np.abs(middle - usual).mean() < 0.1 * np.abs(usual - bare).mean()
    small = pictures(name, draw_performer(SEED, size=(40, 64)))
    assert (
        np.abs(small - usual[:, 24:-24].reshape(64, 2, 40, 2).mean((1, 3))).mean() < 0.2 * np.abs(usual - bare).mean()
    )


def test_who_it_is_and_what_a_pixel_is_like_do_not_depend_on_the_size() -> None:
    for varied in (None, "faint", "plain"):
        usual, large = (draw_performer(SEED, True, varied, size) for size in (SENSOR, (346, 260)))
        same = (one.look for one in (usual, replace(large, look=replace(large.look, background=usual.look.background))))
        assert len({(look.skin, look.shirt, look.hair, look.girth) for look in same}) == 1
        assert (usual.sensor, usual.scale, usual.cx, usual.halo) == (large.sensor, large.scale, large.cx, large.halo)
        assert (
            large.size == (346, 260) and len(large.noise) == 346 * 260 and large.noise.mean() == pytest.approx(1, 1e-3)
        )
        hot = [(one.noise > 5).mean() for one in (usual, large)]
        assert hot[1] == pytest.approx(hot[0], rel=0.3)


def recorded(performer: Performer, picture: np.ndarray, until_us: int) -> np.ndarray:
    """The events of a scene in which every second picture is another one."""
    place = replace(performer, light=0.0)
    scene = lambda t_us: (picture if t // 5000 % 2 else performer.look.background for t in t_us)  # noqa: E731
    return np.concatenate(list(record_scene(place, scene, 0, until_us, SEED)))


def test_noise_is_so_many_events_a_pixel_whatever_the_size() -> None:
    for size in (SENSOR, (346, 260)):
        performer = draw_performer(SEED, size=size)
        still, pixels = recorded(performer, performer.look.background, 2_000_000), size[0] * size[1]
        expected = performer.sensor.noise_hz * pixels * 2 * (1 + performer.halo)
        assert abs(len(still) - expected) < 6 * expected**0.5 and expected > 500


def test_scattered_events_lie_as_far_away_in_the_scene_and_are_the_same_share() -> None:
    found = []
    for size in (SENSOR, (384, 384)):
        performer = draw_performer(SEED, size=size)
        performer = replace(performer, halo=0.5, sensor=replace(performer.sensor, noise_hz=0.0))
        picture, z = performer.look.background.copy(), size[1] // 128
        spot = slice(62 * z, 66 * z)
        picture[spot, spot] = 2.0
        events = recorded(performer, picture, 300_000)
        away = np.stack([events[axis] / z - 63.5 for axis in "xy"])
        scattered = away[:, np.abs(away).max(0) > 4]
        found.append((scattered.std(1), scattered.shape[1] / len(events)))
    (near, share), (far, same) = found
    assert near == pytest.approx([12.5, 5.5], rel=0.25) and far == pytest.approx(near, rel=0.2)
    assert same == pytest.approx(share, rel=0.15)


def test_a_motion_and_a_recorded_part_take_a_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "walk.bvh").write_text(bvh(waving(40)))
    spec = f"sim:motion?file={tmp_path / 'walk.bvh'}&seed=7&seconds=0.3"
    usual, large = events_of(spec), events_of(f"{spec}&sensor=256x256")
    assert large["x"].max() > 200 and 2.5 < len(large) / len(usual) < 6
    shorten(monkeypatch)
    staging = Staging(laws=2, view="near", size=(346, 260))
    events, rows = record_performer(1, "test", 0, "moves", staging)
    assert rows == record_performer(1, "test", 0, "moves", replace(staging, size=SENSOR))[1]
    assert 300 < events["x"].max() < 346 and 230 < events["y"].max() < 260


@pytest.mark.parametrize("text", ["640", "8x8", "640x4096", "640x480x2", ""])
def test_a_size_that_no_camera_has_is_one_line(text: str) -> None:
    with pytest.raises(PlifError, match=r"expected WIDTHxHEIGHT, e.g. 346x260, with both from 16 to 2048") as error:
        open_source(f"sim:dvs128-gesture?sensor={text}")
    assert "\n" not in str(error.value)


def test_another_size_beside_the_source_names_the_word_that_draws_it() -> None:
    with pytest.raises(PlifError, match=r"is 128x128, not 346x260; \?sensor= draws another"):
        open_source(SPEC, sensor=(346, 260))
    assert open_source(f"{SPEC}&sensor=346x260", sensor=(346, 260)).sensor == (346, 260)
    with pytest.raises(PlifError, match=r"'sensor' is not understood"):
        open_source("sim:digits?sensor=68x68")
