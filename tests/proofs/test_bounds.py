"""What rounding may add to an identity of real numbers: the bound that the gate uses, and the one that cannot be exceeded.

    used        2 sqrt(2 n + 16) 2^-24 S     roundings fall either way and mostly cancel
    rigorous    2 (n + 8) 2^-24 S            to first order: all n of a sum, and those of the neuron, fall the same way in one
                                             of two programs, and the other way in the other

The worst case is beyond the bound that is used: a file that is right could be refused for it, none that is wrong passes by it.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from plif_export.core.proof.arithmetic.measure import EPS, FLUSHED, Measure


def measured(terms: np.ndarray) -> Measure:
    """Of the sum of float32 terms [n], as a layer measures it."""
    made = Measure.from_values(terms[:1], factor=False)
    for one in terms[1:]:
        made = made + one
    return made


@pytest.mark.parametrize("n", (1, 2, 5, 6, 100, 4096))
def test_the_bound_is_2_root_of_2n_plus_16_times_eps_times_the_sum_of_terms(n: int) -> None:
    terms = np.random.default_rng(n).normal(size=n).astype(np.float32)
    size = float(np.abs(terms).astype(np.float64).sum())
    m = measured(terms)
    assert m.terms == n and m.size == pytest.approx(size, rel=n * EPS)
    assert m.bound(exact=False) == pytest.approx(2 * math.sqrt(2 * n + 16) * 2.0**-24 * size + FLUSHED, rel=1e-3)
    assert m.bound(half=2.0**-10, exact=False) == pytest.approx(m.bound(exact=False) + 2.0**-10 * size, rel=1e-3)


def test_the_worst_case_is_beyond_the_bound_and_within_n_eps_of_the_terms() -> None:
    """1 + 2^-24 + 2^-24 + ...: from the left each small term is rounded away, from the right none is."""
    for n in (10, 13, 14, 1024):
        terms = np.append(np.float32(1), np.full(n, EPS, np.float32))
        left, right = (np.add.accumulate(order, dtype=np.float32)[-1] for order in (terms, terms[::-1]))
        apart, m = float(right) - float(left), measured(terms)
        assert apart <= 2 * (n + 8) * EPS * float(m.size[0])
        assert (apart > float(m.bound()[0])) == (n > 13)


def test_where_the_bound_is_zero_every_partial_sum_is_a_float32() -> None:
    """Multiples k u of a power of two with S < 2^23 u: |k| < 2^23, and these whole numbers are float32."""
    k = np.arange(2**23 + 1, dtype=np.int32)
    assert np.array_equal(k.astype(np.float32).astype(np.int32), k)
    whole = measured(np.array([2**22, 2**21, 1], np.float32))
    assert whole.bound() == 0 and measured(np.array([2**22, 2**22, 1], np.float32)).bound() > 0
