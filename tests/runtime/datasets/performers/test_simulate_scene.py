"""What a simulated camera paints and sees in C is what its equations say, bit by bit; strange numbers do no harm."""

from __future__ import annotations

import numpy as np
import pytest

import runtime.datasets.simulated_camera.native as native
from runtime.core.base.errors import PlifError
from runtime.core.events import open_source
from runtime.datasets.performers.performer import draw_performer
from runtime.datasets.simulated_camera.sensor import Sensor, simulate_events
from tests.runtime.datasets.performers import simulated_in_numpy as equations


def some_limbs(rng: np.random.Generator, count: int, textures: int) -> np.ndarray:
    """Limbs of all sizes, some behind the rim of the picture, some nearer than the camera may be."""
    limbs = np.empty((count, native.LIMB))
    limbs[:, :6] = rng.normal(0, 60, (count, 6))
    limbs[:, 6:8] = rng.uniform(0.5, 14, (count, 2))
    limbs[:, 8], limbs[:, 9], limbs[:, 10] = (
        rng.random(count),
        rng.integers(textures, size=count),
        rng.random(count) < 0.3,
    )
    return limbs


def test_a_picture_has_the_bits_of_its_equations() -> None:
    rng = np.random.default_rng(1)
    for size in ((128, 128), (40, 90)):
        textures = rng.uniform(0.3, 1.7, (4, 32, 8)).astype(np.float32)
        pictures = [rng.random(size).astype(np.float32)] * 2
        pictures = [picture.copy() for picture in pictures]
        limbs = some_limbs(rng, 60, 4)
        for painter, picture in zip((native.paint_limbs, equations.paint), pictures, strict=True):
            painter(picture, limbs, textures, (64.3, 40.7), 0.83, 230.0, 1.1)
        assert len(np.unique(pictures[0])) > 3000 and np.array_equal(*pictures)


def test_a_drawn_person_has_the_bits_of_the_equations(monkeypatch: pytest.MonkeyPatch) -> None:
    import runtime.datasets.performers.figure as figure
    from runtime.datasets.performers.figure import make_still_pose

    painted = [draw_performer((4,)).make_painter().paint(make_still_pose(1), 0)]
    monkeypatch.setattr(figure, "paint_limbs", equations.paint)
    painted.append(draw_performer((4,)).make_painter().paint(make_still_pose(1), 0))
    assert np.array_equal(*painted)


@pytest.mark.parametrize("leak_hz", [0.0, 30.0])
@pytest.mark.parametrize("refractory_us", [0.0, 700.0])
def test_events_have_the_bits_and_the_order_of_the_equations(leak_hz: float, refractory_us: float) -> None:
    rng = np.random.default_rng(2)
    frames = rng.random((30, 24, 31)).astype(np.float32) ** 3
    times = np.cumsum(rng.integers(500, 6000, 30)).astype(float)
    sensor = Sensor(0.12, 0.2, mismatch=0.3, offset=0.03, refractory_us=refractory_us, leak_hz=leak_hz)
    events = simulate_events(zip(times, frames, strict=True), sensor, np.random.default_rng(3))
    on, off = sensor.draw_thresholds(frames[0].size, np.random.default_rng(3))
    levels = np.log(frames + np.float32(sensor.offset)).reshape(30, -1)
    refractory = np.full(len(on), refractory_us, np.float32)
    fired = equations.see(times, levels, on, off, refractory, on * np.float32(leak_hz * 1e-6))
    assert len(events) > 20_000 and events.tobytes() == equations.as_events(fired, 31).tobytes()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300, -1e300, 1e7])
def test_a_limb_that_is_nowhere_is_not_painted_and_does_no_harm(bad: float) -> None:
    picture, textures = np.zeros((8, 8), np.float32), np.ones((1, 32, 8), np.float32)
    for column in range(6):
        limb = np.array([[1.0, 1, 0, 2, 2, 0, 1, 1, 0.5, 0, 0]])
        limb[0, column] = bad
        native.paint_limbs(picture, limb, textures, (0.0, 0.0), 1.0, 230.0, 1.0)
    assert np.isfinite(picture).all()


def test_an_intensity_that_is_not_finite_is_one_line() -> None:
    dark, bright = np.zeros((3, 3), np.float32), np.full((3, 3), np.inf, np.float32)
    with pytest.raises(PlifError, match="an intensity at 1000 us is not finite"):
        simulate_events([(0.0, dark), (1000.0, bright)], Sensor(), np.random.default_rng(0))


def test_without_its_library_a_simulated_source_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "__file__", "/nowhere/__init__.py")
    native.load_library.cache_clear()
    try:
        with pytest.raises(PlifError, match="install gcc or clang") as error:
            list(open_source("sim:digits?seconds=0.1").packets())
        assert "\n" not in str(error.value)
    finally:
        native.load_library.cache_clear()
