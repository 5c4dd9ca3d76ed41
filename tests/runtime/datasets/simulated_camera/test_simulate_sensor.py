"""Promises of the simulated sensor."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from runtime.core.base.errors import PlifError
from runtime.core.events import EVENT_DTYPE
from runtime.datasets.simulated_camera.sensor import Sensor, simulate_batch, simulate_events

IDEAL = Sensor(threshold_on=0.25, threshold_off=0.5, mismatch=0, offset=0.1, refractory_us=0)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def ramp(start: float, slope_per_ms: float, frames: int, dt_us: int = 2000) -> list[tuple[float, np.ndarray]]:
    """Frames of one pixel whose log(I + 0.1) is start + slope t."""
    return [
        (float(k * dt_us), np.full((1, 1), np.exp(start + slope_per_ms * k * dt_us / 1000) - 0.1))
        for k in range(frames)
    ]


def flicker(seed: int = 1, frames: int = 30, size: int = 9) -> list[tuple[float, np.ndarray]]:
    noise = rng(seed)
    return [(k * 1000.0, noise.random((size, size))) for k in range(frames)]


def test_a_rising_ramp_gives_on_events_spaced_by_the_threshold() -> None:
    events = simulate_events(
        ramp(-2.0, 0.01, 101), IDEAL, rng()
    )  # 2.0 of log intensity in 200 ms: every 0.25, so every 25 ms
    assert events["p"].all()
    assert len(events) in (7, 8)  # the last crossing is the last frame itself, and rounding decides about it
    assert np.abs(events["t"][:7] - np.arange(1, 8) * 25_000).max() <= 2


def test_a_falling_ramp_gives_off_events_at_the_off_threshold() -> None:
    events = simulate_events(ramp(-0.2, -0.01, 81), IDEAL, rng())  # 1.6 in 160 ms: every 0.5, so every 50 ms
    assert not events["p"].any()
    assert np.abs(events["t"] - [50_000, 100_000, 150_000]).max() <= 2


def test_one_step_may_cross_many_thresholds_and_their_times_are_interpolated() -> None:
    frames = [(0.0, np.full((1, 1), np.exp(-2.0) - 0.1)), (8000.0, np.full((1, 1), np.exp(-0.9) - 0.1))]
    assert simulate_events(frames, IDEAL, rng())["t"].tolist() == [round(8000 * k * 0.25 / 1.1) for k in range(1, 5)]


def test_a_still_scene_gives_no_event_without_noise() -> None:
    frames = [(k * 1000.0, np.linspace(0, 1, 64).reshape(8, 8)) for k in range(50)]
    events = simulate_events(frames, replace(IDEAL, mismatch=0.3), rng())
    assert events.dtype == EVENT_DTYPE and len(events) == 0


def test_noise_has_the_stated_rate_and_both_polarities() -> None:
    frames = [(0.0, np.zeros((32, 32))), (1e6, np.zeros((32, 32)))]
    events = simulate_events(frames, replace(IDEAL, noise_hz=5), rng())
    assert abs(len(events) - 5 * 1024) < 4 * np.sqrt(5 * 1024)
    assert 0.45 < events["p"].mean() < 0.55


def test_a_leak_gives_only_on_events_at_its_rate() -> None:
    frames = [(k * 10_000.0, np.zeros((4, 4))) for k in range(101)]
    events = simulate_events(frames, replace(IDEAL, leak_hz=3.5), rng())
    assert events["p"].all() and len(events) == 3 * 16


def test_no_pixel_fires_twice_within_its_refractory_time() -> None:
    free = simulate_events(flicker(), IDEAL, rng())
    events = simulate_events(flicker(), replace(IDEAL, refractory_us=3000), rng())
    gaps = []
    for x in range(9):
        for y in range(9):
            gaps.append(np.diff(events["t"][(events["x"] == x) & (events["y"] == y)]))
    assert np.concatenate(gaps).min() >= 2999  # times are rounded to whole microseconds
    assert 0 < len(events) < len(free)


def test_a_slow_photoreceptor_sees_less_of_a_flicker() -> None:
    counts = [len(simulate_events(flicker(), replace(IDEAL, bandwidth_hz=hz), rng())) for hz in (20, 100, 1e6)]
    assert counts[0] < counts[1] < counts[2] == len(simulate_events(flicker(), IDEAL, rng()))


def test_events_are_sorted_bounded_and_carry_the_pixels_column_and_row() -> None:
    still, moved = np.zeros((5, 7)), np.zeros((5, 7))
    moved[3, 6] = 1.0
    events = simulate_events([(500.0, still), (2500.0, moved)], replace(IDEAL, jitter_us=5000), rng())
    assert set(events["x"].tolist()) == {6} and set(events["y"].tolist()) == {3}
    assert (np.diff(events["t"]) >= 0).all()
    assert events["t"].min() >= 500 and events["t"].max() <= 2500


def test_the_same_seed_gives_the_same_events_and_another_one_others() -> None:
    sensor = Sensor(noise_hz=3, jitter_us=200)
    first = simulate_events(flicker(), sensor, rng(4))
    assert first.tobytes() == simulate_events(flicker(), sensor, rng(4)).tobytes()
    assert first.tobytes() != simulate_events(flicker(), sensor, rng(5)).tobytes()


def test_a_recording_does_not_depend_on_its_neighbours_in_a_batch() -> None:
    sensors = [
        Sensor(threshold_on=0.3, leak_hz=2, noise_hz=1, refractory_us=0),
        Sensor(threshold_off=0.2, bandwidth_hz=200, jitter_us=300),
        Sensor(mismatch=0.3, refractory_us=1500),
    ]
    films = [flicker(seed) for seed in range(3)]
    times = [t for t, _ in films[0]]
    frames = np.stack([np.stack([image for _, image in film]) for film in films], axis=1).astype(np.float32)
    together = simulate_batch(times, frames, sensors, [rng(k) for k in range(3)])
    for k in range(3):
        alone = simulate_events(films[k], sensors[k], rng(k))
        assert len(alone) > 100
        assert together[k].tobytes() == alone.tobytes()


def test_no_frame_or_one_frame_gives_no_events() -> None:
    assert len(simulate_events([], IDEAL, rng())) == 0
    assert len(simulate_events([(0.0, np.ones((3, 3)))], IDEAL, rng())) == 0


def test_times_that_do_not_rise_and_images_that_change_size_are_refused() -> None:
    image = np.zeros((3, 3))
    with pytest.raises(PlifError, match="frame 1: t_us 0"):
        simulate_events([(0.0, image), (0.0, image)], IDEAL, rng())
    with pytest.raises(PlifError, match=r"frame 1: shape \(3, 4\)"):
        simulate_events([(0.0, image), (1.0, np.zeros((3, 4)))], IDEAL, rng())
    with pytest.raises(PlifError, match="frame 2: t_us 1"):
        simulate_batch([0, 1, 1], np.zeros((3, 1, 2, 2), np.float32), [IDEAL], [rng()])


@pytest.mark.parametrize(
    "bad", [{"threshold_on": 0}, {"threshold_off": float("nan")}, {"noise_hz": -1}, {"bandwidth_hz": 0}]
)
def test_impossible_parameters_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(PlifError, match=next(iter(bad))):
        Sensor(**bad)
