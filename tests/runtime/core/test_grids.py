"""Weights that are a scale times whole numbers of a few bits are seen to be that, whoever made them; others are not."""

from __future__ import annotations

import numpy as np
import pytest

from plif_export.precisions.rounded_weights.whole_numbers import describe_grids, find_grid
from runtime.core.model.grids import GRIDS, WIDTHS, count_bits, pack, unpack

RNG = np.random.default_rng


@pytest.mark.parametrize("bits", WIDTHS)
def test_what_is_packed_is_unpacked(bits: int) -> None:
    for count in (0, 1, 7, 64, 1001):
        whole = RNG(count).integers(-(1 << bits - 1), 1 << bits - 1, count).astype(np.int8)
        packed = pack(whole, bits)
        assert packed.dtype == np.uint8 and packed.size == -(-count * bits // 8)
        assert np.array_equal(unpack(packed, bits, count), whole)
    assert pack(np.array([1, -2], np.int8), 4).tolist() == [0xE1]  # as ONNX packs


def on_grid(bits: int, least: int, channels: bool, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whole numbers [O, I, 3, 3], their scales, and the float32 weights; each channel uses the largest number."""
    rng = RNG(seed)
    whole = rng.integers(least, 1 << bits - 1, (12, 6, 3, 3)).astype(np.int8)
    whole[:, 0, 0, 0], whole[:, 1, 1, 1] = (1 << bits - 1) - 1, least
    scale = np.exp(rng.normal(-4, 2, 12 if channels else 1)).astype(np.float32)
    return whole, scale, whole * scale.reshape(-1, 1, 1, 1)


@pytest.mark.parametrize("channels", (False, True), ids=("a tensor", "a channel"))
@pytest.mark.parametrize("bits", WIDTHS)
def test_a_grid_is_found_with_exactly_its_scales(bits: int, channels: bool) -> None:
    for seed in range(12):
        for least in (-(1 << bits - 1), 1 - (1 << bits - 1)):
            whole, scale, weight = on_grid(bits, least, channels, seed)
            found = find_grid(weight)
            assert found is not None and np.array_equal(found[0], whole) and np.array_equal(found[1], scale)
            assert describe_grids({"conv": weight}) == {"conv": f"{bits} bits a {'channel' if channels else 'tensor'}"}
            assert find_grid(weight, bits=bits // 2) is None


@pytest.mark.parametrize("bits", WIDTHS)
def test_a_grid_is_found_behind_two_folds_and_where_it_was_divided(bits: int) -> None:
    for seed in range(12):
        whole, _, weight = on_grid(bits, 1 - (1 << bits - 1), True, seed)
        factors = RNG(seed + 100).normal(size=(2, 12, 1, 1, 1))
        for factor in factors:  # of batch normalisation and of tau, each in float64 and rounded once
            weight = (weight.astype(np.float64) * factor).astype(np.float32)
        sign = np.sign(factors.prod(axis=0)).astype(np.int8)
        found = find_grid(weight)
        assert found is not None and np.array_equal(found[0], whole * sign)
        products = found[0] * found[1].reshape(-1, 1, 1, 1)
        np.testing.assert_allclose(products, weight, rtol=2.0**-22)
        most = (1 << bits - 1) - 1
        divided = whole.astype(np.float32) / np.float32(most)  # as k / 7, and not k * (1 / 7)
        found = find_grid(divided)
        assert found is not None and np.array_equal(found[0], whole)


def test_other_weights_are_on_no_grid() -> None:
    whole, _, weight = on_grid(8, -127, True, 0)
    moved = weight.copy()
    moved[3, 2, 1, 0] *= np.float32(1.0001)
    unknown, large = weight.copy(), weight.copy()
    unknown[0, 0, 0, 0], large[0, 0, 0, 0] = np.nan, np.inf
    for other in (RNG(0).normal(size=(12, 6, 3, 3)).astype(np.float32), moved, unknown, unknown * 0, large):
        with np.errstate(invalid="ignore"):
            assert find_grid(other) is None and describe_grids({"conv": other}) == {}
    assert count_bits(whole) == 8 and describe_grids({"fc": np.zeros((2, 3), np.float32)}) == {"fc": "2 bits a tensor"}


def test_a_channel_of_zeros_has_any_scale_and_one_weight_is_a_scale() -> None:
    weight = np.array([[0, 0], [0.3, -0.6], [0.7, 0]], np.float32)
    found = find_grid(weight)
    assert found is not None and found[0].tolist() == [[0, 0], [1, -2], [1, 0]]
    assert found[1].tolist() == [1, np.float32(0.3), np.float32(0.7)]


def test_the_precisions_are_told_once() -> None:
    assert {name: (grid.bits, grid.max_level) for name, grid in GRIDS.items()} == {
        "int8": (8, 127),
        "int4": (4, 7),
        "ternary": (2, 1),
    }
