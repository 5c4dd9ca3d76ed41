"""Promises of the drawn digits, the three saccades and the simulated source."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from runtime.core.base.errors import PlifError
from runtime.core.events import read_events
from runtime.datasets.digits.drawing import STROKES, draw_digit
from runtime.datasets.digits.saccades import (
    CLOCK_US,
    RANGES,
    RecordingSetup,
    find_shift,
    record_digit,
    record_digits,
    render_frames,
)
from runtime.sources.sim.source import open_simulated

LEGS_US = ((0, 100_000), (100_000, 205_000), (205_000, 320_000))


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def signed(events: np.ndarray, leg: tuple[int, int]) -> np.ndarray:
    """p = 1 minus p = 0, per pixel, during one saccade."""
    inside = (events["t"] >= leg[0]) & (events["t"] < leg[1]) & (events["x"] < 34) & (events["y"] < 34)
    picture = np.zeros((34, 34))
    np.add.at(picture, (events["y"][inside], events["x"][inside]), np.where(events["p"][inside], 1, -1))
    return picture


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def bar() -> np.ndarray:
    image = np.zeros((28, 28), np.float32)
    image[10:18, 10:18] = 1
    return image


@pytest.mark.parametrize("digit", sorted(STROKES))
def test_every_digit_is_drawn_whole_within_the_image_and_never_twice_the_same(digit: int) -> None:
    images = [draw_digit(digit, rng(digit, k)) for k in range(20)]
    assert len({image.tobytes() for image in images}) == 20
    for image in images:
        assert image.shape == (28, 28) and image.dtype == np.float32
        assert image.min() == 0 and 0.5 < image.max() <= 1
        assert 0.02 < image.mean() < 0.35  # MNIST: 0.13 on average
        rim = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
        assert rim.max() < 0.5


def test_a_drawing_depends_on_its_generator_alone() -> None:
    assert draw_digit(3, rng(1)).tobytes() == draw_digit(3, rng(1)).tobytes()


def test_what_is_no_digit_is_refused() -> None:
    with pytest.raises(PlifError, match="expected 0 to 9"):
        draw_digit(10, rng(0))


def test_digits_of_one_class_are_nearer_to_each_other_than_to_the_others() -> None:
    images = np.array([[draw_digit(d, rng(d, k)).ravel() for k in range(40)] for d in range(10)])
    means = images[:, :20].mean(1)
    distance = ((images[:, 20:, None] - means) ** 2).sum(-1)  # [10, 20, 10]
    assert (distance.argmin(-1) == np.arange(10)[:, None]).mean() > 0.7  # measured: 0.86


def test_the_image_goes_down_then_up_to_the_right_then_left() -> None:
    frames = render_frames(bar(), RecordingSetup())
    total = frames.sum((1, 2))
    x = (frames.sum(1) * np.arange(34)).sum(1) / total
    y = (frames.sum(2) * np.arange(34)).sum(1) / total
    a, b, c, d = (int(np.searchsorted(CLOCK_US, t)) for t in (0, 100_000, 215_000, 310_000))
    assert y[b] - y[a] > 4 and abs(x[b] - x[a]) < 2.5
    assert y[c] - y[b] < -4 and x[c] - x[b] > 3
    assert x[d] - x[c] < -4 and abs(y[d] - y[c]) < 1
    shift_x, shift_y = find_shift(CLOCK_US)
    assert np.abs((x - x[0]) - (shift_x - shift_x[0])).max() < 0.05
    assert np.abs((y - y[0]) - (shift_y - shift_y[0])).max() < 0.05


def test_polarity_follows_the_official_files_one_where_a_bright_edge_leaves() -> None:
    first = signed(record_digit(bar(), rng(0), RecordingSetup()), (0, 80_000))  # the square moves down
    top, bottom = first[8:17].sum(), first[18:30].sum()
    assert top > 50 and bottom < -50


def test_simulated_recordings_show_what_the_real_ones_show(nmnist: Path) -> None:
    """Signed event pictures of a saccade, summed over a class: its direction and polarity."""
    for digit in (0, 3, 8):
        files = sorted(nmnist.glob(f"*/{digit}/*.bin"))[:40]
        assert len(files) >= 8
        real = [read_events(file, sensor=(34, 34)) for file in files]
        drawn = record_digits([draw_digit(digit, rng(digit, k)) for k in range(40)], [rng(7, k) for k in range(40)])
        for leg in LEGS_US:
            a = sum(signed(events, leg) for events in real)
            b = sum(signed(events, leg) for events in drawn)
            assert correlation(a, b) > 0.5, (digit, leg)


def test_the_number_of_events_is_that_of_real_recordings() -> None:
    rngs = [rng(d, k) for d in range(10) for k in range(6)]
    counts = [len(events) for events in record_digits([draw_digit(k // 6, r) for k, r in enumerate(rngs)], rngs)]
    assert 3000 < np.median(counts) < 5500  # real: median 4180
    assert min(counts) > 800 and max(counts) < 10_000  # real: 1112 to 7152


def test_recordings_are_deterministic_and_independent_of_the_batch() -> None:
    images = [draw_digit(d, rng(d)) for d in range(4)]
    together = record_digits(images, [rng(9, d) for d in range(4)])
    for d in range(4):
        assert together[d].tobytes() == record_digit(images[d], rng(9, d)).tobytes()
    for events in together:
        assert (np.diff(events["t"]) >= 0).all() and events["t"][0] >= 0 and events["t"][-1] <= 310_000
        assert events["x"].max() < 34 and events["y"].max() < 34


def test_a_take_stays_within_the_stated_ranges() -> None:
    takes = [RecordingSetup.draw(rng(k)) for k in range(200)]
    for name in ("gamma", "blur_px", "scale", "offset_x_px", "swing_y", "stretch"):
        low, high = RANGES[name]
        values = [getattr(take, name) for take in takes]
        assert low <= min(values) < low + 0.1 * (high - low) and high - 0.1 * (high - low) < max(values) <= high


def test_images_of_another_size_or_scale_are_refused() -> None:
    with pytest.raises(PlifError, match=r"\(27, 28\)"):
        record_digit(np.zeros((27, 28)), rng(0))
    with pytest.raises(PlifError, match="divide uint8 by 255"):
        record_digit(np.full((28, 28), 255), rng(0))


def test_the_source_gives_the_same_events_in_packets_of_any_size() -> None:
    source = open_simulated("sim:digits?seed=7&seconds=0.9&digit=3")
    whole = np.concatenate(list(source.packets()))
    small = list(open_simulated("sim:digits?seed=7&seconds=0.9&digit=3").packets(100))
    assert whole.tobytes() == np.concatenate(small).tobytes() and max(map(len, small)) == 100
    assert source.count() == len(whole) > 3000 and not source.live and source.sensor == (34, 34)
    assert (np.diff(whole["t"]) >= 0).all() and 800_000 < whole["t"][-1] < 900_000
    pause = (whole["t"] > 310_000) & (whole["t"] < 400_000)
    assert not pause.any()
    assert [name for _, _, name in source.truth] == ["3", "3", "3"]


def test_the_sources_seed_decides_which_digits_come() -> None:
    shown = [[name for _, _, name in open_simulated(f"sim:digits?seed={seed}&seconds=8").truth] for seed in (1, 2)]
    assert len(shown[0]) == 20 and shown[0] != shown[1] and len(set(shown[0])) > 4


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("sim:cats", "'cats' is not simulated"),
        ("sim:digits?sed=1", "'sed' is not understood"),
        ("sim:digits?digit=10", "from 0 to 9"),
        ("sim:digits?seconds=0", "above 0"),
        ("sim:digits?seconds=nan", "above 0"),
        ("sim:digits?seed=-1", "whole number"),
        ("sim:digits?seed=1&seed=2", "not understood"),
    ],
)
def test_a_source_that_is_misspelt_is_refused(spec: str, message: str) -> None:
    with pytest.raises(PlifError, match=message):
        open_simulated(spec)


def test_simulation_needs_numpy_alone() -> None:
    code = (
        "import sys, runtime.sources.sim.source, runtime.core.data, runtime.datasets.nmnist_sim.simulate_nmnist;"
        "print([m for m in ('torch', 'onnx', 'onnxruntime', 'scipy', 'matplotlib') if m in sys.modules])"
    )
    root = Path(__file__).resolve().parents[4]
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert done.stdout.strip() == "[]", done.stderr
