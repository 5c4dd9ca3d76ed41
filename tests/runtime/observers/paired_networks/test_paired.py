"""McNemar's test."""

from __future__ import annotations

import pytest

from runtime.observers.paired_networks.paired import compare, mcnemar


def test_mcnemar_is_a_coin() -> None:
    assert mcnemar(0, 0) == 1 and mcnemar(1, 0) == 1 and mcnemar(0, 5) == 2 / 32 and mcnemar(5, 5) == 1
    assert mcnemar(10, 2) == pytest.approx(2 * (1 + 12 + 66) / 4096) and mcnemar(600, 600) == 1
    assert 0 <= mcnemar(400, 900) < 1e-40
    found = compare([(0, 0, 1), (0, 1, 0), (0, 1, 2), (None, 0, 1), (1, 1, 1)])
    assert (found.samples, found.changed, found.only_first, found.only_second) == (4, 3, 1, 1)
